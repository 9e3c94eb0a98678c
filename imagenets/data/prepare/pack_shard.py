"""Packing one shard: read, check and store its samples, then check that they decode."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imagenets.core.files import sha256, write_json
from imagenets.data.mask_archive import MaskArchive
from imagenets.data.prepare.archive import read_mask
from imagenets.data.prepare.inspect import check_decodes, inspect, shrink, store_mask
from imagenets.data.prepare.plan import SplitPlan
from imagenets.data.shards import ShardInfo, ShardSample, shard_draft
from imagenets.errors import ImageNetSError

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages
    from imagenets.pixels.jpeg import Restarted

SHARD_SAMPLES = 2048
"""Samples a shard."""

PNG_NAMED_JPEG = b"n02105855_2933"
"""The one image of ILSVRC that is a PNG; where it is none, the images are not the originals."""


@dataclass(frozen=True, slots=True)
class Options:
    """How images are stored.

    Attributes:
        resize: Short side in pixels that larger images are brought to; None keeps the bytes.
        quality: JPEG quality with `resize`; None without.
        restart: Whether JPEGs get restart markers and an index of them (docs/jpeg.md), so that
            loaders decode no more than the crop. Loses nothing.
        shard_samples: Samples a shard.
        decode: Whether each image is decoded once to check that it can be. Changes no byte.
    """

    resize: int | None = None
    quality: int | None = None
    restart: bool = False
    shard_samples: int = SHARD_SAMPLES
    decode: bool = True

    def facts(self) -> dict[str, int | None]:
        """What the shards' bytes depend on, as the manifest says it."""
        facts = asdict(self)
        del facts["decode"]
        return facts


@dataclass(frozen=True, slots=True)
class Record:
    """A finished shard."""

    key: str
    info: ShardInfo
    decoded: bool
    oddities: dict[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Record | None:
        """Reads a record; None when there is no sound one."""
        try:
            content = json.loads(path.read_bytes())
            return cls(info=ShardInfo(**content.pop("info")), **content)
        except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def save(self, path: Path) -> None:
        """Writes it in one step."""
        write_json(path, asdict(self))


@dataclass(frozen=True, slots=True)
class Job:
    """What all shards of a run share."""

    tier: str
    classes: int
    options: Options
    archive: MaskArchive | None


@dataclass(frozen=True, slots=True)
class Task:
    """What is needed to pack one shard."""

    path: Path
    record: Path
    rows: SplitPlan
    images: RawImages
    key: str

    def done(self, options: Options) -> Record | None:
        """The record of an earlier run, if it is of this plan and the shard is there."""
        record = Record.load(self.record)
        if record is None or record.key != self.key or not self.path.is_file():
            return None
        if options.decode and not record.decoded:
            return None
        return record if self.path.stat().st_size == record.info.bytes else None


class _UndecodableError(Exception):
    """Some images of a shard do not decode, so it is not kept."""


def pack_shard(job: Job, task: Task) -> tuple[Record | None, list[str]]:
    """Packs one shard; returns its record, or None and what is wrong with which images."""
    faults: list[str] = []
    oddities: Counter[str] = Counter()
    samples: dict[int, ShardSample] = {}
    positions = task.images.find(task.rows.stems)
    for row in task.images.storage_order(positions).tolist():
        try:
            samples[row], odd = _sample(job, task, row, int(positions[row]))
            oddities.update(odd)
        except ImageNetSError as error:
            faults.append(str(error))
    task.images.close()
    if faults:
        return None, faults + _undecodable(job, task, samples, positions)
    ordered = [samples[row] for row in range(len(task.rows))]
    facts: dict[str, str | int] = {"tier": job.tier, "group": task.rows.name}
    try:
        with shard_draft(task.path, ordered, facts) as part:
            size, digest = part.stat().st_size, sha256(part)
            if faults := _undecodable(job, task, samples, positions):
                raise _UndecodableError
    except _UndecodableError:
        return None, faults
    info = ShardInfo(task.path.name, task.rows.name, len(ordered), size, digest)
    record = Record(task.key, info, job.options.decode, dict(sorted(oddities.items())))
    record.save(task.record)
    return record, []


def _undecodable(
    job: Job, task: Task, samples: dict[int, ShardSample], positions: npt.NDArray[np.int64]
) -> list[str]:
    """What is wrong with images whose header alone was read so far."""
    faults: list[str] = []
    if not job.options.decode or job.options.resize is not None:
        return faults
    for row, sample in samples.items():
        try:
            check_decodes(sample.image, _Where(task, row, int(positions[row])))
        except ImageNetSError as error:
            faults.append(str(error))
    return faults


@dataclass(frozen=True, slots=True)
class _Where:
    """Names an image in errors; works it out when there is one."""

    task: Task
    row: int
    position: int

    def __str__(self) -> str:
        place = self.task.images.location(self.position)
        name = self.task.rows.stems[self.row].decode()
        return f"{place.path}" if place.offset is None else f"{place.path}: {name}.JPEG"


def _sample(job: Job, task: Task, row: int, position: int) -> tuple[ShardSample, tuple[str, ...]]:
    rows, options = task.rows, job.options
    data = task.images.read(position)
    where = _Where(task, row, position)
    if options.resize is None or options.quality is None:
        original = stored = inspect(data, where)
    else:
        original, stored = shrink(data, where, options.resize, options.quality)
    oddities = original.oddities
    if rows.stems[row] == PNG_NAMED_JPEG and not any("PNG" in odd for odd in oddities):
        oddities = (*oddities, "re-encoded (the original is a PNG; the blurred edition, maybe)")
    mask = None
    if rows.masks is not None:
        what, published = read_mask(job.archive, task.images, rows.masks[row], position)
        mask = store_mask(published, what, job.classes, original, stored)
    who = (rows.stems[row].decode(), rows.wnids[row].decode())
    ids = (int(rows.class_ids[row]), int(rows.ilsvrc[row]))
    size = (stored.width, stored.height)
    marked = _marked(stored.data) if options.restart else None
    if marked is None:
        return ShardSample(*who, *ids, *size, stored.data, mask), oddities
    segments = marked.lengths.astype("<u2").tobytes()
    return ShardSample(*who, *ids, *size, marked.data, mask, segments), oddities


def _marked(image: bytes) -> Restarted | None:
    from imagenets.pixels.jpeg import transcode  # compiled code: not before it is used

    return transcode(image)
