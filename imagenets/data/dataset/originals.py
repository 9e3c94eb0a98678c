"""Images and masks that are read where they lie: files, rows of parquet files, members of a zip."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from imagenets.data.mask_archive import MaskArchive
from imagenets.data.parquet import ParquetImages
from imagenets.errors import MissingError

Rows = npt.NDArray[np.int64]


class Originals(Protocol):
    """The encoded images, or the encoded masks, of the samples: one a row."""

    def read(self, row: int) -> bytes:
        """The encoded bytes."""

    def head(self, row: int) -> Path | bytes:
        """What tells an image's size: its file, or its bytes."""

    def where(self, row: int) -> str:
        """What to call it in an error."""

    def fact(self, row: int) -> str:
        """What it is known by, wherever its folder lies: name and size, or checksum."""

    def take(self, rows: Rows) -> Originals:
        """Some of them only."""

    def storage_order(self, rows: Rows) -> Rows:
        """The same rows in the order in which it is cheapest to read them."""


@dataclass(frozen=True)
class Files:
    """Files below a folder.

    Attributes:
        folder: The folder.
        paths: Path of each file, relative to it, as bytes: it need not be UTF-8.
    """

    folder: Path
    paths: npt.NDArray[np.bytes_]

    def read(self, row: int) -> bytes:
        """The bytes of the file.

        Raises:
            MissingError: It is gone, or cannot be read.
        """
        path = self.head(row)
        try:
            return path.read_bytes()
        except OSError as error:
            raise _unreadable(path, error) from error

    def head(self, row: int) -> Path:
        """The file."""
        return self.folder / os.fsdecode(self.paths[row])

    def where(self, row: int) -> str:
        """The file's path."""
        return str(self.head(row))

    def fact(self, row: int) -> str:
        """Name and size."""
        path = self.head(row)
        try:
            return f"{path.name} {path.stat().st_size}"
        except OSError as error:
            raise _unreadable(path, error) from error

    def take(self, rows: Rows) -> Files:
        """Some of the files."""
        return Files(self.folder, self.paths[rows])

    def storage_order(self, rows: Rows) -> Rows:
        """As they are."""
        return rows


def _unreadable(path: Path, error: OSError) -> MissingError:
    return MissingError(
        f"{path}: cannot be read ({error.strerror}). It was there when the folder was listed: "
        "restore it, or open the data set again."
    )


@dataclass(frozen=True)
class Members:
    """Masks that are members of a zip, which is not unpacked.

    Attributes:
        archive: The zip.
        names: Name of each member.
    """

    archive: MaskArchive
    names: Sequence[str]

    def read(self, row: int) -> bytes:
        """The bytes of the member; raises as `MaskArchive.read`."""
        return self.archive.read(self.names[row])

    def head(self, row: int) -> bytes:
        """The same."""
        return self.read(row)

    def where(self, row: int) -> str:
        """The zip and the member."""
        return f"{self.archive.path}: {self.names[row]}"

    def fact(self, row: int) -> str:
        """Size and checksum, as the zip states them."""
        name = self.names[row]
        return f"{name} {self.archive.size(name)} {self.archive.checksum(name)}"

    def take(self, rows: Rows) -> Members:
        """Some of the members."""
        return Members(self.archive, tuple(self.names[row] for row in rows.tolist()))

    def storage_order(self, rows: Rows) -> Rows:
        """As they are."""
        return rows


@dataclass(frozen=True)
class Cells:
    """Cells of parquet files. Each costs the row group that holds it, its neighbours then nothing.

    Attributes:
        files: The files.
        file: int16, index into `files` of each cell.
        row: int64, row of each cell in its file.
        masks: Whether the cells are those of the masks.
    """

    files: Sequence[ParquetImages]
    file: npt.NDArray[np.int16]
    row: Rows
    masks: bool = False

    def read(self, row: int) -> bytes:
        """The bytes in the cell.

        Raises:
            MissingError: The file is gone.
            CorruptError: The file has changed, or the cell holds no bytes.
        """
        file, name, at = self._file(row), "mask" if self.masks else "image", int(self.row[row])
        data = file.read_mask(at, name) if self.masks else file.read_image(at, name)
        assert data is not None  # files without masks make no cells of masks
        return data

    def head(self, row: int) -> bytes:
        """The same."""
        return self.read(row)

    def where(self, row: int) -> str:
        """The file and the row."""
        return f"{self._file(row).path}: row {self.row[row]}"

    def fact(self, row: int) -> str:
        """Name and size of the file, and the row."""
        file = self._file(row)
        return f"{Path(file.path).name} {file.stamp[0]} {self.row[row]}"

    def take(self, rows: Rows) -> Cells:
        """Some of the cells."""
        return Cells(self.files, self.file[rows], self.row[rows], self.masks)

    def storage_order(self, rows: Rows) -> Rows:
        """File by file, and front to back: no row group is read twice."""
        return rows[np.lexsort((self.row[rows], self.file[rows]))]

    def _file(self, row: int) -> ParquetImages:
        return self.files[int(self.file[row])]
