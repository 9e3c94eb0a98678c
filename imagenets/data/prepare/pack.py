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
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagenets import paths
from imagenets.core.files import remove_parts, write_file
from imagenets.core.pool import Pool
from imagenets.data.mask_archive import MaskArchive
from imagenets.data.prepare.archive import Digest
from imagenets.data.prepare.pack_shard import Job, Options, Record, Task, pack_shard
from imagenets.data.prepare.plan import GROUPS, Plan
from imagenets.data.shards import FORMAT_VERSION, MANIFEST, Manifest, ShardInfo, SplitInfo
from imagenets.errors import CorruptError, UsageError
from imagenets.tiers import SPLITS

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

PARTS = {split: [split] for split in SPLITS[:-1]} | {"train-full": ["train", "train-rest"]}
"""The groups that each split is made of."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Packing:
    """What a run has packed: the manifest, shards packed now, images with each oddity."""

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
    job = Job(plan.tier.name, len(plan.classes), options, archive)
    old = _old_manifest(folder, plan, digest, options)
    for path in (folder, state):
        path.mkdir(parents=True, exist_ok=True)
    remove_parts(folder)
    tasks = list(_tasks(plan, images, digest, folder, state, options))
    records, packed = _pack_missing(job, tasks, old, folder, pool)
    manifest = _manifest(plan, old, digest, options, [record.info for record in records])
    manifest.save(folder)
    _remove_surplus(folder, state, manifest)
    oddities = sum((Counter(record.oddities) for record in records), Counter[str]())
    return Packing(manifest, packed, oddities)


def _pack_missing(
    job: Job, tasks: list[Task], old: Manifest | None, folder: Path, pool: Pool
) -> tuple[list[Record], int]:
    """Packs the shards that are not there yet; returns all records, and how many are new."""
    records = {task.path.name: task.done(job.options) for task in tasks}
    todo = [task for task in tasks if records[task.path.name] is None]
    if old and {task.path.name for task in todo} & {shard.file for shard in old.shards}:
        (folder / MANIFEST).unlink()  # it would describe shards that are about to change
    bad: list[str] = []
    weights = [len(task.rows) for task in todo]
    for number, (record, faults) in pool.map(partial(pack_shard, job), todo, "packing", weights):
        bad += faults
        records[todo[number].path.name] = record
    _raise_faults(bad, paths.broken_list(folder.parent, job.tier))
    return [record for record in records.values() if record is not None], len(todo)


def _tasks(
    plan: Plan,
    images: RawImages,
    digest: Digest | None,
    folder: Path,
    state: Path,
    options: Options,
) -> Iterator[Task]:
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
            yield Task(folder / file, record, rows, images.take(rows.positions), key.hexdigest())


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


def _remove_surplus(folder: Path, state: Path, manifest: Manifest) -> None:
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
    write_file(report, "\n".join(faults) + "\n")
    more = f" All are listed in {report}." if len(faults) > _SHOWN else ""
    raise CorruptError(
        f"{len(faults)} of the images cannot be packed: {' '.join(faults[:_SHOWN])}{more} What is "
        "sound is packed and kept: run the same command again when they are mended."
    )
