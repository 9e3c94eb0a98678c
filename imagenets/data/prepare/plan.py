"""From raw images and lists to the records of every split, and what is missing, by name.

Records are columns of NumPy arrays: the 1.28 million images of ILSVRC take some 70 MB a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imagenets import paths
from imagenets.classes import ilsvrc_classes, ranks
from imagenets.core.files import write_file
from imagenets.data.lists import Lists, Names, Records
from imagenets.errors import MissingError, UsageError
from imagenets.tiers import MASKED_SPLITS, SPLITS, Tier

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

GROUPS = ("train", "train-semi", "validation", "test", "train-rest")
"""What shards are named by: `train-full` is `train` and `train-rest`, no image stored twice."""

FEWEST, MOST = 732, 1300
"""Training images of an ILSVRC class: between these."""

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """The records of one split or group, sorted by (class folder, stem).

    Attributes:
        name: Split or group.
        stems: S32, file stem of each image.
        wnids: S9, class folder.
        class_ids: int16, 1 + rank in the tier, 0 outside it.
        ilsvrc: int16, rank of the image's own class in the plan's `source_classes`.
        positions: int64, position in the sources.
        masks: Member names in the mask archive; None for a split without masks.
    """

    name: str
    stems: Names
    wnids: Names
    class_ids: npt.NDArray[np.int16]
    ilsvrc: npt.NDArray[np.int16]
    positions: npt.NDArray[np.int64]
    masks: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.stems)

    def take(self, rows: npt.NDArray[np.int64] | slice) -> SplitPlan:
        """The same with some of its rows."""
        masks = self.masks
        if masks is not None:
            masks = masks[rows] if isinstance(rows, slice) else tuple(masks[row] for row in rows)
        return SplitPlan(
            self.name,
            self.stems[rows],
            self.wnids[rows],
            self.class_ids[rows],
            self.ilsvrc[rows],
            self.positions[rows],
            masks,
        )

    def sample_name(self, row: int) -> str:
        """A record's name, `<wnid>/<stem>`."""
        return f"{self.wnids[row].decode()}/{self.stems[row].decode()}"


@dataclass(frozen=True)
class Plan:
    """What is to be prepared.

    Attributes:
        tier: The tier.
        classes: Its WordNet ids; class id = 1 + rank.
        source_classes: WordNet ids that `ilsvrc` counts.
        splits: The records that were found, by split.
        expected: Images that a split should have; None where that is not published.
        missing: What is missing, by split: names, or for training images the short classes.
        lists: SHA-256 of each list, by list path.
        members: Every mask that the lists name, found or not: what the archive must hold.
        warnings: What a user should know, a line each.
    """

    tier: Tier
    classes: tuple[str, ...]
    source_classes: tuple[str, ...]
    splits: dict[str, SplitPlan]
    expected: dict[str, int | None]
    missing: dict[str, list[str]]
    lists: dict[str, str]
    members: tuple[str, ...]
    warnings: list[str] = field(default_factory=list)

    def groups(self) -> dict[str, SplitPlan]:
        """The records as shards hold them; `train-full` comes as `train` and `train-rest`."""
        groups = {name: self.splits[name] for name in GROUPS if name in self.splits}
        full = self.splits.get("train-full")
        if full is not None:
            outside = full.take(np.flatnonzero(full.class_ids == 0))
            groups["train-rest"] = replace(outside, name="train-rest")
        return groups

    def missing_count(self, split: str) -> int:
        """Images that a split lacks; 0 for a training split of unknown size."""
        expected = self.expected[split]
        return max(0, expected - len(self.splits[split])) if expected is not None else 0

    def require_all(self, report: Path) -> None:
        """Raises unless everything was found; lists what is missing in the file `report`.

        Raises:
            MissingError: Names the first ten.
        """
        names = [f"{split}: {name}" for split, lost in self.missing.items() for name in lost]
        if not names:
            report.unlink(missing_ok=True)
            return
        write_file(report, "\n".join(names) + "\n")
        counts = [
            f"{split} has {len(self.splits[split]):,} of {_count(self.expected[split])}"
            for split, lost in self.missing.items()
            if lost
        ]
        more = f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        raise MissingError(
            f"tier {self.tier.name} is not complete in the given sources ({'; '.join(counts)}). "
            f"Missing: {', '.join(names[:_SHOWN])}{more}; all are listed in {report}. Add what "
            "holds them with one more --imagenet PATH, choose fewer --subsets, or go on without "
            "them: --allow-missing."
        )


def make_plan(tier: Tier, lists: Lists, images: RawImages, subsets: Sequence[str]) -> Plan:
    """Finds the images of each split among the raw ones.

    Args:
        tier: The tier.
        lists: What its lists say.
        images: The raw images.
        subsets: Splits to plan; `train-full` brings `train` along, which it is stored with.

    Returns:
        The plan, with what is missing.

    Raises:
        UsageError: The tier has no such split.
    """
    wanted = set(subsets)
    if "train-full" in wanted:
        wanted.add("train")
    strange = sorted(wanted - set(tier.splits))
    if strange:
        raise UsageError(
            f"tier {tier.name} has no split {strange[0]!r}: choose from {' '.join(tier.splits)}."
        )
    maker = _Maker(tier, lists, images)
    members = mask_members(tier, lists)
    source_classes = maker.source_classes
    plan = Plan(tier, lists.classes, source_classes, {}, {}, {}, dict(lists.digests), members)
    for split in SPLITS:
        if split in wanted:
            maker.add(plan, split)
    return plan


