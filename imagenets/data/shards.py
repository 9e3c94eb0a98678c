"""The on-disk format, declared once: a shard is one HDF5 file, a manifest lists the shards.

A shard holds three one-dimensional uint8 datasets, `images` and `masks` (encoded files laid end to
end) and `segments` (for images with restart markers, the bytes between them), and a table
`samples` that says where each one lies. They are contiguous, that is one byte range of the file
each, so that a reader can map the file and needs HDF5 only to find the ranges.
docs/format.md describes the format for readers in other languages.
"""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from imagenets.data.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    REMEDY,
    Manifest,
    ShardInfo,
    SplitInfo,
    publish,
)
from imagenets.data.shard_index import (
    SAMPLE_DTYPE,
    SHARD_FORMAT,
    STREAMS,
    ShardIndex,
    existing,
    read_index,
    stamp,
)
from imagenets.errors import CorruptError, UsageError

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "SAMPLE_DTYPE",
    "Manifest",
    "ShardDraft",
    "ShardInfo",
    "ShardReader",
    "ShardSample",
    "ShardWriter",
    "SplitInfo",
    "write_shard",
]


@dataclass(frozen=True, slots=True)
class ShardSample:
    """One sample on its way into a shard.

    Attributes:
        name: File stem.
        wnid: Class folder.
        class_id: 1 + rank of the class in the tier, 0 outside it.
        ilsvrc: Rank of the image's own ILSVRC class in the manifest's `source_classes`.
        width: Of the image, pixels.
        height: Of the image, pixels.
        image: The encoded image.
        mask: The encoded mask, a PNG; None without.
        segments: Little-endian uint16 numbers, the bytes of each restart segment of the image; None
            without an index.
    """

    name: str
    wnid: str
    class_id: int
    ilsvrc: int
    width: int
    height: int
    image: bytes
    mask: bytes | None = None
    segments: bytes | None = None

    def stored(self) -> tuple[bytes, bytes, bytes]:
        """The bytes of STREAMS."""
        return self.image, self.mask or b"", self.segments or b""


class ShardDraft:
    """A shard on its way: written under `<path>.part`, brought safely to the disk by a thread.

    The same samples and attributes give the same bytes. While the thread waits for the disk, the
    caller may look closer at what it has written, and then `publish` or `discard` it.

    Args:
        path: The file to write; one of that name is replaced by `publish`.
        samples: What goes in, in this order.
        attributes: Further attributes of the file, beside `format` and `version`.

    Raises:
        UsageError: A sample does not fit the table (name too long, no image, id out of range).
    """

    def __init__(
        self, path: Path, samples: Sequence[ShardSample], attributes: Mapping[str, str | int]
    ) -> None:
        self.path = path
        self.part = path.with_name(path.name + ".part")
        _write(self.part, samples, attributes)
        self._thread = ThreadPoolExecutor(1)
        self._safe = self._thread.submit(_sync, self.part)

    def publish(self) -> None:
        """Gives the file its name, once it is safely on the disk."""
        with self._thread:
            self._safe.result()
        publish(self.part, self.path)

    def discard(self) -> None:
        """Removes what was written."""
        with self._thread:
            self._safe.cancel()
        self.part.unlink()


def write_shard(
    path: Path, samples: Sequence[ShardSample], attributes: Mapping[str, str | int]
) -> None:
    """Writes a shard in one go; see `ShardDraft`."""
    ShardDraft(path, samples, attributes).publish()


class ShardWriter:
    """Collects samples and writes the shard when closed; writes nothing if its block raises.

    Example:
        >>> with ShardWriter(path, {"tier": "50"}) as writer:  # doctest: +SKIP
        ...     writer.add(ShardSample("n01440764_10026", "n01440764", 1, 0, 500, 375, jpeg))
    """

    def __init__(self, path: Path | str, attributes: Mapping[str, str | int] | None = None) -> None:
        self.path = Path(path)
        self.attributes = dict(attributes or {})
        self._samples: list[ShardSample] | None = []

    def add(self, sample: ShardSample) -> None:
        """Takes one more sample; it stays in memory until `close`."""
        if self._samples is None:
            raise UsageError(f"{self.path}: this shard is closed and cannot take more samples.")
        self._samples.append(sample)

    def close(self) -> None:
        """Writes the shard. A second call does nothing."""
        if self._samples is not None:
            samples, self._samples = self._samples, None
            write_shard(self.path, samples, self.attributes)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._samples = None


