"""What every raw form is turned into: columns of images that lie in containers."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from imagenets.classes import WNID
from imagenets.errors import CorruptError, MissingError

STEM_DTYPE = np.dtype("S32")
"""An image's identity: the stem of its ILSVRC file name, as bytes."""

Stems = npt.NDArray[np.bytes_]
Integers = npt.NDArray[np.int64]

# `<stem>.JPEG`, or `<stem>_<wnid>.JPEG` as the Hugging Face archives name them.
_IMAGE = re.compile(
    rf"({WNID}_[0-9A-Za-z]{{1,22}}|ILSVRC2012_val_\d{{8}})((?:_{WNID})?\.(?i:jpe?g|png))".encode()
)
_IMAGES = re.compile(rb"(?<![^/])" + _IMAGE.pattern + rb"(?![^/])")
_PICTURE = re.compile(rb"(?!\._).*\.(?i:jpe?g|png|webp|bmp)", re.DOTALL)


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """Splits an ILSVRC file name (no folders) into stem and suffix; None when it is none."""
    match = _IMAGE.fullmatch(name)
    return (match[1], match[2]) if match else None


def stem_of(path: bytes) -> bytes | None:
    """The stem in a path or key, whose suffix may be missing; None when it holds none."""
    name = path[path.rfind(b"/") + 1 :]
    parts = split_name(name) or split_name(name + b".JPEG")
    return parts[0] if parts else None


def split_names(names: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The stem and suffix of every ILSVRC file name among `names`, in order, fast."""
    return _IMAGES.findall(b"/".join(names))  # no name holds a slash


def is_image_name(name: bytes) -> bool:
    """Whether a name looks like that of some image, whatever it is called."""
    return _PICTURE.fullmatch(name) is not None


class Location(NamedTuple):
    """Where the bytes of an image lie.

    Attributes:
        path: The image file itself, or the archive that holds it.
        offset: None when `path` is the image; else its first byte in a tar, its row in a
            parquet file.
        size: Bytes of the image; None where it is not known without reading (files, parquet).
    """

    path: Path
    offset: int | None
    size: int | None


class Container(Protocol):
    """A folder or an archive that holds images; opened when first read, in that process."""

    path: str

    def read(self, stem: bytes, offset: int, size: int) -> bytes:
        """The encoded bytes of one image."""

    def mask(self, stem: bytes, offset: int) -> bytes | None:
        """The encoded bytes of its mask, None where the form has none."""

    def locate(self, stem: bytes, offset: int, size: int) -> Location:
        """Where the bytes lie."""

    def size(self, stem: bytes, offset: int) -> int:
        """Bytes of an image whose size was not recorded; -1 where it takes a read to know."""

    def close(self) -> None:
        """Lets go of what is open; the next read opens it again."""


Stamp = tuple[int, int]
"""Bytes and time of change (ns) of an archive: with others it is another one."""


def stamp_of(status: os.stat_result) -> Stamp:
    """What an archive is known by."""
    return status.st_size, status.st_mtime_ns


class Handle:
    """A file descriptor that closes with its last reference.

    Threads may share it (`pread` has no position), and so may a forked child.

    Raises:
        MissingError: The file cannot be opened.
        CorruptError: It is not the one that `stamp` was taken of.
    """

    def __init__(self, path: str, stamp: Stamp) -> None:
        self.fd = -1  # stands even when `open` raises, for `__del__`
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise MissingError(
                f"{path}: cannot be opened ({error.strerror}). Check the path and its permissions."
            ) from error
        now = stamp_of(os.fstat(self.fd))
        if now != stamp:  # positions would mean other images
            raise CorruptError(
                f"{path}: has changed since its images were listed ({stamp[0]:,} bytes then, "
                f"{now[0]:,} now). Run the command again."
            )

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


class Columns:
    """Grows the columns of a part, packed: no object stays per image."""

    _ROW = struct.Struct("<32siqq")
    _DTYPE = np.dtype([("stem", STEM_DTYPE), ("container", "<i4"), ("at", "<i8"), ("size", "<i8")])

    def __init__(self) -> None:
        self._rows = bytearray()

    def add(self, stem: bytes, container: int, offset: int, size: int) -> None:
        """Appends one image; `size` -1 when it is not known."""
        self._rows += self._ROW.pack(stem, container, offset, size)

    def arrays(self) -> tuple[Stems, npt.NDArray[np.int32], Integers, Integers]:
        """Stems, container indices, offsets and sizes, each one-dimensional."""
        rows = np.frombuffer(bytes(self._rows), self._DTYPE)
        return (
            np.ascontiguousarray(rows["stem"]),
            rows["container"].astype(np.int32),
            rows["at"].astype(np.int64),
            rows["size"].astype(np.int64),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """The images that were found in one place, in one form.

    Attributes:
        kind: The raw form, one of `KINDS`.
        path: What was looked at.
        containers: Folders or archives.
        stems: S32, one for each image, in any order.
        container: int32, index into `containers`.
        offsets: int64, what the container needs to find the image.
        sizes: int64 bytes, -1 where not known.
        unidentified: Pictures whose names are no ILSVRC names; they cannot be identified.
        example: The name of one of them; empty when they have none.
    """

    kind: str
    path: Path
    containers: tuple[Container, ...]
    stems: Stems
    container: npt.NDArray[np.int32]
    offsets: Integers
    sizes: Integers
    unidentified: int = 0
    example: str = ""
