"""What the labels of step 4 score on validation, at thresholds chosen in three ways.

The final masks depend on the threshold through the training labels, so a cross-fit threshold is
exact for the labels alone: they can be made at any threshold without training anew.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets import masks
from imagenets.core.pool import in_chunks
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.evaluation.counts import Counts
from imagenets.evaluation.cross_fit import cross_fit, in_second_half
from imagenets.evaluation.mask_folders import Mask, Masks, count_masks, list_masks, pair
from imagenets.evaluation.otsu import otsu
from imagenets.evaluation.results import FOREGROUND, OTHER_HALF, SAME, Result
from imagenets.evaluation.score import score
from imagenets.evaluation.sparse import Share
from imagenets.evaluation.sweep import SweepResult, ThresholdSweep
from imagenets.methods.pass_.label_files import (
    STAGE,
    PseudoLabels,
    best_threshold,
    validation_labels,
)
from imagenets.pixels.grids import labels_of_grid, level_of_grid, nearest_of_grid

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LabelMask:
    """The label of one image as an encoded mask, for scoring.

    Attributes:
        labels: That hold it.
        row: Of the image in its split.
        name: Its name.
        threshold: Attention below which a pixel is background.
    """

    labels: PseudoLabels
    row: int
    name: str
    threshold: float = 0.0

    def read(self) -> bytes:
        """The mask as a .npy file."""
        kept = self.labels.grid(self.row, self.name)
        buffer = io.BytesIO()
        np.save(buffer, labels_of_grid(kept.ids, kept.attention, self.threshold, kept.size))
        return buffer.getvalue()

    def at(self, threshold: float) -> LabelMask:
        """The same image at another threshold."""
        return LabelMask(self.labels, self.row, self.name, threshold)

    def __str__(self) -> str:
        return f"the label of {self.name}"


Pairs = list[tuple[str, LabelMask, Mask]]
"""Name, label and ground truth of every image."""


def label_results(
    data: ImageNetS, out: Path, truth: Path | Masks, workers: int | None = None
) -> list[Result]:
    """Scores the labels of the validation images: as published, cross-fit, and by Otsu.

    Args:
        data: The validation split.
        out: The folder of the run.
        truth: Ground truth masks, or the folder that holds them.
        workers: Processes; all available CPUs by default.

    Returns:
        Three rows; none where the run did not keep these labels (earlier releases), or of one
        image; no third one where the attention is the same everywhere.

    Raises:
        CorruptError: The labels are damaged, or made from something else than the ledger says.
        BadMasksError: A mask cannot be scored.
    """
    labels = _kept(data, out)
    pairs = _pairs(data, labels, truth) if labels else []
    if len(pairs) < 2:
        return []
    classes, best = len(data.classes), best_threshold(out)
    every = _at(pairs, [best] * len(pairs))
    gts: Masks = {name: gt for name, _, gt in pairs}
    published = score(every, gts, classes, match="image", form="npy", workers=workers, shared=True)
    first = Result("labels", "optimistic", SAME, SAME, published, (best,), intervals=True)
    rows = [first, _cross_fitted(pairs, classes, workers)]
    attention = _attention(pairs)
    if attention.min() == attention.max():
        log.warning("%s: the attention is the same everywhere: no threshold parts it.", out)
        return rows
    return [*rows, _without_labels(pairs, otsu(attention), classes, workers)]


def _kept(data: ImageNetS, out: Path) -> PseudoLabels | None:
    """The labels of validation, at any threshold; None and a warning where none were kept."""
    labels = validation_labels(out, data)
    if labels is not None:
        return labels
    folder = out / STAGE / "validation"
    log.warning(
        "%s: the labels of validation were not kept, so their scores are left out. They are made "
        "when you delete %s and run the step 'pseudo' again (--stages pseudo).",
        folder,
        folder.parent,
    )
    return None


def _cross_fitted(pairs: Pairs, classes: int, workers: int | None) -> Result:
    """Each half of the images at the threshold of the other, with the match of the other there."""
    names = [name for name, _, _ in pairs]
    second = in_second_half(names)
    one, two = _chosen(pairs, second.tolist(), classes, workers)
    used = (two.threshold, one.threshold)  # on the first half, and on the second
    counts = _counted(pairs, [used[int(inside)] for inside in second], classes, workers)
    cross = cross_fit(counts, names, (one.match, two.match))
    return Result("labels", "cross-fit", OTHER_HALF, OTHER_HALF, cross.scores, used, cross, True)


def _without_labels(pairs: Pairs, threshold: float, classes: int, workers: int | None) -> Result:
    """All images at a threshold that has seen no ground truth; the match is cross-fit."""
    counts = _counted(pairs, [threshold] * len(pairs), classes, workers)
    cross = cross_fit(counts, [name for name, _, _ in pairs])
    return Result("labels", "otsu", FOREGROUND, OTHER_HALF, cross.scores, (threshold,), cross, True)


def _at(pairs: Pairs, thresholds: Sequence[float]) -> Masks:
    """The labels of all images, each at its threshold."""
    found = zip(pairs, thresholds, strict=True)
    return {name: label.at(threshold) for (name, label, _), threshold in found}


def _counted(
    pairs: Pairs, thresholds: Sequence[float], classes: int, workers: int | None
) -> Counts:
    """Counts the labels before matching, each at its threshold."""
    gts: Masks = {name: gt for name, _, gt in pairs}
    found = count_masks(
        _at(pairs, thresholds), gts, classes, form="npy", workers=workers, shared=True
    )
    return found.counts


def _pairs(data: ImageNetS, labels: PseudoLabels, truth: Path | Masks) -> Pairs:
    """Labels and ground truth of the images that have one."""
    gts = list_masks(truth) if isinstance(truth, Path) else truth
    rows = dict(zip(data.names, data.rows.tolist(), strict=True))
    partners, _ = pair(rows, gts)
    return [
        (name, LabelMask(labels, rows[partner], partner), gts[name])
        for name, partner in partners.items()
        if partner is not None
    ]


def _attention(pairs: Pairs) -> npt.NDArray[np.float32]:
    """The attention of all images on the grid, end to end: no ground truth is looked at."""
    grids = [label.labels.grid(label.row, label.name).attention for _, label, _ in pairs]
    return np.concatenate([grid.reshape(-1) for grid in grids])


def _chosen(
    pairs: Pairs, second: Sequence[bool], classes: int, workers: int | None
) -> tuple[SweepResult, SweepResult]:
    """The best threshold and its match on the first half of the images, and on the second."""
    items = [(label, gt, inside) for (_, label, gt), inside in zip(pairs, second, strict=True)]
    work = partial(_swept, classes=classes)
    found = list(in_chunks(work, items, workers, title="thresholds", shared=True))
    sweeps = ThresholdSweep(classes), ThresholdSweep(classes)
    for half, sweep in enumerate(sweeps):
        sweep.replace([shares[half] for shares in found])
    return sweeps[0].compute(), sweeps[1].compute()


def _swept(
    items: Sequence[tuple[LabelMask, Mask, bool]], classes: int
) -> tuple[list[Share], list[Share]]:
    """What some images count at every threshold, each in the sweep of its half."""
    sweeps = ThresholdSweep(classes), ThresholdSweep(classes)
    for label, gt, inside in items:
        kept = label.labels.grid(label.row, label.name)
        data = gt.read_bytes() if isinstance(gt, Path) else gt.read()
        sweeps[int(inside)].update(
            nearest_of_grid(kept.ids, kept.size),
            level_of_grid(kept.attention, kept.size),
            masks.decode(data, str(gt)),
        )
    return sweeps[0].sparse_sums(), sweeps[1].sparse_sums()