class ShardReader:
    """Reads one shard; opens it when first needed, in the process that needs it.

    Encoded bytes come as views of the mapped file and stay valid after `close`. A pickled reader
    carries its table but no handle, and after a fork the child maps the file for itself. Where the
    data cannot be mapped (another program has rewritten the file with chunks, say), samples are
    read through HDF5, with a warning.

    Args:
        path: The shard.
        verify: Whether to check the CRC-32 of what is read, each time.
    """

    def __init__(self, path: Path | str, *, verify: bool = False) -> None:
        self.path = Path(path)
        self.verify = verify
        self._index: ShardIndex | None = None
        self._mappable: bool | None = None  # None: not tried yet
        self._handle: Any = None  # a map of the file or, where that will not do, an h5py.File
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
        with _h5py_file(self.path) as file:
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
        return None if view is None else np.frombuffer(view, "<u2")

    def close(self) -> None:
        """Lets go of the file; the reader opens it again when needed."""
        handle, self._handle = self._handle, None
        if handle is not None and not isinstance(handle, mmap.mmap):
            handle.close()  # a map goes by itself, with the last view of it

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None, "_pid": -1}

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
        view = _slice(self._open(known), known, what, row)
        if self.verify and crc32(view) != row[what + "_crc32"]:
            raise CorruptError(
                f"{self.path}: sample {index} ({row['wnid'].decode()}/{row['name'].decode()}): "
                f"the {what} does not have the checksum in the table. {REMEDY}"
            )
        return view

    def _open(self, known: ShardIndex) -> Any:
        """The handle of this process: what was opened before a fork is never used after it."""
        if self._handle is not None and self._pid == os.getpid():
            return self._handle
        with existing(self.path).open("rb") as file:
            if stamp(file.fileno()) != known.stamp:
                raise CorruptError(
                    f"{self.path}: the file has changed since it was opened. Open the set again."
                )
            handle: Any = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._mappable is None:
            self._mappable = self._can_map(handle, known)
        self._handle = handle if self._mappable else _h5py_file(self.path)
        self._pid = os.getpid()
        return self._handle

    def _can_map(self, mapped: mmap.mmap, known: ShardIndex) -> bool:
        """Whether the map holds what HDF5 reads; checked once, on the first of each."""
        right = known.starts is not None
        for what in STREAMS:
            rows = known.samples[known.samples[what + "_size"] > 0][:1]
            if right and len(rows):
                view = _slice(mapped, known, what, rows[0])
                if crc32(view) != rows[0][what + "_crc32"]:  # damaged, or the wrong place?
                    with _h5py_file(self.path) as file:
                        right = view == _slice(file, known, what, rows[0])
        if not right:
            warnings.warn(
                f"{self.path}: its images or masks are not one byte range of the file, so they "
                "are read through HDF5, which is slower. Prepare the set again to have them so.",
                stacklevel=5,
            )
        return right


def _slice(handle: Any, known: ShardIndex, what: str, row: npt.NDArray[Any]) -> memoryview:
    first, size = int(row[what + "_offset"]), int(row[what + "_size"])
    if isinstance(handle, mmap.mmap):
        assert known.starts is not None
        first += known.starts[what]
        return memoryview(handle)[first : first + size]
    return memoryview(handle[what + "s"][first : first + size])


def _h5py_file(path: Path) -> Any:
    import h5py

    return h5py.File(path, "r", locking=False)


def _write(part: Path, samples: Sequence[ShardSample], attributes: Mapping[str, str | int]) -> None:
    import h5py

    table = _table(samples)
    facts = {"format": SHARD_FORMAT, "version": FORMAT_VERSION, **attributes}
    # The 1.8 file format checksums all of HDF5's own metadata: a flipped bit there is noticed.
    with h5py.File(part, "w", libver=("v108", "v108")) as file:
        for key in sorted(facts):
            value = facts[key]  # fixed-length strings: variable-length ones crash under threads
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        sizes = [int(table[what + "_size"].sum(dtype=np.int64)) for what in STREAMS]
        places = [_reserve(file, f"{w}s", size) for w, size in zip(STREAMS, sizes, strict=True)]
        rows = file.create_dataset("samples", data=table, track_times=False)
        rows.attrs["crc32"] = np.uint32(crc32(table.tobytes()))
    with part.open("r+b") as raw:  # plain writes: up to three times as fast as HDF5 slices
        for number, place in enumerate(places):
            raw.seek(place)
            raw.writelines(sample.stored()[number] for sample in samples)


def _sync(part: Path) -> None:
    with part.open("r+b") as raw:
        os.fsync(raw.fileno())


def _table(samples: Sequence[ShardSample]) -> npt.NDArray[Any]:
    rows = []
    ends = [0] * len(STREAMS)
    for sample in samples:
        _check_sample(sample)
        row: list[Any] = [sample.name.encode(), sample.wnid.encode(), sample.class_id]
        row += [sample.ilsvrc, sample.width, sample.height]
        for number, data in enumerate(sample.stored()):
            row += [ends[number], len(data), crc32(data)]
            ends[number] += len(data)
        rows.append(tuple(row))
    return np.array(rows, SAMPLE_DTYPE)


def _check_sample(sample: ShardSample) -> None:
    what = f"sample {sample.wnid}/{sample.name}"
    for text, most in ((sample.name, 32), (sample.wnid, 9)):
        if not text or not text.isascii() or len(text) > most or "\0" in text:
            raise UsageError(
                f"{what}: {text!r} must be 1 to {most} ASCII characters to fit in a shard. "
                "Rename the image."
            )
    if not sample.image:
        raise UsageError(f"{what}: the image is an empty file. Replace it.")
    if not (0 <= sample.class_id < 2**15 and 0 <= sample.ilsvrc < 2**15):
        raise UsageError(f"{what}: class ids must lie in 0..32767.")


def _reserve(file: Any, name: str, size: int) -> int:
    """Makes a contiguous dataset whose bytes are written later; returns where they go."""
    import h5py

    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.CONTIGUOUS)
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)  # times would make equal shards differ
    space = h5py.h5s.create_simple((size,))
    data = h5py.h5d.create(file.id, name.encode(), h5py.h5t.STD_U8LE, space, plan)
    return int(data.get_offset() or 0)  # an empty dataset lies nowhere
