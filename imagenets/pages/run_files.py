"""What the page of a run is made from: the files in its folder, and the prepared set."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets import masks
from imagenets.classes import OTHER
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import CorruptError, MissingError
from imagenets.evaluation import matching
from imagenets.evaluation.mask_folders import CountedMasks, count_masks
from imagenets.evaluation.metrics import SCALARS, Evaluator
from imagenets.evaluation.tables import ClassRow, ImageRow, class_rows, image_rows
from imagenets.methods.pass_.label_files import PseudoLabels, validation_labels
from imagenets.methods.pass_.mask_files import PREDICTS
from imagenets.methods.pass_.presets import TRAINED
from imagenets.methods.pass_.score import load_match
from imagenets.methods.semi.run import is_semi
from imagenets.training.ledger import Ledger
from imagenets.training.machine import read_object
from imagenets.training.stage import CONFIG

LOG = "log.jsonl"
"""What a trained stage logs, one row an epoch."""

_SEEN = 0.01
"""Percentage points: smaller differences are hardly seen on a page."""


@dataclass(frozen=True)
class RunFiles:
    """A scored run.

    Attributes:
        root: The prepared set.
        tier: Its tier.
        out: The folder of the run.
        workers: Processes that count masks; all available CPUs by default.
    """

    root: Path
    tier: str
    out: Path
    workers: int | None = None

    @cached_property
    def data(self) -> ImageNetS:
        """The validation split."""
        return ImageNetS(self.root, "validation", self.tier)

    @cached_property
    def train(self) -> ImageNetS | None:
        """The training images; None where they are not prepared here."""
        try:
            return ImageNetS(self.root, "train", self.tier, masks=False)
        except MissingError:
            return None

    @cached_property
    def scores(self) -> dict[str, Any]:
        """Every metric by its published name.

        Raises:
            MissingError: The run is not scored yet.
            CorruptError: The file cannot be read, or lacks a metric.
        """
        path = self.out / "scores.json"
        if not path.is_file():
            raise MissingError(
                f"{path}: not there. Run `imagenets-baseline score` on this run first."
            )
        found = read_object(path)
        lacking = [name for name in SCALARS if name not in found]
        if lacking:
            raise CorruptError(
                f"{path}: lacks {lacking[0]}. Run `imagenets-baseline score` on this run again."
            )
        return found

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The settings of the run, as it keeps them."""
        return read_object(self.out / CONFIG)

    @property
    def foreground(self) -> str:
        """What parted its labels from the background, in words."""
        kind = str(self.settings.get("foreground", "attention"))
        return "sharpened attention" if kind == "sharpened" else kind

    @property
    def method(self) -> str:
        """What trained the run, for the title."""
        return "semi-supervised fine-tuning" if is_semi(self.out) else "PASS"

    @cached_property
    def matched(self) -> Mapping[int, int] | None:
        """Generated id -> class id; None where ids are classes."""
        return None if is_semi(self.out) else load_match(self.out, len(self.data.classes))

    @property
    def names(self) -> dict[int, str]:
        """Id -> its name in words, 0 included."""
        return {0: OTHER, **dict(enumerate(self.data.class_names, 1))}

    @cached_property
    def counted(self) -> CountedMasks:
        """The pixels of all images after matching, counted anew from the masks.

        Raises:
            MissingError: There are no masks.
            BadMasksError: Some are missing or damaged.
        """
        folder = self.out / PREDICTS[self.data.split] / self.data.split
        return count_masks(
            folder,
            dict(self.data.mask_files()),
            len(self.data.classes),
            matched=self.matched,
            workers=self.workers,
        )

    @cached_property
    def mismatch(self) -> str:
        """What to say where `scores.json` is not of the masks and ground truth of now; else ""."""
        evaluator = Evaluator(len(self.data.classes))
        evaluator.add(self.counted.counts)
        now: Mapping[str, Any] = evaluator.compute()
        for name in SCALARS:
            if abs(now[name] - self.scores[name]) > _SEEN:
                return (
                    f"{self.out / 'scores.json'}: is not of the masks and the ground truth that "
                    f"are here now: it says {name} {self.scores[name]:.2f}, they give "
                    f"{now[name]:.2f}. Tables of classes, confusions and images are of now. Run "
                    "`imagenets score` on this run again."
                )
        return ""

    @cached_property
    def classes(self) -> list[ClassRow]:
        """What is to be said of each id 0..K."""
        return class_rows(self.counted.counts, self.data.classes)

    @cached_property
    def images(self) -> list[ImageRow]:
        """What is to be said of each image, the worst first; those without a mask last."""
        return image_rows(self.counted.counts, self.counted.names)

    @cached_property
    def index(self) -> dict[str, int]:
        """Name of an image -> its number in the split."""
        return {name: number for number, name in enumerate(self.data.names)}

    @cached_property
    def labels(self) -> PseudoLabels | None:
        """The labels of validation, with their attention; None where the run kept none."""
        return validation_labels(self.out, self.data)

    @cached_property
    def nearest(self) -> dict[str, list[str]]:
        """Generated id -> the training images nearest to its centroid; empty: not kept."""
        return read_object(self.out / "cluster" / "nearest.json")

    @cached_property
    def sweep(self) -> dict[str, Any]:
        """Every threshold and its mIoU on validation; empty: not kept.

        Raises:
            CorruptError: The file cannot be read, or lacks some of it.
        """
        path = self.out / "pseudo" / "threshold.json"
        found = read_object(path)
        if found and not {"best", "thresholds", "mIoU"} <= found.keys():
            raise CorruptError(f"{path}: lacks thresholds. Delete it, and label again.")
        return found

    @cached_property
    def reports(self) -> dict[str, dict[str, float]]:
        """Stage -> the numbers that it reported at its end."""
        ledger = Ledger(self.out)
        return {name: entry.reports for name in ledger if (entry := ledger[name])}

    @cached_property
    def logs(self) -> dict[str, list[dict[str, Any]]]:
        """Trained stage -> what it logged, one row an epoch, in the order of the stages.

        Raises:
            CorruptError: A row cannot be read.
        """
        found = {path.parent.name: path for path in sorted(self.out.glob(f"*/{LOG}"))}
        order = [*(name for name in TRAINED if name in found), *(set(found) - {*TRAINED})]
        return {name: _rows(found[name]) for name in dict.fromkeys(order)}

    def predicted(self, name: str) -> npt.NDArray[np.uint16]:
        """The mask of an image after matching, H x W."""
        folder = self.out / PREDICTS[self.data.split] / self.data.split
        ids = masks.load(folder / f"{name}.png")
        return ids if self.matched is None else matching.apply(self.matched, ids)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(row) for row in path.read_text("utf-8").splitlines() if row.strip()]
    except ValueError as error:
        raise CorruptError(f"{path}: not readable ({error}). Remove the damaged line.") from error
    for row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("epoch"), (int, float)):
            text = f"{json.dumps(row):.60}"
            raise CorruptError(f"{path}: a line is no epoch ({text}). Remove the damaged line.")
    return rows
