"""Curves of the trained stages, and of the threshold."""

from __future__ import annotations

import json
from collections.abc import Iterator

from imagenets.methods.pass_.presets import TRAINED
from imagenets.pages.elements import plot
from imagenets.pages.run_files import RunFiles


def render(run: RunFiles) -> str:
    """The loss of every trained stage by epoch, and the scores of all thresholds."""
    return "<h2>Training</h2>" + "\n".join(_curves(run))


def _curves(run: RunFiles) -> Iterator[str]:
    for stage in TRAINED:
        losses = [row["loss"] for row in run.log(stage)]
        if losses:
            yield plot(range(1, len(losses) + 1), losses, f"{stage}: loss by epoch")
    path = run.out / "pseudo" / "threshold.json"
    if path.is_file():
        sweep = json.loads(path.read_text("utf-8"))
        best = f"validation mIoU by attention threshold, best at {sweep['best']:.2f}"
        yield plot(sweep["thresholds"], sweep["mIoU"], best)
