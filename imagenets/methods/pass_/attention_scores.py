"""How well the attention parts the objects of validation from what is around them.

No later step reads these numbers: they say whether step 2 has learned something, and whether a
threshold can be found at all.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets.core.log import progress
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.evaluation.localization import LocalizationEvaluator
from imagenets.masks import BACKGROUND, IGNORED
from imagenets.methods.pass_.label_files import PseudoLabels
from imagenets.pixels.grids import level_of_grid

WEAK = 0.7
"""An area under the ROC curve below this is told: hardly anything was learned."""

_OUT_OF_COUNT = 255
"""What the evaluator of heat maps calls an ignored pixel."""

NEAR = 0.9
"""A threshold still serves when its mIoU reaches this share of the best one's."""


def attention_scores(data: ImageNetS, folder: Path, workers: int | None = None) -> dict[str, float]:
    """Measures the attention that the labels of validation keep.

    Args:
        data: The validation split, with masks.
        folder: Of the labels' files.
        workers: Threads; all available CPUs by default.

    Returns:
        `attention_auc`: the area under the ROC curve of attention against true foreground, its mean
        over the images that have both, 0..1; `attention_inside` and `attention_outside`: the mean
        attention of true foreground and background, over all pixels. Nothing where no image has
        both.
    """
    labels = PseudoLabels(sorted(folder.glob("*.h5")), data.rows, 0.0)
    evaluator = LocalizationEvaluator(workers=workers)
    sums = np.zeros((2, 2))  # outside and inside: attention, pixels
    for index in progress(range(len(data)), "pseudo: attention", len(data)):
        kept = labels.grid(int(data.rows[index]), data.names[index])
        level, target = level_of_grid(kept.attention, kept.size), _target(data.mask(index))
        evaluator.update(level, target)
        for inside in (0, 1):
            pixels = level[target == inside]
            sums[inside] += pixels.sum(dtype=np.float64), len(pixels)
    auc = evaluator.compute().mean["roc_auc"]
    if np.isnan(auc):
        return {}
    outside, within = (total / pixels for total, pixels in sums.tolist())
    return {
        "attention_auc": auc / 100,
        "attention_inside": within,
        "attention_outside": outside,
    }


def margin(thresholds: list[float], miou: list[float]) -> float:
    """How wide the range of thresholds is, around the best one, that reach `NEAR` of its mIoU."""
    best = int(np.argmax(miou))
    good = np.asarray(miou) >= NEAR * miou[best]
    low = high = best
    while low > 0 and good[low - 1]:
        low -= 1
    while high + 1 < len(good) and good[high + 1]:
        high += 1
    return thresholds[high] - thresholds[low]


def _target(mask: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """1 on every object, 0 elsewhere, 255 where pixels are ignored."""
    target: npt.NDArray[np.uint8] = (mask != BACKGROUND).astype(np.uint8)
    target[mask == IGNORED] = _OUT_OF_COUNT
    return target
