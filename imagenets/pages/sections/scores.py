"""The metrics of the run in one row."""

from __future__ import annotations

from imagenets.evaluation.metrics import SCALARS
from imagenets.pages.elements import table
from imagenets.pages.run_files import RunFiles


def render(run: RunFiles) -> str:
    """The metrics in percent, with what they are of."""
    names = [name for name in run.scores if name in SCALARS]
    empty = run.scores.get("empty", [])
    about = (
        f"<p>{len(run.data)} validation images, {len(run.data.classes)} classes; metrics in "
        "percent, after image-level matching on validation.</p>"
    )
    row = ["-" if name in empty else f"{run.scores[name]:.2f}" for name in names]
    return about + table(names, [row])
