"""The scores of the run by every way of scoring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from imagenets.evaluation.metrics import SCALARS
from imagenets.evaluation.results import explained, interval_of, thresholds_of
from imagenets.pages.charts import ticks
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill

HEADLINES = {
    "mIoU": "mean IoU over other and all classes",
    "mBIoU": "mean boundary IoU",
    "FMeasure": "foreground F-measure",
    "Acc": "image-level accuracy",
}
"""Metrics that stand on top, and what they are."""

_USES = {
    "optimistic": "As published: compare it with published validation scores, and nothing else. "
    "Match or threshold were chosen on the very images that are scored.",
    "cross-fit match": "Its match has not seen the image that is scored. The threshold of the "
    "training labels was still chosen on all validation images.",
    "cross-fit": "Neither match nor threshold has seen the image that is scored: what other images "
    "may be expected to score.",
    "otsu": "The threshold has seen no ground truth at all; the match has not seen the image that "
    "is scored.",
}
"""Way of scoring -> what it may be used for."""


def _render(run: RunFiles) -> Markup:
    rows = run.scores.get("results", [])
    return fill(
        "sections/scores.html",
        headlines=[(name, run.scores[name], text) for name, text in HEADLINES.items()],
        images=len(run.data),
        classes=len(run.data.classes),
        names=[name for name in SCALARS if name in run.scores],
        scores=run.scores,
        empty=run.scores.get("empty", []),
        warnings=[*filter(None, [run.mismatch]), *run.scores.get("warnings", [])],
        rows=[_row(row) for row in rows],
        forest=forest([(f"{row['masks']}, {row['protocol']}", row, 0) for row in rows]),
    )


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "masks": row["masks"],
        "protocol": row["protocol"],
        "mIoU": row["mIoU"],
        "interval": interval_of(row),
        "mBIoU": row["mBIoU"],
        "thresholds": thresholds_of(row),
        "explained": explained(row),
        "use": _USES.get(row["protocol"], ""),
    }


def forest(rows: Sequence[tuple[str, Mapping[str, Any], int]]) -> dict[str, Any] | None:
    """Where the mIoU of rows and their intervals lie on one axis; None of no rows.

    Args:
        rows: What stands before each, the row of `scores.json`, and which colour it has.
    """
    if not rows:
        return None
    width, left, step = 720, 170, 30
    ends = [end for _, row, _ in rows for end in (row["mIoU"], *_ends(row))]
    numbers = ticks(min(ends), max(ends), 6, around=True)

    def at(value: float) -> float:
        share = (value - numbers[0]) / (numbers[-1] - numbers[0])
        return round(left + share * (width - left - 70), 1)

    drawn = [
        {
            "label": label,
            "colour": colour,
            "y": 18 + step * place,
            "x": at(row["mIoU"]),
            "value": row["mIoU"],
            "ends": [at(end) for end in _ends(row)],
            "interval": interval_of(row),
        }
        for place, (label, row, colour) in enumerate(rows)
    ]
    axis = [(at(number), f"{number:g}") for number in numbers]
    return {"width": width, "height": step * len(rows) + 46, "rows": drawn, "axis": axis}


def _ends(row: Mapping[str, Any]) -> list[float]:
    return list(row["interval"]["mIoU"]) if "interval" in row else []


SECTION = Section("Scores", _render)
