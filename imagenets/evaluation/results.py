"""What a run scores, and what was chosen on which images to get there: one row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagenets.evaluation.bootstrap import Interval, intervals
from imagenets.evaluation.cross_fit import CrossFit
from imagenets.evaluation.metrics import SCALARS
from imagenets.evaluation.score import Scores

SAMPLES, LEVEL = 1000, 0.95
"""Of the bootstrap over images."""

SAME = "the images that are scored"
"""Where the published protocol chooses threshold and match."""

OTHER_HALF = "the other half of the images"
"""Where a cross-fit score chooses."""

ALL = "all validation images"
"""Where the threshold of the training labels is chosen, and with it the network."""

FOREGROUND = "Otsu's rule on attention or saliency of all validation images, without ground truth"
"""Where a threshold was chosen that has seen no ground truth at all."""


@dataclass(frozen=True)
class Result:
    """One score with its protocol.

    Attributes:
        masks: What is scored: "final" (of the fine-tuned network) or "labels" (of the labelling
            step, as fine-tuning learns them, on validation).
        protocol: Its name.
        threshold_from: Where the threshold was chosen.
        match_from: Where the match was found.
        scores: After matching.
        thresholds: The threshold, or that of the first and of the second half; empty: not known.
        cross: The halves, of a cross-fit score.
        intervals: Whether to say how sure the metrics are, by a bootstrap over the images.
    """

    masks: str
    protocol: str
    threshold_from: str
    match_from: str
    scores: Scores
    thresholds: tuple[float, ...] = ()
    cross: CrossFit | None = None
    intervals: bool = False

    def document(self) -> dict[str, Any]:
        """The row for machines; metrics in percent.

        `interval` holds the ends of the bootstrap's interval of each metric. Weights of the images
        vary in it, what was chosen does not: neither a new choice nor another seed is in it.
        """
        values: dict[str, Any] = {
            "masks": self.masks,
            "protocol": self.protocol,
            "thresholds": list(self.thresholds),
            "threshold_from": self.threshold_from,
            "match_from": self.match_from,
            "images": self.scores.counts.images,
            **_scalars(self.scores),
        }
        if self.cross is not None:
            values["halves"] = [
                {"images": half.counts.images, **_scalars(half)} for half in self.cross.halves
            ]
        if self.intervals:
            found = intervals(self.scores.counts, SAMPLES, LEVEL)
            ends = {name: _ends(found[name]) for name in SCALARS}
            values["interval"] = {"over": "images", "level": LEVEL, "samples": SAMPLES, **ends}
        return values


def results_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `Result.document` as an aligned table, and where each chose."""
    lines = [
        f"{'masks':<7}{'protocol':<18}{'mIoU':>7}  {'95 % interval':^16}{'mBIoU':>7}  threshold"
    ]
    for row in rows:
        lines.append(
            f"{row['masks']:<7}{row['protocol']:<18}{row['mIoU']:7.2f}  {interval_of(row):^16}"
            f"{row['mBIoU']:7.2f}  {thresholds_of(row)}"
        )
    lines += ["", *(explained(row) for row in rows)]
    return "\n".join(lines)


def explained(row: Mapping[str, Any]) -> str:
    """One sentence that says where a row chose."""
    return (
        f"{row['masks']}, {row['protocol']}: threshold from {row['threshold_from']}, match from "
        f"{row['match_from']}."
    )


def interval_of(row: Mapping[str, Any]) -> str:
    """The interval of the mIoU of a row; `-` where there is none."""
    if "interval" not in row:
        return "-"
    low, high = row["interval"]["mIoU"]
    return f"{low:.2f} to {high:.2f}"


def thresholds_of(row: Mapping[str, Any]) -> str:
    """The thresholds of a row; `-` where they are not known."""
    return ", ".join(f"{value:.4g}" for value in row["thresholds"]) or "-"


def _scalars(scores: Scores) -> dict[str, float]:
    values: dict[str, Any] = dict(scores.metrics)
    return {name: values[name] for name in SCALARS}


def _ends(found: Interval | list[Interval]) -> tuple[float, float]:
    assert isinstance(found, Interval)
    return found.low, found.high
