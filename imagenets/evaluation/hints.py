"""Whether scores may mean something else than one thinks: told from the confusion matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imagenets.evaluation import matching
from imagenets.evaluation.counts import Int64
from imagenets.masks import BACKGROUND

_POINTS, _TIMES = 10.0, 2.0
"""What another reading of the ids must gain to be told: points, and times as much."""

_SHARE = 0.2
"""Share of the predicted pixels above which ids that cannot be right are told."""

_AS_GOOD = 0.9
"""Share of the match's mIoU from which a shift alone explains the ids."""

_SHOWN = 5


def hints(confusion: Int64) -> list[str]:
    """Finds signs that predicted ids are not what the scorer takes them for.

    What a few images of many classes, an early network that predicts one class, or nothing but
    background look like is no such sign.

    Args:
        confusion: (K + 1) x (K + 2) pixels by true and predicted id, as `Evaluator.confusion`.

    Returns:
        One sentence for each sign; empty where all looks well.
    """
    seen = confusion[:, :-1].sum(axis=0)
    if np.count_nonzero(seen[1:]) < 2:  # one class, or background alone
        return []
    found = [_unseen(confusion), _background(confusion), _other_reading(confusion)]
    return [hint for hint in found if hint]


def _unseen(confusion: Int64) -> str:
    """Ids of classes that the ground truth lacks, where it has most classes."""
    true, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    absent = true == 0
    lost = predicted[:-1][absent].sum() + predicted[-1]
    if absent.sum() > len(true) / 2 or lost <= _SHARE * predicted.sum():
        return ""
    ids = np.flatnonzero(absent & (predicted[:-1] > 0))
    if predicted[-1]:
        ids = np.append(ids, len(true))
    listed = ", ".join(str(i) if i < len(true) else "out of range" for i in ids[:_SHOWN].tolist())
    more = ", ..." if len(ids) > _SHOWN else ""
    return (
        f"ids that never occur in the ground truth ({listed}{more}) hold "
        f"{100 * lost / predicted.sum():.0f} % of the predicted pixels. Check the tier and what "
        "the ids stand for: 0 is background, 1 the first class."
    )


def _background(confusion: Int64) -> str:
    """An id that stands where background should: 0 is never predicted, and it would fit."""
    if confusion[:, BACKGROUND].sum() > 0:
        return ""
    predicted = confusion.sum(axis=0)
    likely = int(predicted[1:-1].argmax()) + 1
    if predicted[likely] <= _SHARE * predicted.sum():
        return ""
    table = np.arange(len(predicted))
    table[likely] = BACKGROUND
    before, after = (100 * _foreground(matrix) for matrix in (confusion, _read(confusion, table)))
    if after - before < _POINTS:
        return ""
    return (
        f"0 (background) is never predicted, and id {likely} holds "
        f"{100 * predicted[likely] / predicted.sum():.0f} % of the pixels: taken for background, "
        f"the foreground's F-measure over all pixels would be {after:.1f} instead of {before:.1f}. "
        "Write background as 0."
    )


def _other_reading(confusion: Int64) -> str:
    """A shift of the ids by one, or a match, that scores far better."""
    size = len(confusion)
    ids = np.arange(size + 1)
    readings = {
        "ids counted from 0 (classes moved up by one, background kept)": np.where(
            ids == BACKGROUND, BACKGROUND, np.minimum(ids + 1, size)
        ),
        "ids one too small (all moved up by one)": np.minimum(ids + 1, size),
        "ids one too large (all moved down by one)": np.where(
            ids == size, size, np.maximum(ids - 1, BACKGROUND)
        ),
    }
    own = _miou(confusion)
    matched = matching.match(matching.pixel_matrix(confusion))
    by_match = _miou(_read(confusion, np.append(matching.as_table(matched, size - 1), size)))
    shifted = {text: _miou(_read(confusion, table)) for text, table in readings.items()}
    best = max(shifted, key=shifted.__getitem__)
    if _far_better(shifted[best], own) and shifted[best] >= _AS_GOOD * by_match:
        return _gain(own, shifted[best], f"With {best}", "Check where your ids start.")
    if _far_better(by_match, own):
        remedy = "If the ids are clusters, find the match (--find-match, match=)."
        return _gain(own, by_match, "With a match of ids to classes", remedy)
    return ""


def _gain(own: float, other: float, how: str, remedy: str) -> str:
    return f"{how}, these masks would score {other:.1f} mIoU instead of {own:.1f}. {remedy}"


def _far_better(score: float, own: float) -> bool:
    return score >= own + _POINTS and score >= _TIMES * own


def _read(confusion: Int64, table: npt.NDArray[np.integer]) -> Int64:
    """The confusion matrix with every predicted id i read as `table[i]`."""
    result = np.zeros_like(confusion)
    np.add.at(result.T, table, confusion.T)
    return result


def _miou(confusion: Int64) -> float:
    both = np.diagonal(confusion).astype(np.float64)
    union = confusion.sum(axis=1) + confusion[:, :-1].sum(axis=0) - both
    return float(100 * (both / (union + 1e-10)).mean())


def _foreground(confusion: Int64) -> float:
    """F-measure (beta^2 = 0.3) of foreground against background over all pixels, 0..1."""
    both = confusion[1:, 1:].sum()
    predicted, true = confusion[:, 1:].sum(), confusion[1:].sum()
    precision, recall = both / max(predicted, 1), both / max(true, 1)
    return float(1.3 * precision * recall / (0.3 * precision + recall + 1e-20))
