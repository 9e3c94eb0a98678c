"""A prepared set against its manifest alone: neither sources nor network are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from zlib_ng.zlib_ng import crc32

from imagenets import paths
from imagenets.core.files import sha256
from imagenets.core.pool import Pool
from imagenets.data.prepare.archive import decode_mask
from imagenets.data.shards import Manifest, ShardInfo, ShardReader
from imagenets.errors import ImageNetSError, MissingError


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is not as the manifest says.

    Attributes:
        shard: File name.
        sample: `<wnid>/<stem>`, None when it concerns the whole file.
        what: What is wrong.
    """

    shard: str
    sample: str | None
    what: str

    def __str__(self) -> str:
        return f"{self.shard}: {self.sample + ': ' if self.sample else ''}{self.what}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verifying one set has found."""

    folder: Path
    tier: str
    shards: int
    samples: int
    faults: list[Fault] = field(default_factory=list)

    @property
    def bad_shards(self) -> list[str]:
        """The files that must be packed anew."""
        return sorted({fault.shard for fault in self.faults})


@dataclass(frozen=True, slots=True)
class _Facts:
    """What every shard of a set is checked against."""

    folder: Path
    classes: tuple[bytes, ...]
    masked: frozenset[str]
    tier: str


def verify(folder: Path, pool: Pool) -> VerifyReport:
    """Checks every shard of a set: size, digest, and each sample.

    Args:
        folder: Folder of shards with its manifest.
        pool: Where the work is done.

    Returns:
        What is wrong, sample by sample.

    Raises:
        MissingError: There is no manifest.
        CorruptError: The manifest itself cannot be read.
    """
    manifest = Manifest.load(folder)
    masked = {group for split in manifest.splits.values() if split.masks for group in split.groups}
    classes = tuple(wnid.encode() for wnid in manifest.classes)
    work = partial(_check_shard, _Facts(folder, classes, frozenset(masked), manifest.tier))
    faults: list[Fault] = []
    weights = [shard.samples for shard in manifest.shards]
    for _, found in pool.map(work, manifest.shards, f"verifying {folder.name}", weights):
        faults += found
    faults.sort(key=lambda fault: (fault.shard, fault.sample or ""))
    return VerifyReport(folder, manifest.tier, len(manifest.shards), sum(weights), faults)


def prepared_sets(root: Path) -> list[Path]:
    """The folders of shards in a root.

    Raises:
        MissingError: There are none.
    """
    folders = paths.packed(root)
    if not folders:
        raise MissingError(
            f"{root}: holds no packed set to verify. Check --root, or prepare one: "
            f"imagenets-prepare --split 919 --root {root}"
        )
    return folders


def _check_shard(facts: _Facts, info: ShardInfo) -> list[Fault]:
    path = facts.folder / info.file
    if not path.is_file():
        return [Fault(info.file, None, "the file is missing")]
    faults = []
    size = path.stat().st_size
    if size != info.bytes:
        faults.append(Fault(info.file, None, f"has {size:,} bytes instead of {info.bytes:,}"))
    elif (digest := sha256(path)) != info.sha256:
        faults.append(Fault(info.file, None, f"its SHA-256 is {digest} instead of {info.sha256}"))
    try:
        with ShardReader(path) as reader:
            if len(reader) != info.samples:
                count = f"has {len(reader):,} samples instead of {info.samples:,}"
                faults.append(Fault(info.file, None, count))
            if reader.attributes.get("tier") != facts.tier:
                faults.append(Fault(info.file, None, f"is not of tier {facts.tier}"))
            faults += _check_samples(facts, info, reader)
    except ImageNetSError as error:
        faults.append(Fault(info.file, None, str(error)))
    return faults


def _check_samples(facts: _Facts, info: ShardInfo, reader: ShardReader) -> Iterator[Fault]:
    before = (b"", b"")
    for index, row in enumerate(reader.samples):
        name = f"{row['wnid'].decode()}/{row['name'].decode()}"
        here = (bytes(row["wnid"]), bytes(row["name"]))
        for what in _check_sample(facts, info, reader, index, row):
            yield Fault(info.file, name, what)
        if here <= before:
            yield Fault(info.file, name, "is out of order")
        before = here


def _check_sample(
    facts: _Facts, info: ShardInfo, reader: ShardReader, index: int, row: Any
) -> Iterator[str]:
    if crc32(reader.image(index)) != row["image_crc32"]:
        yield "the image does not have its checksum"
    segments = reader.segments(index)
    if segments is not None and crc32(segments.tobytes()) != row["segment_crc32"]:
        yield "the index of its segments does not have its checksum"
    number = int(row["class_id"])
    inside = 1 <= number <= len(facts.classes) and facts.classes[number - 1] == row["wnid"]
    if not inside and (info.group != "train-rest" or number != 0):
        yield f"class id {number} is not that of its folder"
    mask = reader.mask(index)
    if (mask is not None) != (info.group in facts.masked):
        yield "has no mask" if mask is None else "has a mask, its split has none"
    if mask is None:
        return
    if crc32(mask) != row["mask_crc32"]:
        yield "the mask does not have its checksum"
        return
    try:
        height, width = decode_mask(mask, "its mask", len(facts.classes)).shape
    except ImageNetSError as error:
        yield str(error)
        return
    if (width, height) != (row["width"], row["height"]):
        size = f"{row['width']} x {row['height']}"
        yield f"the mask has {width} x {height} pixels, the image {size}"
