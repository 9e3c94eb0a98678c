"""Images that lie as files in folders: class folders, flat folders, the Kaggle layout."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imagenets.classes import is_wnid
from imagenets.core.files import listing
from imagenets.core.log import progress
from imagenets.data.raw.parts import Location, Part
from imagenets.data.stems import STEM_DTYPE, is_image_name, split_name, split_names
from imagenets.errors import MissingError


class Folder:
    """A folder of image files; the offset of an image is the rank of its suffix."""

    def __init__(self, path: str, suffixes: tuple[str, ...]) -> None:
        self.path = path
        self.suffixes = suffixes

    def _file(self, stem: bytes, offset: int) -> str:
        return f"{self.path}/{stem.decode('ascii')}{self.suffixes[offset]}"

    def read(self, stem: bytes, offset: int, size: int) -> bytes:
        """The bytes of the file."""
        path = self._file(stem, offset)
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error

    def mask(self, stem: bytes, offset: int) -> bytes | None:
        """None: folders of raw images carry no masks."""

    def locate(self, stem: bytes, offset: int, size: int) -> Location:
        """The file itself."""
        return Location(Path(self._file(stem, offset)), None, None)

    def size(self, stem: bytes, offset: int) -> int:
        """Size of the file in bytes."""
        path = self._file(stem, offset)
        try:
            return os.stat(path).st_size  # noqa: PTH116 - a million of these: no Path objects
        except OSError as error:
            raise _unreadable(path, error) from error

    def close(self) -> None:
        """Nothing stays open."""


def _unreadable(path: str, error: OSError) -> MissingError:
    return MissingError(
        f"{path}: cannot be read ({error.strerror}). Restore the file, check its permissions, "
        "or give a complete copy with another --imagenet."
    )


def scan(kind: str, path: Path, folders: Sequence[bytes]) -> Part:
    """Lists the images of some folders, by name alone: no file is opened or asked for its size.

    Args:
        kind: The raw form to report.
        path: What the user gave.
        folders: Folders whose files are listed, in order.

    Returns:
        One container for each folder that holds images.
    """
    containers: list[Folder] = []
    stems, counts, ranks = [np.empty(0, STEM_DTYPE)], [0], [np.empty(0, np.int64)]
    unidentified: list[bytes] = []
    for folder in progress(folders, f"list {path.name}", len(folders), unit="folder"):
        names = listing(folder, needed=is_wnid(os.path.basename(folder)))  # noqa: PTH119 - bytes
        images = split_names(names)
        if len(images) < len(names):
            others = (name for name in names if split_name(name) is None)
            unidentified += [folder + b"/" + name for name in others if is_image_name(name)]
        if images:
            suffixes = {suffix: rank for rank, suffix in enumerate({s: 0 for _, s in images})}
            stems.append(np.array([stem for stem, _ in images], STEM_DTYPE))
            ranks.append(np.array([suffixes[suffix] for _, suffix in images], np.int64))
            counts.append(len(images))
            containers.append(Folder(os.fsdecode(folder), tuple(map(os.fsdecode, suffixes))))
    return Part(
        kind,
        path,
        tuple(containers),
        np.concatenate(stems),
        np.repeat(np.arange(-1, len(containers), dtype=np.int32), counts),
        np.concatenate(ranks),
        np.full(sum(counts), -1, np.int64),
        len(unidentified),
        os.fsdecode(unidentified[0]) if unidentified else "",
    )
