"""The whole way from raw ImageNet to a prepared tier, in order; every step may find itself done.

Lists, then the plan (what is missing is told first), then masks, tree and shards.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagenets import paths
from imagenets.core.files import atomic, sha256
from imagenets.core.pool import Pool
from imagenets.data.lists import read_lists
from imagenets.data.prepare import archive as masks
from imagenets.data.prepare.dry_run import Survey, survey
from imagenets.data.prepare.fetch import Origin, fetch_archive, fetch_lists, local_archive
from imagenets.data.prepare.pack import pack
from imagenets.data.prepare.pack_shard import Options
from imagenets.data.prepare.plan import Plan, make_plan, mask_members, servable
from imagenets.data.prepare.state import Finished, folder_times, signature
from imagenets.data.prepare.tree import Link, build_tree, planned_folders
from imagenets.data.prepare.verify import Verdict
from imagenets.data.shards import MANIFEST, Manifest
from imagenets.tiers import Tier

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

log = logging.getLogger(__name__)

Masks = tuple[masks.MaskArchive, masks.Digest]

Layout = Literal["shards", "tree", "both"]


@dataclass(frozen=True)
class Request:
    """What is asked of a run.

    Attributes:
        root: Where everything goes.
        imagenet: Raw ImageNet, in any form.
        origin: Where lists and mask archives come from.
        kind: The raw form to take, None to tell by looking.
        layout: Shards, the published tree, or both.
        subsets: Splits; None for all that the sources can serve but `train-full`.
        link: How a tree gets image files.
        options: How shards store images.
        pool: Where the work is done.
        allow_missing: Whether to go on without images that are not found.
    """

    root: Path
    imagenet: tuple[Path, ...]
    origin: Origin = field(default_factory=Origin)
    kind: str | None = None
    layout: Layout = "shards"
    subsets: tuple[str, ...] | None = None
    link: Link = "symlink"
    options: Options = field(default_factory=Options)
    pool: Pool = field(default_factory=Pool)
    allow_missing: bool = False

    @property
    def downloads(self) -> Path:
        """Where lists and archives lie."""
        return paths.downloads(self.root)

    @property
    def state(self) -> Path:
        """Where runs leave what later runs need."""
        return paths.state(self.root)


@dataclass
class Report:
    """What is said of a tier at the end.

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

    def __init__(self, request: Request) -> None:
        from imagenets.data.raw.detect import require

        require(request.imagenet)
        self._request = request
        self._images: RawImages | None = None

    def __call__(self) -> RawImages:
        """The look-up over everything that `--imagenet` names."""
        from imagenets.data.raw import open_sources

        if self._images is None:
            request = self._request
            cache = request.state / "sources"
            self._images = open_sources(request.imagenet, request.kind, cache)
            for kind, path, count in self._images.describe():
                log.info(f"found {count:,} images in {path} ({kind})")
            for note in self._images.notes:
                log.warning(note)
        return self._images


def prepare_tier(name: str, request: Request, sources: Callable[[], RawImages]) -> Report:
    """Prepares one tier, or finds that it is prepared.

    Args:
        name: The tier.
        request: What is asked.
        sources: Gives the raw images.

    Returns:
        What to say of it.

    Raises:
        ImageNetSError: Anything that a user can mend; what was done is kept.
    """
    start = time.monotonic()
    tier = fetch_lists(name, request.origin, request.downloads)
    note = request.state / tier.folder / "finished.json"
    asked = _asked(tier, request)
    finished = Finished.load(note)
    if finished and finished.holds(request.root, asked):
        return Report(**{**finished.report, "done_before": True, "seconds": 0.0})
    plan = plan_tier(tier, request, sources())
    if not request.allow_missing:
        plan.require_all(paths.missing_list(request.root, tier.name))
    done = _build(plan, request, sources())
    done.report["seconds"] = round(time.monotonic() - start, 1)
    done.request = asked
    if not any(plan.missing.values()):  # else the next run looks whether they have turned up
        done.save(note)
    return Report(**done.report)


def survey_tier(name: str, request: Request, sources: Callable[[], RawImages]) -> Survey:
    """Says what preparing a tier would take; fetches its lists, but no masks.

    Raises:
        ImageNetSError: Lists or sources are not to be had.
    """
    tier = fetch_lists(name, request.origin, request.downloads)
    plan = plan_tier(tier, request, sources())
    archive = None
    if any(split.masks is not None for split in plan.splits.values()):
        there = local_archive(tier, request.origin, request.downloads)
        archive = str(there) if there else f"{tier.archive or 'an archive'}, to be downloaded"
    return survey(
        plan,
        sources(),
        request.root,
        request.layout,
        request.link,
        request.options,
        request.pool.workers,
        archive,
    )


