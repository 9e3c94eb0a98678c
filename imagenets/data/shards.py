"""The on-disk format, declared once: a shard is one HDF5 file, a manifest lists the shards.

A shard holds two one-dimensional uint8 datasets, `images` and `masks` (encoded files laid end to
end), and a table `samples` that says where each one lies. Both are contiguous, that is one byte
range of the file each, so that a reader can map the file and needs HDF5 only to find the ranges.
docs/format.md describes the format for readers in other languages.
"""

from __future__ import annotations

import json
import mmap
import os
import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import CorruptError, MissingError, UsageError

FORMAT_VERSION = 1
"""Version of shards and manifests; other versions are refused."""

SHARD_FORMAT = "imagenets-shard"
MANIFEST_FORMAT = "imagenets-shards"
MANIFEST = "manifest.json"

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
    ]
)
"""One row of a shard's `samples` table: 85 bytes, little-endian, no padding."""

_REMEDY = "Delete this file and run imagenets-prepare again to pack it anew."


@dataclass(frozen=True, slots=True)
class ShardSample:
    """One sample on its way into a shard; `image` and `mask` are encoded files (JPEG, PNG)."""

    name: str
    wnid: str
    class_id: int
    ilsvrc: int
    width: int
    height: int
    image: bytes
    mask: bytes | None = None


def write_shard(
    path: Path, samples: Sequence[ShardSample], attributes: Mapping[str, str | int]
) -> None:
    """Writes a shard in one go; the same samples and attributes give the same bytes.

    The file grows under `<path>.part` and gets its name once it is safely on the disk.

    Args:
        path: The file to write; one of that name is replaced.
        samples: What goes in, in this order.
        attributes: Further attributes of the file, beside `format` and `version`.

    Raises:
        UsageError: A sample does not fit the table (name too long, no image, id out of range).
    """
    import h5py

    table = _table(samples)
    part = path.with_name(path.name + ".part")
    facts = {"format": SHARD_FORMAT, "version": FORMAT_VERSION, **attributes}
    # The 1.8 file format checksums all of HDF5's own metadata: a flipped bit there is noticed.
    with h5py.File(part, "w", libver=("v108", "v108")) as file:
        for key in sorted(facts):
            value = facts[key]  # fixed-length strings: variable-length ones crash under threads
            file.attrs[key] = np.bytes_(value.encode()) if isinstance(value, str) else value
        images = _reserve(file, "images", int(table["image_size"].sum(dtype=np.int64)))
        masks = _reserve(file, "masks", int(table["mask_size"].sum(dtype=np.int64)))
        rows = file.create_dataset("samples", data=table, track_times=False)
        rows.attrs["crc32"] = np.uint32(zlib.crc32(table.tobytes()))
    with part.open("r+b") as raw:  # plain writes: three times as fast as HDF5 slices
        raw.seek(images)
        raw.writelines(sample.image for sample in samples)
        raw.seek(masks)
        raw.writelines(sample.mask for sample in samples if sample.mask)
        raw.flush()
        os.fsync(raw.fileno())
    _publish(part, path)


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


@dataclass(frozen=True, slots=True)
class _Index:
    """What a reader must know of a file; small, and safe to send to another process."""

    samples: npt.NDArray[Any]
    attributes: dict[str, str | int]
    starts: dict[str, int | None]  # of `images` and `masks` in the file; None: not one byte range
    stamp: tuple[int, int]  # size and time of change, to notice a file that was replaced


