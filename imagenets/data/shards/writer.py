"""Writing shards: the bytes of samples into one HDF5 file, brought safely to the disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from imagenets.core.files import atomic, sync
from imagenets.data.shards.format import (
    CHECKSUM,
    FORMAT_VERSION,
    HDF5_VERSION,
    SAMPLE_DTYPE,
    SHARD_FORMAT,
    STREAMS,
    TABLE,
    dataset_of,
)
from imagenets.errors import UsageError


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


@contextmanager
def shard_draft(
    path: Path, samples: Sequence[ShardSample], attributes: Mapping[str, str | int]
) -> Iterator[Path]:
    """Writes a shard, lets a block look at it, and then gives it its name.

    A thread brings the shard to the disk meanwhile. A block that raises leaves nothing behind. The
    same samples and attributes give the same bytes.

    Args:
        path: The file to make; an older one is replaced.
        samples: What goes in, in this order.
        attributes: Further attributes of the file, beside `format` and `version`.

    Yields:
        The temporary file, whole and closed.

    Raises:
        UsageError: A sample does not fit the table (name too long, no image, id out of range).
    """
    with atomic(path) as part:
        _write(part, samples, attributes)
        with ThreadPoolExecutor(1) as thread:
            synced = thread.submit(sync, part)
            yield part
            synced.result()


def write_shard(
    path: Path, samples: Sequence[ShardSample], attributes: Mapping[str, str | int]
) -> None:
    """Writes a shard in one go; see `shard_draft`."""
    with shard_draft(path, samples, attributes):
        pass


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


def _write(part: Path, samples: Sequence[ShardSample], attributes: Mapping[str, str | int]) -> None:
    import h5py

    table = _table(samples)
    facts = {"format": SHARD_FORMAT, "version": FORMAT_VERSION, **attributes}
    with h5py.File(part, "w", libver=HDF5_VERSION) as file:
        for key in sorted(facts):
            value = facts[key]  # fixed-length strings: variable-length ones crash under threads
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        sizes = [int(table[what + "_size"].sum(dtype=np.int64)) for what in STREAMS]
        names = map(dataset_of, STREAMS)
        places = [_reserve(file, name, size) for name, size in zip(names, sizes, strict=True)]
        rows = file.create_dataset(TABLE, data=table, track_times=False)
        rows.attrs[CHECKSUM] = np.uint32(crc32(table.tobytes()))
    with part.open("r+b") as raw:  # plain writes: up to three times as fast as HDF5 slices
        for number, place in enumerate(places):
            raw.seek(place)
            raw.writelines(sample.stored()[number] for sample in samples)


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
    for text, column in ((sample.name, "name"), (sample.wnid, "wnid")):
        most = SAMPLE_DTYPE[column].itemsize
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
