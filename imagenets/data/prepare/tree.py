"""From a plan to the published folder layout, as links or copies.

Images that are files of their own are linked (or copied), those inside archives are written out;
masks are written out as published. Running it again repairs what is missing or different.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from imagenets import paths
from imagenets.core.files import PART, is_litter, is_part, sync_all, write_file
from imagenets.core.pool import Pool
from imagenets.data.mask_archive import MaskArchive
from imagenets.data.prepare.archive import read_mask
from imagenets.data.prepare.plan import Plan, SplitPlan
from imagenets.errors import UsageError

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

Link = Literal["symlink", "hardlink", "copy"]


@dataclass(frozen=True, slots=True)
class Counts:
    """Files made now, files that were there already, files that belong to no split."""

    made: int = 0
    kept: int = 0
    unexpected: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.made + other.made, self.kept + other.kept, self.unexpected + other.unexpected
        )


@dataclass(frozen=True, slots=True)
class _Class:
    """One class folder of one split."""

    folder: Path
    rows: SplitPlan
    images: RawImages


def build_tree(
    plan: Plan,
    images: RawImages,
    archive: MaskArchive | None,
    folder: Path,
    link: Link,
    pool: Pool,
) -> Counts:
    """Lays a plan out as `<folder>/<split>/<wnid>/*.JPEG` and `<split>-segmentation`.

    Args:
        plan: What to lay out.
        images: The raw images that the plan was made with.
        archive: The masks; None when the sources hold what masks there are.
        folder: Such as `<root>/ImageNetS919`; made if need be.
        link: How image files are brought in; those inside archives are always written out.
        pool: Where the work is done.

    Returns:
        How many files were made, kept, and found that belong to no split.

    Raises:
        UsageError: A class folder is itself a link, or hard links are not possible there.
        MissingError: An image can no longer be read.
        CorruptError: A mask can no longer be read.
    """
    tasks = list(_classes(plan, images, folder))
    counts = Counts()
    weights = [len(task.rows) for task in tasks]
    work = partial(_fill_class, archive, link)
    for _, done in pool.map(work, tasks, "laying out", weights):
        counts += done
    sync_all()
    return counts


def planned_folders(plan: Plan, folder: Path) -> list[Path]:
    """Every class folder of a plan's tree, those of masks included."""
    return [
        place
        for split in plan.splits.values()
        for wnid in np.unique(split.wnids)
        for place in _places(folder, split, wnid.decode())
    ]


def _places(folder: Path, split: SplitPlan, wnid: str) -> list[Path]:
    names = [split.name] if split.masks is None else [split.name, paths.segmentation(split.name)]
    return [folder / name / wnid for name in names]


def _classes(plan: Plan, images: RawImages, folder: Path) -> Iterator[_Class]:
    for split in plan.splits.values():
        wnids, firsts = np.unique(split.wnids, return_index=True)
        ends = [*firsts[1:].tolist(), len(split)]
        for wnid, first, end in zip(wnids, firsts.tolist(), ends, strict=True):
            rows = split.take(slice(first, end))
            place = _places(folder, split, wnid.decode())[0]
            yield _Class(place, rows, images.take(rows.positions))


def _fill_class(archive: MaskArchive | None, link: Link, task: _Class) -> Counts:
    counts = _fill_images(task, link)
    if task.rows.masks is not None:
        counts += _fill_masks(task, task.rows.masks, archive)
    task.images.close()
    return counts


def _fill_images(task: _Class, link: Link) -> Counts:
    there = _entries(task.folder)
    made = 0
    positions = task.images.find(task.rows.stems)
    for row in task.images.storage_order(positions).tolist():
        name = f"{task.rows.stems[row].decode()}.JPEG"
        position = int(positions[row])
        path, offset, _ = task.images.location(position)
        target = os.fspath(path)
        entry = there.pop(name, None)
        if link == "copy" or offset is not None:
            size = int(task.images.sizes([position])[0])
            if entry is None or not _is_copy(entry, size, None if offset is not None else target):
                write_file(task.folder / name, task.images.read(position), durable=False)
                made += 1
        elif entry is None or not _is_link(entry, target, link):
            _link(task.folder, name, target, link, replace=entry is not None)
            made += 1
    return Counts(made, len(positions) - made, len(there))


def _fill_masks(task: _Class, members: tuple[str, ...], archive: MaskArchive | None) -> Counts:
    parent = task.folder.parent
    folder = parent.with_name(paths.segmentation(parent.name)) / task.folder.name
    there = _entries(folder)
    made = 0
    positions = task.images.find(task.rows.stems).tolist()
    for member, position in zip(members, positions, strict=True):
        name = member.rpartition("/")[2]
        entry = there.pop(name, None)
        size = archive.size(member) if archive is not None else -1
        if entry is None or not _is_copy(entry, size, None):
            data = read_mask(archive, task.images, member, position)[1]
            write_file(folder / name, data, durable=False)
            made += 1
    return Counts(made, len(members) - made, len(there))


def _entries(folder: Path) -> dict[str, os.DirEntry[str]]:
    """What a class folder holds, cleared of what a killed run left half-written."""
    if folder.is_symlink():
        raise UsageError(
            f"{folder}: is a link to a folder, made by another tool: writing there would change "
            "what it points to. Remove the link, or choose another --root."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with os.scandir(folder) as entries:
        there = {entry.name: entry for entry in entries if not is_litter(entry.name)}
    for name in [name for name in there if is_part(name)]:
        os.unlink(there.pop(name).path)  # noqa: PTH108 - an entry carries its path
    return there


def _is_copy(entry: os.DirEntry[str], size: int, original: str | None) -> bool:
    """Whether an entry is a file of its own with the right size (-1: any)."""
    if not entry.is_file(follow_symlinks=False):
        return False
    status = entry.stat(follow_symlinks=False)
    if original is not None and status.st_nlink > 1 and _same(status, original):
        return False
    return size in (-1, status.st_size)


def _is_link(entry: os.DirEntry[str], target: str, link: Link) -> bool:
    if link == "symlink":
        return entry.is_symlink() and os.readlink(entry.path) == target  # noqa: PTH115 - speed
    return not entry.is_symlink() and _same(entry.stat(follow_symlinks=False), target)


def _same(status: os.stat_result, path: str) -> bool:
    return os.path.samestat(status, os.stat(path))  # noqa: PTH116 - speed


def _link(folder: Path, name: str, target: str, link: Link, *, replace: bool) -> None:
    path = f"{folder}/{name}"
    new = f"{path}{PART}" if replace else path  # a link is made in one step
    try:
        if link == "symlink":
            os.symlink(target, new)  # noqa: PTH211 - a million of these
        else:
            os.link(target, new, follow_symlinks=True)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise UsageError(
                f"{folder}: no {link} to {target} can be made there ({error.strerror}). Choose "
                f"--link {'symlink' if link == 'hardlink' else 'copy'}."
            ) from error
        raise
    if replace:
        os.replace(new, path)  # noqa: PTH105 - speed