class ShardReader:
    """Reads one shard; opens it when first needed, in the process that needs it.

    Encoded bytes come as views of the mapped file and stay valid after `close`. A pickled reader
    carries its table but no handle, and after a fork the child maps the file for itself.

    Args:
        path: The shard.
        verify: Whether to check the CRC-32 of what is read, each time.
    """

    def __init__(self, path: Path | str, *, verify: bool = False) -> None:
        self.path = Path(path)
        self.verify = verify
        self._index: _Index | None = None
        self._handle: mmap.mmap | Any = None  # the map, or an open h5py.File where none can be had
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
        return dict(self._known().attributes)

    def __len__(self) -> int:
        return len(self.samples)

    def image(self, index: int) -> memoryview:
        """The encoded image of a sample.

        Raises:
            IndexError: `index` is not in 0..len - 1.
            CorruptError: The bytes do not have the recorded checksum (with `verify`).
        """
        view = self._read("image", index)
        assert view is not None  # an empty image is refused at opening
        return view

    def mask(self, index: int) -> memoryview | None:
        """The encoded mask of a sample, None where it has none; raises like `image`."""
        return self._read("mask", index)

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

    def _known(self) -> _Index:
        if self._index is None:
            self._index = _read_index(self.path)
        return self._index

    def _read(self, what: str, index: int) -> memoryview | None:
        known = self._known()
        if not 0 <= index < len(known.samples):
            raise IndexError(f"{self.path}: no sample {index}, there are {len(known.samples)}.")
        row = known.samples[index]
        first, size = int(row[what + "_offset"]), int(row[what + "_size"])
        if size == 0:
            return None
        start = known.starts[what + "s"]
        handle = self._open(known)
        if isinstance(handle, mmap.mmap) and start is not None:
            view = memoryview(handle)[start + first : start + first + size]
        else:
            view = memoryview(handle[what + "s"][first : first + size])
        if self.verify and zlib.crc32(view) != row[what + "_crc32"]:
            raise CorruptError(
                f"{self.path}: sample {index} ({row['wnid'].decode()}/{row['name'].decode()}): "
                f"the {what} does not have the checksum in the table. {_REMEDY}"
            )
        return view

    def _open(self, known: _Index) -> Any:
        """The handle of this process: what was opened before a fork is never used after it."""
        if self._handle is not None and self._pid == os.getpid():
            return self._handle
        if None in known.starts.values():
            import h5py

            self._handle = h5py.File(self.path, "r", locking=False)
        else:
            with _existing(self.path).open("rb") as file:
                if _stamp(file.fileno()) != known.stamp:
                    raise CorruptError(
                        f"{self.path}: the file has changed since it was opened. "
                        "Open the set again."
                    )
                self._handle = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._pid = os.getpid()
        return self._handle


@dataclass(frozen=True, slots=True)
class ShardInfo:
    """One shard in a manifest: its file name, group, number of samples, size and SHA-256."""

    file: str
    group: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class SplitInfo:
    """One split in a manifest: the groups it is made of, samples in all, whether it has masks."""

    groups: list[str]
    samples: int
    masks: bool


