"""Finds the images of every split among the raw ones, and says which are missing, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from imagenets import paths
from imagenets.classes import ranks
from imagenets.data.lists import Lists, Names, Records, source_classes
from imagenets.data.prepare.plan import Plan, SplitPlan
from imagenets.errors import UsageError
from imagenets.tiers import MASKED_SPLITS, SPLITS, Tier

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

FEWEST, MOST = 732, 1300
"""Training images of an ILSVRC class: between these."""


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
    unknown = sorted(wanted - set(tier.splits))
    if unknown:
        raise UsageError(
            f"tier {tier.name} has no split {unknown[0]!r}: choose from {' '.join(tier.splits)}."
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
        self.source_classes = source_classes(lists)

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
                    "published: the sources hold images that ILSVRC does not have"
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
