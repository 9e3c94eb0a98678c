"""The dry-run report: what is there, what is missing, how many bytes and minutes it would take."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imagenets import paths
from imagenets.data.mask_archive import MaskArchive
from imagenets.data.prepare.config import Layout, PrepareConfig
from imagenets.data.prepare.fetch import check_archive, fetch_lists
from imagenets.data.prepare.inspect import check_decodes, inspect, shrink
from imagenets.data.prepare.pack_shard import Options
from imagenets.data.prepare.plan import Plan, SplitPlan
from imagenets.data.prepare.run import needs_archive, plan_tier, prepared_before
from imagenets.errors import ImageNetSError, UsageError

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

_SIZED = 20_000
"""Of more images than these the bytes are estimated from so many."""

_TRIED = 24
"""Images that are read and decoded to see how long that takes."""

_MASK_BYTES = 8_000
"""A mask of ImageNet's size, about."""

_LINK_SECONDS = 40e-6


@dataclass(frozen=True, slots=True)
class SplitEstimate:
    """One split: images expected (None: not published), found, missing by name, bytes to write."""

    expected: int | None
    found: int
    missing: int
    missing_names: tuple[str, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class DryRunReport:
    """A run that was not made.

    Attributes:
        tier: Name of the tier.
        splits: By split.
        bytes: To be written in all, about.
        free: Bytes free where they would go.
        seconds: About how long it would take.
        archive: The mask archive: where it is, or that it would be downloaded; None: no masks.
        stop: What a real run would end with, exit code 1; empty if nothing.
        done_before: Whether all of it is prepared, so that there is nothing to do.
    """

    tier: str
    splits: Mapping[str, SplitEstimate]
    bytes: int
    free: int
    seconds: float
    archive: str | None
    stop: str = ""
    done_before: bool = False


def dry_run_tier(
    name: str, config: PrepareConfig, sources: Callable[[], RawImages]
) -> DryRunReport:
    """Says what preparing a tier would take; fetches its lists, but no masks.

    Raises:
        ImageNetSError: Lists or sources are not to be had.
    """
    if before := prepared_before(name, config):
        splits = {
            split: SplitEstimate(row["images"], row["images"], 0, (), 0)
            for split, row in before.splits.items()
        }
        return DryRunReport(name, splits, 0, _free(config.root), 0.0, None, done_before=True)
    tier = fetch_lists(name, config.origin, config.downloads)
    plan = plan_tier(tier, config, sources())
    archive = None
    stop = "" if config.allow_missing else plan.shortfall("--json has all")
    try:
        if needs_archive(plan, config, sources()):
            there = check_archive(tier, config.origin, config.downloads)
            archive = str(there) if there else f"{tier.archive or 'an archive'}, to be downloaded"
            if there:
                MaskArchive(there).check_names(plan.members)
    except UsageError:
        raise
    except ImageNetSError as error:
        stop = stop or str(error)
    return dry_run(plan, sources(), config, archive, stop)


def dry_run(
    plan: Plan, images: RawImages, config: PrepareConfig, archive: str | None, stop: str = ""
) -> DryRunReport:
    """Estimates a run from its plan; nothing is written.

    Args:
        plan: The plan.
        images: The raw images that it was made with.
        config: What the run is asked for.
        archive: What to say of the mask archive.
        stop: What a real run would end with, as far as is known.

    Returns:
        The estimate.

    Raises:
        CorruptError: An image that was tried does not decode.
        MissingError: An image that was tried cannot be read.
    """
    groups = plan.groups()
    shrunk, seconds_each = _try(images, list(groups.values()), config.options)
    rows: dict[str, SplitEstimate] = {}
    seconds = 0.0
    for name, split in plan.splits.items():
        group = groups["train-rest" if name == "train-full" else name]
        size = 0
        if config.layout != "tree":
            size += int(_bytes(images, group.positions) * shrunk)
            seconds += len(group) * seconds_each / config.pool.workers
        if config.layout != "shards":
            size += _tree_bytes(images, split, config.link)
            seconds += len(split) * _LINK_SECONDS
        rows[name] = _estimate(plan, split, size + _mask_bytes(split, config.layout))
    total = sum(row.bytes for row in rows.values())
    free = _free(config.root)
    stop = stop or _shortage(paths.shards(config.root, plan.tier.name), total, free)
    return DryRunReport(plan.tier.name, rows, total, free, round(seconds, 1), archive, stop)


def _estimate(plan: Plan, split: SplitPlan, size: int) -> SplitEstimate:
    name = split.name
    lost = tuple(plan.missing[name])
    return SplitEstimate(plan.expected[name], len(split), plan.missing_count(name), lost, size)


def _mask_bytes(split: SplitPlan, layout: Layout) -> int:
    return 0 if split.masks is None else len(split) * _MASK_BYTES * (2 if layout == "both" else 1)


def _tree_bytes(images: RawImages, split: SplitPlan, link: str) -> int:
    """Bytes of the images that would be written rather than linked, told from a few of them."""
    if not len(split):
        return 0
    tried = split.positions[:: max(1, len(split) // _TRIED)].tolist()
    inside = [images.location(position).offset is not None for position in tried]
    share = 1.0 if link == "copy" else sum(inside) / len(inside)
    return int(_bytes(images, split.positions) * share) if share else 0


def _bytes(images: RawImages, positions: npt.NDArray[np.int64]) -> float:
    """Bytes of images, estimated where there are many or only reading would tell."""
    if not len(positions):
        return 0
    some = positions[:: max(1, -(-len(positions) // _SIZED))]
    sizes = images.sizes(some)
    if (sizes < 0).any():
        sizes = np.array([len(images.read(int(p))) for p in some[:: max(1, len(some) // _TRIED)]])
    return float(sizes.mean() * len(positions))


def _try(images: RawImages, groups: list[SplitPlan], options: Options) -> tuple[float, float]:
    """Reads and decodes a few images: stored bytes per raw byte, seconds per image."""
    positions = np.concatenate([group.positions for group in groups] or [np.zeros(0, np.int64)])
    tried = positions[:: max(1, len(positions) // _TRIED)][:_TRIED].tolist()
    before = after = 0
    start = time.perf_counter()
    for position in tried:
        data = images.read(position)
        where = f"{images.location(position).path}: {images.stems[position].decode()}"
        stored = data
        if options.resize is not None and options.quality is not None:
            stored = shrink(data, where, options.resize, options.quality)[1].data
        else:
            inspect(data, where)
            if options.decode:
                check_decodes(data, where)
        before, after = before + len(data), after + len(stored)
    return after / max(before, 1), (time.perf_counter() - start) / max(len(tried), 1)


def _shortage(shards: Path, total: int, free: int) -> str:
    """What to say when the bytes to be written, without shards that are there, do not fit."""
    if total - sum(path.stat().st_size for path in shards.glob("*.h5")) <= free:
        return ""
    return (
        f"{shards.parent}: what is to be written does not fit. Choose another --root, fewer "
        "--subsets, or --resize."
    )


def _free(root: Path) -> int:
    """Bytes free where a root lies or would lie."""
    there = next(path for path in (root, *root.parents) if path.exists())
    return shutil.disk_usage(there).free
