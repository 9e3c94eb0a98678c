"""A shard's table and where its bytes lie: read first, checked, kept in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from imagenets.data.shards.format import (
    CHECKSUM,
    REMEDY,
    SAMPLE_DTYPE,
    SHARD_FORMAT,
    STREAMS,
    TABLE,
    check_version,
    dataset_of,
)
from imagenets.errors import CorruptError, MissingError


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The table of a shard and where its bytes lie; small, and safe to send to another process.

    Attributes:
        samples: Rows of `SAMPLE_DTYPE`.
        starts: Offset in the file of the data of each of STREAMS.
        stamp: Size and time of change of the file, to notice when it is replaced.
    """

    samples: npt.NDArray[Any]
    starts: dict[str, int]
    stamp: tuple[int, int]


def read_index(path: Path) -> ShardIndex:
    """Reads a shard's table and checks it: every sample lies where it must.

    Raises:
        MissingError: There is no such file.
        CorruptError: It is no shard, of another version, or damaged; names the sample if one is.
    """
    with existing(path).open("rb") as raw:
        mark = stamp(raw.fileno())
    try:
        file = _open(path)
        try:
            form, version = _attribute(file, "format", "S32"), _attribute(file, "version", "<i8")
            check_version(path, form.decode(errors="replace"), version, SHARD_FORMAT)
            table = _table(path, file)
            places = {what: _place(path, file, dataset_of(what), mark[0]) for what in STREAMS}
        finally:
            file.close()
    except CorruptError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptError(f"{path}: not a readable shard ({error}). {REMEDY}") from error
    for what, (_, length) in places.items():
        _check_ranges(path, table, what, length)
    return ShardIndex(table, {what: start for what, (start, _) in places.items()}, mark)


def existing(path: Path) -> Path:
    """Returns the path of a file that is there.

    Raises:
        MissingError: It is not.
    """
    if not path.is_file():
        raise MissingError(f"{path}: this shard is missing. Run imagenets-prepare again.")
    return path


def stamp(fd: int) -> tuple[int, int]:
    """Size and time of change of an open file."""
    stat = os.fstat(fd)
    return stat.st_size, stat.st_mtime_ns


def _open(path: Path) -> Any:
    """Opens a shard with h5py's low-level interface, four times as fast as its other one.

    Takes no lock: shards never change, and some network file systems have no locks.
    """
    from h5py import h5f, h5p

    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)  # closing the file closes what is open in it
    access.set_file_locking(False, True)
    return h5f.open(os.fsencode(path), h5f.ACC_RDONLY, access)


def _attribute(place: Any, name: str, kind: str) -> Any:
    """An attribute of a known type; asking HDF5 for its type would cost more than reading it."""
    from h5py import h5a

    value = np.empty((), kind)
    h5a.open(place, name.encode()).read(value)
    return value.item()


@cache
def _row_type() -> Any:
    from h5py import h5t

    return h5t.py_create(SAMPLE_DTYPE)


def _table(path: Path, file: Any) -> npt.NDArray[Any]:
    from h5py import h5d, h5s

    data = h5d.open(file, TABLE.encode())
    if data.get_type() != _row_type() or data.rank != 1:
        raise CorruptError(f"{path}: `{TABLE}` has other columns than this version. {REMEDY}")
    table = np.empty(data.shape, SAMPLE_DTYPE)
    data.read(h5s.ALL, h5s.ALL, table, mtype=_row_type())
    if crc32(table.tobytes()) != _attribute(data, CHECKSUM, "<u4"):
        raise CorruptError(f"{path}: the table `{TABLE}` is damaged. {REMEDY}")
    return table


def _place(path: Path, file: Any, name: str, file_size: int) -> tuple[int, int]:
    """Where a dataset's bytes start in the file, and how many they are."""
    from h5py import h5d, h5t

    data = h5d.open(file, name.encode())
    if data.get_type() != h5t.STD_U8LE or data.rank != 1:
        raise CorruptError(f"{path}: `{name}` is not a row of bytes. {REMEDY}")
    length = int(data.shape[0])
    start = data.get_offset() if length else 0  # an empty dataset lies nowhere
    if start is None or start + length > file_size:
        raise CorruptError(
            f"{path}: `{name}` is not one byte range of the file, so it cannot be mapped: another "
            f"program has rewritten it, perhaps with chunks or compression. {REMEDY}"
        )
    return int(start), length


def _check_ranges(path: Path, table: npt.NDArray[Any], what: str, length: int) -> None:
    """Checks that the encoded files lie end to end, in the order of the table, in the dataset."""
    sizes = table[what + "_size"].astype(np.uint64)
    ends = np.cumsum(sizes)
    wrong = (table[what + "_offset"] != ends - sizes) | (ends > length)
    if what == "image":
        wrong |= sizes == 0
    if wrong.any():
        index = int(np.argmax(wrong))
        row = table[index]
        raise CorruptError(
            f"{path}: sample {index} ({row['wnid'].decode()}/{row['name'].decode()}): the {what} "
            f"lies outside its place ({row[what + '_size']} bytes at {row[what + '_offset']} of "
            f"{length}). {REMEDY}"
        )
