"""From a plan to shards: parallel, resumable, the same bytes whatever happens on the way.

A shard is finished when its record lies beside it in the state folder; a record is bound to the
plan's rows and the options by a key, so that a changed plan packs anew just what changed. The
manifest is written last.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imagenets.data.archive import Digest, MaskArchive, read_mask
from imagenets.data.files import naming, write_file
from imagenets.data.lists import sha256
from imagenets.data.manifest import FORMAT_VERSION, MANIFEST, Manifest, ShardInfo, SplitInfo
from imagenets.data.pictures import inspect, prove, shrink, store_mask
from imagenets.data.plan import GROUPS, Plan, SplitPlan
from imagenets.data.shards import ShardDraft, ShardSample
from imagenets.data.workers import Pool
from imagenets.errors import CorruptError, ImageNetSError, UsageError
from imagenets.tiers import SPLITS

if TYPE_CHECKING:
    from imagenets.data.jpeg import Restarted
    from imagenets.data.sources import RawImages

SHARD_SAMPLES = 2048
"""Samples a shard."""

PARTS = {split: [split] for split in SPLITS[:-1]} | {"train-full": ["train", "train-rest"]}
"""The groups that each split is made of."""

PNG_NAMED_JPEG = b"n02105855_2933"
"""The one image of ILSVRC that is a PNG; where it is none, the images are not the originals."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Options:
    """How images are stored.

    Attributes:
        resize: Short side in pixels that larger images are brought to; None keeps the bytes.
        quality: JPEG quality with `resize`; None without.
        restart: Whether JPEGs get restart markers and an index of them (docs/jpeg.md), so that
            loaders decode no more than the crop. Loses nothing.
        shard_samples: Samples a shard.
        decode: Whether each image is decoded once to prove that it can be. Changes no byte.
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
        write_file(path, json.dumps(asdict(self), sort_keys=True) + "\n")


@dataclass(frozen=True, slots=True)
class _Job:
    """What all shards of a run share."""

    tier: str
    classes: int
    options: Options
    archive: MaskArchive | None


@dataclass(frozen=True, slots=True)
class _Task:
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


@dataclass(frozen=True, slots=True)
class Packing:
    """What came of a run: the manifest, shards packed now, images with each oddity."""

    manifest: Manifest
    packed: int
    oddities: Counter[str]


def pack(
    plan: Plan,
    images: RawImages,
    masks: tuple[MaskArchive, Digest] | None,
    folder: Path,
    state: Path,
    options: Options,
    pool: Pool,
) -> Packing:
    """Packs every group of a plan that is not packed yet, and writes the manifest.

    Args:
        plan: What to pack.
        images: The raw images that the plan was made with.
        masks: The archive and its digest; None when the sources hold what masks there are.
        folder: The folder of the shards; made if need be.
        state: Folder for the records of finished shards.
        options: How to store the images.
        pool: Where the work is done.

    Returns:
        The manifest and what was done.

    Raises:
        UsageError: The folder holds a set packed with other options, lists or masks.
        CorruptError: Images or masks are broken; names the first ten, keeps the other shards.
    """
    archive, digest = masks or (None, None)
    old = _old_manifest(folder, plan, digest, options)
    folder.mkdir(parents=True, exist_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    job = _Job(plan.tier.name, len(plan.classes), options, archive)
    for leftover in folder.glob("*.part"):
        leftover.unlink()
    tasks = list(_tasks(plan, images, digest, folder, state, options))
    records = [task.done(options) for task in tasks]
    todo = [number for number, record in enumerate(records) if record is None]
    if old and {tasks[number].path.name for number in todo} & {s.file for s in old.shards}:
        (folder / MANIFEST).unlink()  # it would describe shards that are about to change
    work = partial(_pack_shard, job)
    bad: list[str] = []
    weights = [len(tasks[number].rows) for number in todo]
    for place, (record, faults) in pool.map(
        work, [tasks[number] for number in todo], "packing", weights
    ):
        bad += faults
        records[todo[place]] = record
    _raise_faults(bad, folder.with_name(f"{plan.tier.folder}-broken.txt"))
    finished = [record for record in records if record is not None]
    manifest = _manifest(plan, old, digest, options, [record.info for record in finished])
    manifest.save(folder)
    _remove_strangers(folder, state, manifest)
    oddities: Counter[str] = Counter()
    for record in finished:
        oddities.update(record.oddities)
    return Packing(manifest, len(todo), oddities)


def _tasks(
    plan: Plan,
    images: RawImages,
    digest: Digest | None,
    folder: Path,
    state: Path,
    options: Options,
) -> Iterator[_Task]:
    common = [FORMAT_VERSION, plan.tier.name, plan.classes, plan.source_classes, options.facts()]
    for name, group in plan.groups().items():
        content = [digest.bytes, digest.md5] if digest and group.masks is not None else None
        start = hashlib.sha256(json.dumps([*common, name, content], sort_keys=True).encode())
        for number, first in enumerate(range(0, len(group), options.shard_samples)):
            rows = group.take(slice(first, first + options.shard_samples))
            key = start.copy()
            for column in (rows.stems, rows.wnids, rows.class_ids, rows.ilsvrc):
                key.update(np.ascontiguousarray(column).tobytes())
            file = f"{name}-{number:05d}.h5"
            record = state / f"{file}.json"
            yield _Task(folder / file, record, rows, images.take(rows.positions), key.hexdigest())


def _pack_shard(job: _Job, task: _Task) -> tuple[Record | None, list[str]]:
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
    with naming(task.path):
        draft = ShardDraft(task.path, ordered, {"tier": job.tier, "group": task.rows.name})
        size, digest = draft.part.stat().st_size, sha256(draft.part)
        if faults := _undecodable(job, task, samples, positions):
            draft.discard()
            return None, faults
        draft.publish()
    info = ShardInfo(task.path.name, task.rows.name, len(ordered), size, digest)
    record = Record(task.key, info, job.options.decode, dict(sorted(oddities.items())))
    record.save(task.record)
    return record, []


def _undecodable(
    job: _Job, task: _Task, samples: dict[int, ShardSample], positions: npt.NDArray[np.int64]
) -> list[str]:
    """What is wrong with images whose header alone was read so far."""
    faults: list[str] = []
    if not job.options.decode or job.options.resize is not None:
        return faults
    for row, sample in samples.items():
        try:
            prove(sample.image, _Where(task, row, int(positions[row])))
        except ImageNetSError as error:
            faults.append(str(error))
    return faults


@dataclass(frozen=True, slots=True)
class _Where:
    """Names an image in errors; works it out when there is one."""

    task: _Task
    row: int
    position: int

    def __str__(self) -> str:
        place = self.task.images.location(self.position)
        name = self.task.rows.stems[self.row].decode()
        return f"{place.path}" if place.offset is None else f"{place.path}: {name}.JPEG"


def _sample(job: _Job, task: _Task, row: int, position: int) -> tuple[ShardSample, tuple[str, ...]]:
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
    from imagenets.data.jpeg import transcode  # compiled code: not before it is used

    return transcode(image)


def _old_manifest(
    folder: Path, plan: Plan, digest: Digest | None, options: Options
) -> Manifest | None:
    """The manifest of an earlier run, whose other splits this run adds to."""
    if not (folder / MANIFEST).is_file():
        return None
    old = Manifest.load(folder)
    other = None
    if old.options != options.facts():
        other = f"options ({old.options})"
    elif old.lists != plan.lists or old.classes != list(plan.classes):
        other = "lists"
    elif digest and old.archive and old.archive["md5"] != digest.md5:
        kept = [name for name, split in old.splits.items() if split.masks]
        other = f"masks ({old.archive['name']})" if set(kept) - set(plan.splits) else None
    if other:
        raise UsageError(
            f"{folder}: holds a set that was packed with other {other}. Choose another --root, "
            "or delete this folder first."
        )
    return old


def _manifest(
    plan: Plan,
    old: Manifest | None,
    digest: Digest | None,
    options: Options,
    packed: list[ShardInfo],
) -> Manifest:
    groups = plan.groups()
    kept = [shard for shard in old.shards if shard.group not in groups] if old else []
    shards = sorted([*kept, *packed], key=lambda shard: (GROUPS.index(shard.group), shard.file))
    splits = dict(old.splits) if old else {}
    for name, split in plan.splits.items():
        splits[name] = SplitInfo(PARTS[name], len(split), split.masks is not None)
    return Manifest(
        tier=plan.tier.name,
        classes=list(plan.classes),
        source_classes=list(plan.source_classes),
        splits=splits,
        shards=shards,
        options=options.facts(),
        lists=plan.lists,
        archive=asdict(digest) if digest else (old.archive if old else None),
    )


def _remove_strangers(folder: Path, state: Path, manifest: Manifest) -> None:
    """Removes shards of an earlier plan that had more of them."""
    files = {shard.file for shard in manifest.shards}
    for group in GROUPS:
        for path in folder.glob(f"{group}-[0-9][0-9][0-9][0-9][0-9].h5"):
            if path.name not in files:
                path.unlink()
                (state / f"{path.name}.json").unlink(missing_ok=True)


def _raise_faults(faults: list[str], report: Path) -> None:
    if not faults:
        report.unlink(missing_ok=True)
        return
    faults = sorted(set(faults))  # an image may be in two splits
    report.write_text("\n".join(faults) + "\n", "utf-8")
    more = f" All are listed in {report}." if len(faults) > _SHOWN else ""
    raise CorruptError(
        f"{len(faults)} of the images cannot be packed: {' '.join(faults[:_SHOWN])}{more} What is "
        "sound is packed and kept: run the same command again when they are mended."
    )
