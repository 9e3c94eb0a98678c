"""Images in parquet files: `imagenet-1k` of the Hugging Face Hub, the mirror with masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from imagenets.core.log import progress
from imagenets.data.parquet import ParquetImages, list_images
from imagenets.data.raw.parts import Columns, Location, Part
from imagenets.data.stems import stem_of


class Parquet:
    """A parquet file; the offset of an image is its row."""

    def __init__(self, images: ParquetImages) -> None:
        self.path = images.path
        self._images = images

    def read(self, stem: bytes, offset: int, size: int) -> bytes:
        """The bytes in a row's image column."""
        return self._images.read_image(offset, stem.decode("ascii"))

    def mask(self, stem: bytes, offset: int) -> bytes | None:
        """The bytes in a row's mask column, None where the file has no such column."""
        return self._images.read_mask(offset, stem.decode("ascii"))

    def locate(self, stem: bytes, offset: int, size: int) -> Location:
        """The row within the file."""
        return Location(Path(self.path), offset, None)

    def size(self, stem: bytes, offset: int) -> int:
        """-1: only reading the row group would tell."""
        return -1

    def close(self) -> None:
        """Lets go of the file and of what is kept of it."""
        self._images.close()


def scan(path: Path, files: Sequence[Path]) -> Part:
    """Lists the images of parquet files by their name columns alone.

    Args:
        path: What the user gave.
        files: The parquet files in it.

    Raises:
        DependencyError: pyarrow is not installed.
        CorruptError: A file is cut off or no parquet file.
    """
    columns, plain = Columns(), Columns()  # of an image that is there twice, the one with a mask
    containers: list[Parquet] = []
    unidentified, example = 0, ""
    for file in progress(files, f"list {path.name}", len(files), unit="file"):
        listed = list_images(file)
        if listed is None:
            continue
        images, names = listed
        own = columns if images.has_masks else plain
        for row, name in enumerate(names):
            if (stem := stem_of(name)) is not None:
                own.add(stem, len(containers), row, -1)
            else:
                unidentified += 1
                example = example or os.fsdecode(name)
        containers.append(Parquet(images))
    columns.extend(plain)
    return Part("parquet", path, tuple(containers), *columns.arrays(), unidentified, example)
