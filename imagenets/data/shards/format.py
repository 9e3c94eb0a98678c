"""What a reader must know of a shard before it can read samples, and the checks that go with it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from imagenets.data.shards.manifest import REMEDY, check_version
from imagenets.errors import CorruptError, MissingError

SHARD_FORMAT = "imagenets-shard"

SAMPLE_DTYPE = np.dtype(
    [
        ("name", "S32"),  # file stem, such as n04493381_27386
        ("wnid", "S9"),  # class folder
        ("class_id", "<i2"),  # 1 + rank of the class in the tier, 0 outside it
        ("ilsvrc", "<i2"),  # rank of the image's own ILSVRC class in `source_classes`
        ("width", "<u4"),
        ("height", "<u4"),
        ("image_offset", "<u8"),  # first byte within `images`
        ("image_size", "<u4"),
        ("image_crc32", "<u4"),
        ("mask_offset", "<u8"),  # first byte within `masks`
        ("mask_size", "<u4"),  # 0: this sample has no mask
        ("mask_crc32", "<u4"),
        ("segment_offset", "<u8"),  # first byte within `segments`
        ("segment_size", "<u4"),  # 0: this image has no index of its restart segments
        ("segment_crc32", "<u4"),
    ]
)
"""One row of a shard's `samples` table: 101 bytes, little-endian, no padding."""

STREAMS = ("image", "mask", "segment")
"""What a sample has in the shard; each lies in the dataset of this name with an s."""


@dataclass(frozen=True, slots=True)
class ShardIndex:
    """The table of a shard and where its bytes lie; small, and safe to send to another process.

    Attributes:
        samples: Rows of `SAMPLE_DTYPE`.
        starts: Offset in the file of the data of each of STREAMS; None where one of them is not a
            byte range of the file, and has to be read through HDF5.
        stamp: Size and time of change of the file, to notice when it is replaced.
    """

    samples: npt.NDArray[Any]
    starts: dict[str, int] | None
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
        file = h5py_open(path)
        try:
            form, version = _attribute(file, "format", "S32"), _attribute(file, "version", "<i8")
            check_version(path, form.decode(errors="replace"), version, SHARD_FORMAT)
            table = _table(path, file)
            data = {what: _bytes(path, file, what + "s") for what in STREAMS}
            starts = {what: _start(mark[0], item) for what, item in data.items()}
            lengths = {what: item.shape[0] for what, item in data.items()}
        finally:
            file.close()
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptError(f"{path}: not a readable shard ({error}). {REMEDY}") from error
    for what, length in lengths.items():
        _check_ranges(path, table, what, length)
    known = {what: start for what, start in starts.items() if start is not None}
    return ShardIndex(table, known if len(known) == len(starts) else None, mark)


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


def h5py_open(path: Path) -> Any:
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

    data = h5d.open(file, b"samples")
    if data.get_type() != _row_type() or data.rank != 1:
        raise CorruptError(f"{path}: `samples` has other columns than this version. {REMEDY}")
    table = np.empty(data.shape, SAMPLE_DTYPE)
    data.read(h5s.ALL, h5s.ALL, table, mtype=_row_type())
    if crc32(table.tobytes()) != _attribute(data, "crc32", "<u4"):
        raise CorruptError(f"{path}: the table `samples` is damaged. {REMEDY}")
    return table


def _bytes(path: Path, file: Any, name: str) -> Any:
    from h5py import h5d, h5t

    data = h5d.open(file, name.encode())
    if data.get_type() != h5t.STD_U8LE or data.rank != 1:
        raise CorruptError(f"{path}: `{name}` is not a row of bytes. {REMEDY}")
    return data


def _start(file_size: int, data: Any) -> int | None:
    """Where a dataset's bytes start in the file, None if they are not one range of it."""
    length = data.shape[0]
    start = data.get_offset() if length else 0
    return None if start is None or start + length > file_size else int(start)


def _check_ranges(path: Path, table: npt.NDArray[Any], what: str, length: int) -> None:
    """Holds that the encoded files lie end to end, in the table's order, and fill the dataset."""
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
