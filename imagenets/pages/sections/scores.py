"""The metrics of the run, by every protocol, with where each chose."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from imagenets.evaluation.metrics import SCALARS
from imagenets.evaluation.results import explained, interval_of, thresholds_of
from imagenets.pages.elements import table
from imagenets.pages.run_files import RunFiles


def render(run: RunFiles) -> str:
    """The metrics in percent, with what they are of."""
    names = [name for name in run.scores if name in SCALARS]
    empty = run.scores.get("empty", [])
    about = (
        f"<p>{len(run.data)} validation images, {len(run.data.classes)} classes; metrics in "
        "percent, after image-level matching on validation (optimistic, as published).</p>"
    )
    row = ["-" if name in empty else f"{run.scores[name]:.2f}" for name in names]
    return about + table(names, [row]) + _results(run.scores.get("results", []))


def _results(rows: Sequence[dict[str, Any]]) -> str:
    """The score of every protocol; nothing where an earlier release scored the run."""
    if not rows:
        return ""
    header = ("masks", "protocol", "mIoU", "95 % interval over images", "mBIoU", "threshold")
    cells = [
        (
            html.escape(row["masks"]),
            html.escape(row["protocol"]),
            f"{row['mIoU']:.2f}",
            interval_of(row),
            f"{row['mBIoU']:.2f}",
            thresholds_of(row),
        )
        for row in rows
    ]
    lines = "".join(f"<li>{html.escape(explained(row))}</li>" for row in rows)
    return f"<h2>Scores by protocol</h2>{table(header, cells)}<ul>{lines}</ul>"