@dataclass
class Manifest:
    """What a folder of shards holds; written last, so that its presence means a whole set.

    Attributes:
        tier: Name of the tier.
        classes: WordNet ids; class id = 1 + rank.
        source_classes: WordNet ids that `ilsvrc` counts.
        splits: The splits, by name.
        shards: The files, in the order of the samples within each group.
        options: How the images were stored.
        lists: SHA-256 of each list used, by its path below the index folder.
        archive: Name, bytes and md5 of the mask archive; None without one.
    """

    tier: str
    classes: list[str]
    source_classes: list[str]
    splits: dict[str, SplitInfo]
    shards: list[ShardInfo]
    options: dict[str, Any] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)
    archive: dict[str, Any] | None = None

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Reads `<folder>/manifest.json`.

        Raises:
            MissingError: There is none: the folder holds no finished set.
            CorruptError: It is cut off, of another version, or not a manifest.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            raise MissingError(
                f"{path}: not found, so this folder holds no finished set. "
                "Run imagenets-prepare (again) to finish it."
            ) from None
        except ValueError as error:
            raise CorruptError(f"{path}: not valid JSON ({error}). {_REMEDY}") from None
        try:
            _check_version(path, content.pop("format"), content.pop("version"), MANIFEST_FORMAT)
            splits = {name: SplitInfo(**split) for name, split in content.pop("splits").items()}
            shards = [ShardInfo(**shard) for shard in content.pop("shards")]
            manifest = cls(splits=splits, shards=shards, **content)
            manifest._check()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptError(f"{path}: not a complete manifest ({error}). {_REMEDY}") from None
        return manifest

    def save(self, folder: Path) -> None:
        """Writes `<folder>/manifest.json` in one step; equal manifests give equal bytes."""
        content = {"format": MANIFEST_FORMAT, "version": FORMAT_VERSION, **asdict(self)}
        part = folder / (MANIFEST + ".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1, sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        _publish(part, folder / MANIFEST)

    def of_split(self, split: str) -> list[ShardInfo]:
        """The shards of a split, group by group.

        Raises:
            KeyError: The set has no such split.
        """
        groups = self.splits[split].groups
        return [shard for group in groups for shard in self.shards if shard.group == group]

    def _check(self) -> None:
        for shard in self.shards:
            if Path(shard.file).name != shard.file:
                raise ValueError(f"{shard.file!r} is not a plain file name")
        for name, split in self.splits.items():
            found = sum(shard.samples for shard in self.of_split(name))
            if found != split.samples:
                raise ValueError(
                    f"split {name} has {split.samples} samples, its shards have {found}"
                )


def _table(samples: Sequence[ShardSample]) -> npt.NDArray[Any]:
    rows = []
    image_offset = mask_offset = 0
    for sample in samples:
        _check_sample(sample)
        mask = sample.mask or b""
        who = (sample.name.encode(), sample.wnid.encode(), sample.class_id, sample.ilsvrc)
        image_at = (image_offset, len(sample.image), zlib.crc32(sample.image))
        mask_at = (mask_offset, len(mask), zlib.crc32(mask))
        rows.append((*who, sample.width, sample.height, *image_at, *mask_at))
        image_offset += len(sample.image)
        mask_offset += len(mask)
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


def _publish(part: Path, path: Path) -> None:
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name survives a power cut, too
    finally:
        os.close(folder)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise MissingError(f"{path}: this shard is missing. Run imagenets-prepare again.")
    return path


def _stamp(fd: int) -> tuple[int, int]:
    stat = os.fstat(fd)
    return stat.st_size, stat.st_mtime_ns


def _check_version(path: Path, form: object, version: object, wanted: str) -> None:
    if form != wanted:
        raise CorruptError(f"{path}: its format is {form!r}, not {wanted!r}. {_REMEDY}")
    if version != FORMAT_VERSION:
        raise CorruptError(
            f"{path}: format version {version}, this release reads version {FORMAT_VERSION}. "
            "Install the release that wrote it, or prepare the set again."
        )


def _read_index(path: Path) -> _Index:
    import h5py

    with _existing(path).open("rb", buffering=0) as raw:
        stamp = _stamp(raw.fileno())
        try:
            with h5py.File(path, "r", locking=False) as file:
                attributes = {key: _plain(value) for key, value in file.attrs.items()}
                _check_version(
                    path, attributes.get("format"), attributes.get("version"), SHARD_FORMAT
                )
                samples = file["samples"]
                if samples.dtype != SAMPLE_DTYPE:
                    raise CorruptError(f"{path}: `samples` has other columns. {_REMEDY}")
                table, crc32 = samples[()], int(samples.attrs["crc32"])
                lengths = {name: _length(path, file[name]) for name in ("images", "masks")}
                starts = {name: _start(raw.fileno(), file[name]) for name in lengths}
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CorruptError(f"{path}: not a readable shard ({error}). {_REMEDY}") from error
    if zlib.crc32(table.tobytes()) != crc32:
        raise CorruptError(f"{path}: the table `samples` is damaged. {_REMEDY}")
    for what in ("image", "mask"):
        _check_ranges(path, table, what, lengths[what + "s"])
    for name in (name for name, start in starts.items() if start is None):
        warnings.warn(
            f"{path}: `{name}` is not one byte range of the file, so it is read through HDF5, "
            "which is slower. Pack the set again to get shards that can be mapped.",
            stacklevel=4,
        )
    return _Index(table, attributes, starts, stamp)


def _plain(value: Any) -> str | int:
    return value.decode() if isinstance(value, bytes) else int(value)


def _length(path: Path, data: Any) -> int:
    if data.dtype != np.uint8 or data.ndim != 1:
        raise CorruptError(f"{path}: `{data.name[1:]}` is not a row of bytes. {_REMEDY}")
    return int(data.shape[0])


def _start(fd: int, data: Any) -> int | None:
    """Where a dataset's bytes start in the file, None unless reading there gives its content."""
    length = int(data.shape[0])
    if length == 0:
        return 0
    start = data.id.get_offset()
    if start is None or start + length > os.fstat(fd).st_size:
        return None
    for first in {0, max(0, length - 512)}:
        piece = data[first : min(length, first + 512)].tobytes()
        if os.pread(fd, len(piece), start + first) != piece:
            return None
    return int(start)


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
            f"{length}). {_REMEDY}"
        )
