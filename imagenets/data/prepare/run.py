"""The whole way from raw ImageNet to a prepared tier, in order; steps that are done are skipped.

Lists, then the plan (what is missing is told first), then masks, tree and shards.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets import paths
from imagenets.core.files import atomic, sha256
from imagenets.data.lists import read_lists
from imagenets.data.mask_archive import MaskArchive
from imagenets.data.prepare import archive as masks
from imagenets.data.prepare.config import PrepareConfig
from imagenets.data.prepare.fetch import (
    fetch_archive,
    fetch_lists,
    lists_at_hand,
    local_archive,
)
from imagenets.data.prepare.pack import pack
from imagenets.data.prepare.pack_shard import Options
from imagenets.data.prepare.plan import Plan
from imagenets.data.prepare.planning import make_plan, mask_members, servable
from imagenets.data.prepare.state import Finished, folder_times, signature
from imagenets.data.prepare.tree import build_tree, planned_folders
from imagenets.data.prepare.verify import VerifyReport
from imagenets.data.shards import MANIFEST, Manifest
from imagenets.tiers import Tier

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

log = logging.getLogger(__name__)

Masks = tuple[MaskArchive, masks.Digest]


@dataclass
class PrepareReport:
    """What was prepared of a tier.

    Attributes:
        tier: Its name.
        classes: Number of its classes.
        splits: Images, masks and missing images of each split.
        shards: Folder, number of files and bytes of the shards; None without.
        tree: Folder of the tree; None without.
        seconds: How long it took.
        done_before: Whether there was nothing to do.
    """

    tier: str
    classes: int
    splits: dict[str, dict[str, int]]
    shards: dict[str, Any] | None = None
    tree: str | None = None
    seconds: float = 0.0
    done_before: bool = False


class Sources:
    """The raw images of a run, looked at when first needed and once for all tiers."""

    def __init__(self, config: PrepareConfig) -> None:
        from imagenets.data.raw.detect import require

        require(config.imagenet)
        self._config = config
        self._images: RawImages | None = None

    def __call__(self) -> RawImages:
        """The look-up over everything that `--imagenet` names."""
        from imagenets.data.raw import open_sources

        if self._images is None:
            config = self._config
            self._images = open_sources(config.imagenet, config.kind, config.sources)
            for kind, path, count in self._images.describe():
                log.info(f"found {count:,} images in {path} ({kind})")
            for note in self._images.notes:
                log.warning(note)
        return self._images


def prepare_tier(
    name: str, config: PrepareConfig, sources: Callable[[], RawImages]
) -> PrepareReport:
    """Prepares one tier, or finds that it is prepared.

    Args:
        name: The tier.
        config: What is asked for.
        sources: Gives the raw images.

    Returns:
        What was prepared.

    Raises:
        ImageNetSError: Anything that a user can mend; what was done is kept.
    """
    start = time.monotonic()
    if before := prepared_before(name, config):
        return before
    tier = fetch_lists(name, config.origin, config.downloads)
    asked = _asked(tier, config)
    plan = plan_tier(tier, config, sources())
    if not config.allow_missing:
        plan.require_all(paths.missing_list(config.root, tier.name))
    done = _build(plan, config, sources())
    done.report["seconds"] = round(time.monotonic() - start, 1)
    done.request = asked
    if not any(plan.missing.values()):  # else the next run looks whether they have turned up
        done.save(_note(tier, config))
    return PrepareReport(**done.report)


def prepared_before(name: str, config: PrepareConfig) -> PrepareReport | None:
    """What was prepared, when this very thing was and all of it is there; writes nothing."""
    tier = lists_at_hand(name, config.origin, config.downloads)
    finished = Finished.load(_note(tier, config)) if tier else None
    if tier and finished and finished.holds(config.root, _asked(tier, config)):
        return PrepareReport(**{**finished.report, "done_before": True, "seconds": 0.0})
    return None


def download_tier(name: str, config: PrepareConfig) -> list[Path]:
    """Fetches and checks a tier's lists and masks, and nothing else; returns the files.

    Raises:
        ImageNetSError: They cannot be had, or are not what they should be.
    """
    tier = fetch_lists(name, config.origin, config.downloads)
    lists = read_lists(tier, config.downloads)
    archive, _ = _checked_masks(tier, mask_members(tier, lists), len(lists.classes), config)
    kept = config.downloads / (tier.archive or archive.path.name)
    if not kept.exists():  # it was given: a folder that is carried elsewhere needs it, too
        with atomic(kept) as part:
            shutil.copyfile(archive.path, part)
    return [*(config.downloads / entry.path for entry in tier.lists), kept]


def repair_tier(
    report: VerifyReport, config: PrepareConfig, sources: Callable[[], RawImages]
) -> PrepareReport:
    """Packs the bad shards of a set anew, with the options and splits that it has.

    Raises:
        ImageNetSError: What went into the set can no longer be had.
    """
    manifest = Manifest.load(report.folder)
    options = Options(**manifest.options, decode=config.options.decode)
    state = config.state(report.tier)
    for file in report.bad_shards:
        (report.folder / file).unlink(missing_ok=True)
        (state / f"{file}.json").unlink(missing_ok=True)
    subsets = tuple(manifest.splits)
    again = replace(config, layout="shards", subsets=subsets, options=options)
    return prepare_tier(report.tier, again, sources)


def plan_tier(tier: Tier, config: PrepareConfig, images: RawImages) -> Plan:
    """Plans a tier's splits from lists that are there already; says what to know about it."""
    lists = read_lists(tier, config.downloads)
    subsets = config.subsets or servable(tier, images)
    for split in (s for s in tier.splits if s not in subsets and s != "train-full"):
        if config.subsets is None:
            log.info(f"{split}: left out, none of the given sources holds its images")
    plan = make_plan(tier, lists, images, subsets)
    for warning in plan.warnings:
        log.warning(warning)
    return plan