def download_tier(name: str, request: Request) -> list[Path]:
    """Fetches and checks a tier's lists and masks, and nothing else; returns the files.

    Raises:
        ImageNetSError: They cannot be had, or are not what they should be.
    """
    tier = fetch_lists(name, request.origin, request.downloads)
    lists = read_lists(tier, request.downloads)
    archive, _ = _checked_masks(tier, mask_members(tier, lists), len(lists.classes), request)
    kept = request.downloads / (tier.archive or archive.path.name)
    if not kept.exists():  # it was given: a folder that is carried elsewhere needs it, too
        with atomic(kept) as part:
            shutil.copyfile(archive.path, part)
    return [*(request.downloads / entry.path for entry in tier.lists), kept]


def repair_tier(verdict: Verdict, request: Request, sources: Callable[[], RawImages]) -> Report:
    """Packs the bad shards of a set anew, with the options and splits that it has.

    Raises:
        ImageNetSError: What went into the set can no longer be had.
    """
    manifest = Manifest.load(verdict.folder)
    options = Options(**manifest.options, decode=request.options.decode)
    state = request.state / paths.set_name(verdict.tier)
    for file in verdict.bad_shards:
        (verdict.folder / file).unlink(missing_ok=True)
        (state / f"{file}.json").unlink(missing_ok=True)
    subsets = tuple(manifest.splits)
    again = replace(request, layout="shards", subsets=subsets, options=options)
    return prepare_tier(verdict.tier, again, sources)


def plan_tier(tier: Tier, request: Request, images: RawImages) -> Plan:
    """Plans a tier's splits from lists that are there already; says what to know about it."""
    lists = read_lists(tier, request.downloads)
    subsets = request.subsets or servable(tier, images)
    for split in (s for s in tier.splits if s not in subsets and s != "train-full"):
        if request.subsets is None:
            log.info(f"{split}: left out, none of the given sources holds its images")
    plan = make_plan(tier, lists, images, subsets)
    for warning in plan.warnings:
        log.warning(warning)
    return plan


def _asked(tier: Tier, request: Request) -> dict[str, Any]:
    """What a finished run is known by."""
    return {
        "version": 1,
        "lists": {entry.path: sha256(request.downloads / entry.path) for entry in tier.lists},
        "imagenet": signature(request.imagenet),
        "annotations": signature(request.origin.annotations),
        "kind": request.kind,
        "layout": request.layout,
        "subsets": sorted(request.subsets) if request.subsets else None,
        "link": request.link,
        "options": asdict(request.options),
    }


def _build(plan: Plan, request: Request, images: RawImages) -> Finished:
    """Checks the masks, then writes tree and shards."""
    tier = plan.tier
    state = request.state / tier.folder
    found = _masks(plan, request, images)
    splits = {
        name: {
            "images": len(split),
            "masks": 0 if split.masks is None else len(split),
            "missing": plan.missing_count(name),
        }
        for name, split in plan.splits.items()
    }
    report = Report(tier.name, len(plan.classes), splits)
    done = Finished({})
    if request.layout in ("tree", "both"):
        folder = paths.tree(request.root, tier.name)
        archive = found[0] if found else None
        counts = build_tree(plan, images, archive, folder, request.link, request.pool)
        if counts.strange:
            log.warning(f"{folder}: {counts.strange:,} files belong to no split; they are kept")
        places = [str(path.relative_to(request.root)) for path in planned_folders(plan, folder)]
        done.folders = folder_times(request.root, places)
        report.tree = str(folder)
    if request.layout in ("shards", "both"):
        folder = paths.shards(request.root, tier.name)
        packing = pack(plan, images, found, folder, state, request.options, request.pool)
        if packing.oddities:
            odd = ", ".join(f"{count:,} {what}" for what, count in sorted(packing.oddities.items()))
            log.info(f"odd images (kept as they are; they decode as any other): {odd}")
        done.shards = {f"{folder.name}/{s.file}": s.bytes for s in packing.manifest.shards}
        done.shards[f"{folder.name}/{MANIFEST}"] = (folder / MANIFEST).stat().st_size
        total = sum(done.shards.values())
        report.shards = {"path": str(folder), "files": len(done.shards) - 1, "bytes": total}
    done.report = asdict(report)
    return done


def _masks(plan: Plan, request: Request, images: RawImages) -> Masks | None:
    """The mask archive, its content checked once; None where none is needed.

    That is when no split of the plan has masks, or when the sources hold them all (the mirror of
    the Hugging Face Hub does for validation), and no archive is at hand that would come first.
    """
    masked = [split.positions for split in plan.splits.values() if split.masks is not None]
    if not masked:
        return None
    if local_archive(plan.tier, request.origin, request.downloads) is None:
        ends = [int(end) for found in masked if len(found) for end in (found[0], found[-1])]
        if ends and all(images.mask(end) is not None for end in ends):
            log.info("the masks are those that the sources hold; no archive is used")
            return None
    return _checked_masks(plan.tier, plan.members, len(plan.classes), request)


def _checked_masks(tier: Tier, members: tuple[str, ...], classes: int, request: Request) -> Masks:
    archive = masks.MaskArchive(fetch_archive(tier, request.origin, request.downloads))
    state = request.state / tier.folder
    state.mkdir(parents=True, exist_ok=True)
    digest = masks.check(archive, members, classes, state / "archive.json", request.pool)
    if warning := digest.warning():
        log.warning(warning)
    return archive, digest
