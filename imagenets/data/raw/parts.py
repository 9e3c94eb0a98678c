"""What every raw form is turned into: columns of images that lie in containers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from imagenets.data.stems import STEM_DTYPE, Stems

Integers = npt.NDArray[np.int64]


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


class Columns:
    """Grows the columns of a part, packed: no object stays per image."""

    _ROW = struct.Struct("<32siqq")
    _DTYPE = np.dtype([("stem", STEM_DTYPE), ("container", "<i4"), ("at", "<i8"), ("size", "<i8")])

    def __init__(self) -> None:
        self._rows = bytearray()

    def add(self, stem: bytes, container: int, offset: int, size: int) -> None:
        """Appends one image; `size` -1 when it is not known."""
        self._rows += self._ROW.pack(stem, container, offset, size)

    def extend(self, other: Columns) -> None:
        """Appends all images of other columns."""
        self._rows += other._rows

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
        has_masks: Whether a tar holds masks beside its images.
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
    has_masks: bool = False
