"""Images that lie as files in folders: class folders, flat folders, the Kaggle layout."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from imagenets.data.sources.parts import Columns, Location, Part, is_picture, split_name
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


def scan(kind: str, path: Path, folders: Iterable[bytes]) -> Part:
    """Lists the images of some folders, by name alone: no file is opened or asked for its size.

    Args:
        kind: The raw form to report.
        path: What the user gave.
        folders: Folders whose files are listed, in order.

    Returns:
        One container for each folder that holds images.
    """
    columns = Columns()
    containers: list[Folder] = []
    strangers = 0
    example = ""
    for folder in tqdm(folders, f"list {path.name}", unit="folder", disable=None, delay=1):
        suffixes: dict[bytes, int] = {}
        for name in sorted(os.listdir(folder)):  # noqa: PTH208 - bytes: names need not be UTF-8
            if parts := split_name(name):
                suffix = suffixes.setdefault(parts[1], len(suffixes))
                columns.add(parts[0], len(containers), suffix, -1)
            elif is_picture(name):
                strangers += 1
                example = example or os.fsdecode(folder + b"/" + name)
        if suffixes:
            containers.append(Folder(os.fsdecode(folder), tuple(map(os.fsdecode, suffixes))))
    return Part(kind, path, tuple(containers), *columns.arrays(), strangers, example)