def mask_members(tier: Tier, lists: Lists) -> tuple[str, ...]:
    """Every member that a tier's mask archive must have."""
    return tuple(
        member for split in MASKED_SPLITS for member in _members(tier, split, lists.splits[split])
    )


def servable(tier: Tier, images: RawImages) -> list[str]:
    """The splits that are prepared when none are named: those the sources can serve.

    `train-full` is left to those who ask for it: it stores the remaining ILSVRC classes, too.
    """
    splits = [split for split in tier.splits if split != "train-full"]
    have = {"train": images.has_training, "train-semi": images.has_training}
    return [split for split in splits if have.get(split, images.has_validation)]


class _Maker:
    def __init__(self, tier: Tier, lists: Lists, images: RawImages) -> None:
        self.tier = tier
        self.lists = lists
        self.images = images
        self.source_classes = _source_classes(lists)

    def add(self, plan: Plan, split: str) -> None:
        if split in self.lists.splits:
            records = self.lists.splits[split]
            positions = self.images.find(records.stems)
            there = np.flatnonzero(positions >= 0)
            found = self._split(split, records, positions).take(there)
            plan.expected[split] = len(records.stems)
            lost = np.flatnonzero(positions < 0)
            plan.missing[split] = [
                f"{records.wnids[row].decode()}/{records.stems[row].decode()}" for row in lost
            ]
        else:
            full = split == "train-full"
            folders = self.source_classes if full else self._folders()
            records = self._training(folders, merged=not full)
            found = self._split(split, records, self.images.find(records.stems))
            plan.expected[split] = self.tier.counts.get(split)
            plan.missing[split] = _short(records, folders, plan.expected[split])
            surplus = len(found) - (plan.expected[split] or len(found))
            if surplus > 0:
                plan.warnings.append(
                    f"{split}: {surplus:,} images more than the {plan.expected[split]:,} "
                    "published: the class folders hold strangers"
                )
        plan.splits[split] = found

    def _folders(self) -> Sequence[str]:
        """The ILSVRC classes whose images make up the tier's training split."""
        merged = [old for old, new in self.tier.merges.items() if new in set(self.lists.classes)]
        return sorted([*self.lists.classes, *merged])

    def _training(self, folders: Sequence[str], *, merged: bool) -> Records:
        stems = self.images.training(folders)
        own = _prefixes(stems)
        wnids = _renamed(own, self.tier.merges) if merged else own
        order = np.argsort(np.searchsorted(np.unique(wnids), wnids), kind="stable")
        return Records(stems[order], wnids[order], own[order])

    def _split(self, name: str, records: Records, positions: npt.NDArray[np.int64]) -> SplitPlan:
        class_ids = ranks(self.lists.classes, _renamed(records.wnids, self.tier.merges)) + 1
        masks = _members(self.tier, name, records) if name in MASKED_SPLITS else None
        ilsvrc = ranks(self.source_classes, records.sources)
        return SplitPlan(
            name,
            records.stems,
            records.wnids,
            class_ids,
            ilsvrc,
            positions,
            masks,
        )


def _members(tier: Tier, split: str, records: Records) -> tuple[str, ...]:
    """The masks of a split as members of the archive."""
    names = zip(records.wnids.tolist(), records.stems.tolist(), strict=True)
    return tuple(
        paths.mask_member(tier.name, split, f"{wnid.decode()}/{stem.decode()}")
        for wnid, stem in names
    )


def _source_classes(lists: Lists) -> tuple[str, ...]:
    """ILSVRC's own classes where they hold all that occur, else just those that occur."""
    own = {
        wnid.decode() for records in lists.splits.values() for wnid in np.unique(records.sources)
    }
    own.update(lists.classes)
    return ilsvrc_classes() if own <= set(ilsvrc_classes()) else tuple(sorted(own))


def _prefixes(stems: Names) -> Names:
    """The first nine letters of training stems, their ILSVRC class."""
    letters = np.ascontiguousarray(stems).view("S1").reshape(len(stems), stems.itemsize)
    prefixes: Names = np.ascontiguousarray(letters[:, :9]).view("S9").reshape(len(stems))
    return prefixes


def _renamed(wnids: Names, merges: Mapping[str, str]) -> Names:
    renamed = wnids.copy()
    for old, new in merges.items():
        renamed[wnids == old.encode()] = new.encode()
    return renamed


def _short(records: Records, folders: Sequence[str], expected: int | None) -> list[str]:
    """Names the training classes that are empty or, where the count is short, too small.

    No list names the training images, so classes are all that can be named.
    """
    values, found = np.unique(records.sources, return_counts=True)
    counts = dict(zip((value.decode() for value in values), found.tolist(), strict=True))
    lost = (expected or 0) - len(records.stems)
    empty = [f"{wnid} (no images)" for wnid in folders if not counts.get(wnid)]
    if lost <= 0:
        return empty if expected is None else []
    few = {wnid: counts[wnid] for wnid in folders if 0 < counts.get(wnid, 0) < FEWEST}
    short = [f"{wnid} ({n} images, ILSVRC has {FEWEST} or more)" for wnid, n in few.items()]
    if empty or short:
        return empty + short
    rest = [wnid for wnid in folders if counts[wnid] < MOST]
    return [f"{lost} images among {len(rest)} classes of fewer than {MOST}: {', '.join(rest)}"]


def _count(number: int | None) -> str:
    return "an unpublished number" if number is None else f"{number:,}"
