"""Reads shards: maps the file, checks what it needs, hands out views of bytes."""

from __future__ import annotations

import mmap
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from imagenets.data.shards.format import REMEDY, SAMPLE_DTYPE, SEGMENT_DTYPE
from imagenets.data.shards.index import ShardIndex, existing, read_index, stamp
from imagenets.errors import CorruptError

_NONE = np.zeros(0, SAMPLE_DTYPE)
"""One object for all: pickled once, however many readers have it."""


class ShardReader:
    """Reads one shard; opens it when first needed, in the process that needs it.

    Encoded bytes come as views of the mapped file and stay valid after `close`. A pickled reader
    carries its table but no map, and after a fork the child maps the file for itself.

    Args:
        path: The shard.
        verify: Whether to check the CRC-32 of what is read, each time.
    """

    def __init__(self, path: Path | str, *, verify: bool = False) -> None:
        self.path = Path(path)
        self.verify = verify
        self._index: ShardIndex | None = None
        self._map: mmap.mmap | None = None
        self._pid = -1

    @property
    def samples(self) -> npt.NDArray[Any]:
        """The table: one row of `SAMPLE_DTYPE` a sample.

        Raises:
            MissingError: There is no such file.
            CorruptError: It is no shard of this version, or is damaged.
        """
        return self._known().samples

    @property
    def attributes(self) -> dict[str, str | int]:
        """The file's attributes: `format`, `version`, and what the writer was given."""
        self._known()
        import h5py

        with h5py.File(self.path, "r", locking=False) as file:
            values = dict(file.attrs.items())
        return {
            key: value.decode() if isinstance(value, bytes) else int(value)
            for key, value in values.items()
        }

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> memoryview:
        """The encoded image of a sample.

        Raises:
            IndexError: `index` is not in 0..len - 1.
            CorruptError: The bytes do not have the recorded checksum (with `verify`), or the file
                has changed since its table was read.
        """
        view = self._read("image", index)
        assert view is not None  # an empty image is refused at opening
        return view

    def mask(self, index: int) -> memoryview | None:
        """The encoded mask of a sample, None where it has none; raises like `image`."""
        return self._read("mask", index)

    def segments(self, index: int) -> npt.NDArray[np.uint16] | None:
        """Bytes of each restart segment of the image, None without; raises like `image`."""
        view = self._read("segment", index)
        return None if view is None else np.frombuffer(view, SEGMENT_DTYPE)

    def without_table(self) -> ShardReader:
        """A reader that has all but its table, which `with_table` gives it back."""
        return self.with_table(_NONE)

    def with_table(self, table: npt.NDArray[Any]) -> ShardReader:
        """A reader of the same file whose table lies elsewhere, such as in that of many shards.

        Args:
            table: As `samples` is.

        Returns:
            Another reader, which has not mapped the file yet.
        """
        other = ShardReader(self.path, verify=self.verify)
        other._index = replace(self._known(), samples=table)
        return other

    def close(self) -> None:
        """Lets go of the file; the reader opens it again when needed."""
        self._map = None  # it goes with the last view of it

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None, "_pid": -1}

    def _known(self) -> ShardIndex:
        if self._index is None:
            self._index = read_index(self.path)
        return self._index

    def _read(self, what: str, index: int) -> memoryview | None:
        known = self._known()
        if not 0 <= index < len(known.samples):
            raise IndexError(f"{self.path}: no sample {index}, there are {len(known.samples)}.")
        row = known.samples[index]
        if not row[what + "_size"]:
            return None
        first, size = known.starts[what] + int(row[what + "_offset"]), int(row[what + "_size"])
        view = memoryview(self._mapped(known))[first : first + size]
        if self.verify and crc32(view) != row[what + "_crc32"]:
            raise CorruptError(
                f"{self.path}: sample {index} ({row['wnid'].decode()}/{row['name'].decode()}): "
                f"the {what} does not have the checksum in the table. {REMEDY}"
            )
        return view

    def _mapped(self, known: ShardIndex) -> mmap.mmap:
        """The map of this process: what was opened before a fork is never used after it."""
        if self._map is None or self._pid != os.getpid():
            with existing(self.path).open("rb") as file:
                if stamp(file.fileno()) != known.stamp:
                    raise CorruptError(
                        f"{self.path}: the file has changed since it was opened. "
                        "Open the set again."
                    )
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._pid = os.getpid()
        return self._map