def _asked(tier: Tier, config: PrepareConfig) -> dict[str, Any]:
    """What a finished run is known by."""
    return {
        "version": 1,
        "lists": {entry.path: sha256(config.downloads / entry.path) for entry in tier.lists},
        "imagenet": signature(config.imagenet),
        "annotations": signature(config.origin.annotations),
        "kind": config.kind,
        "layout": config.layout,
        "subsets": sorted(config.subsets) if config.subsets else None,
        "link": config.link,
        "options": asdict(config.options),
    }


def _build(plan: Plan, config: PrepareConfig, images: RawImages) -> Finished:
    """Checks the masks, then writes tree and shards."""
    found = _masks(plan, config, images)
    report = PrepareReport(plan.tier.name, len(plan.classes), _counts(plan))
    done = Finished({})
    if config.layout in ("tree", "both"):
        folder = paths.tree(config.root, plan.tier.name)
        report.tree = str(folder)
        counts = build_tree(
            plan, images, found[0] if found else None, folder, config.link, config.pool
        )
        if counts.unexpected:
            log.warning(f"{folder}: {counts.unexpected:,} files belong to no split; they are kept")
        places = [str(path.relative_to(config.root)) for path in planned_folders(plan, folder)]
        done.folders = folder_times(config.root, places)
    if config.layout in ("shards", "both"):
        folder = paths.shards(config.root, plan.tier.name)
        done.shards = _pack(plan, config, images, found, folder)
        total = sum(done.shards.values())
        report.shards = {"path": str(folder), "files": len(done.shards) - 1, "bytes": total}
    done.report = asdict(report)
    return done


def _counts(plan: Plan) -> dict[str, dict[str, int]]:
    """Images, masks and missing images of each split."""
    return {
        name: {
            "images": len(split),
            "masks": 0 if split.masks is None else len(split),
            "missing": plan.missing_count(name),
        }
        for name, split in plan.splits.items()
    }


def _pack(
    plan: Plan, config: PrepareConfig, images: RawImages, found: Masks | None, folder: Path
) -> dict[str, int]:
    """Packs the shards; returns the bytes of each file, manifest included, by its path."""
    state = config.state(plan.tier.name)
    packing = pack(plan, images, found, folder, state, config.options, config.pool)
    if packing.oddities:
        odd = ", ".join(f"{count:,} {what}" for what, count in sorted(packing.oddities.items()))
        log.info(f"odd images (kept as they are; they decode as any other): {odd}")
    sizes = {f"{folder.name}/{s.file}": s.bytes for s in packing.manifest.shards}
    sizes[f"{folder.name}/{MANIFEST}"] = (folder / MANIFEST).stat().st_size
    return sizes


def _note(tier: Tier, config: PrepareConfig) -> Path:
    return config.state(tier.name) / "finished.json"


def _masks(plan: Plan, config: PrepareConfig, images: RawImages) -> Masks | None:
    """The mask archive, its content checked once; None where none is needed."""
    if not needs_archive(plan, config, images):
        return None
    return _checked_masks(plan.tier, plan.members, len(plan.classes), config)


def needs_archive(plan: Plan, config: PrepareConfig, images: RawImages) -> bool:
    """Whether masks are taken from an archive.

    They are not when no split of the plan has masks, or when the sources hold them all (the mirror
    of the Hugging Face Hub does for validation) and no archive is at hand, which would come first.
    """
    masked = [split.positions for split in plan.splits.values() if split.masks is not None]
    if not masked:
        return False
    if local_archive(plan.tier, config.origin, config.downloads) is None:
        ends = [int(end) for found in masked if len(found) for end in (found[0], found[-1])]
        if ends and all(images.mask(end) is not None for end in ends):
            log.info("the masks are those that the sources hold; no archive is used")
            return False
    return True


def _checked_masks(
    tier: Tier, members: tuple[str, ...], classes: int, config: PrepareConfig
) -> Masks:
    archive = MaskArchive(fetch_archive(tier, config.origin, config.downloads))
    state = config.state(tier.name)
    state.mkdir(parents=True, exist_ok=True)
    digest = masks.check(archive, members, classes, state / "archive.json", config.pool)
    if warning := digest.warning():
        log.warning(warning)
    return archive, digest
