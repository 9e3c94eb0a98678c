"""What is to be prepared: the records of every split, and what is missing.

Records are columns of NumPy arrays: the 1.28 million images of ILSVRC take some 70 MB a split.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets.core.files import write_file
from imagenets.data.lists import Names
from imagenets.errors import MissingError
from imagenets.tiers import Tier

GROUPS = ("train", "train-semi", "validation", "test", "train-rest")
"""What shards are named by: `train-full` is `train` and `train-rest`, no image stored twice."""

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
        names = self._missing_names()
        if not names:
            report.unlink(missing_ok=True)
            return
        write_file(report, "\n".join(names) + "\n")
        raise MissingError(self.shortfall(f"all are listed in {report}"))

    def shortfall(self, where: str) -> str:
        """What is missing and what to do; empty if nothing is.

        Args:
            where: Where all of it can be read.
        """
        names = self._missing_names()
        if not names:
            return ""
        counts = [
            f"{split} has {len(self.splits[split]):,} of {_count(self.expected[split])}"
            for split, lost in self.missing.items()
            if lost
        ]
        more = f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        return (
            f"tier {self.tier.name} is not complete in the given sources ({'; '.join(counts)}). "
            f"Missing: {', '.join(names[:_SHOWN])}{more}; {where}. Add what holds them with one "
            "more --imagenet PATH, choose fewer --subsets, or go on without them: --allow-missing."
        )

    def _missing_names(self) -> list[str]:
        return [f"{split}: {name}" for split, lost in self.missing.items() for name in lost]


def _count(number: int | None) -> str:
    return "an unpublished number" if number is None else f"{number:,}"
