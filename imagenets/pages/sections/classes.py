"""The IoU of every class, best first."""

from __future__ import annotations

from imagenets.pages.elements import table
from imagenets.pages.run_files import RunFiles


def render(run: RunFiles) -> str:
    """A bar for background and every class."""
    names = ("background", *run.data.classes)
    ranked = sorted(zip(names, run.scores["IoUs"], strict=True), key=lambda pair: -pair[1])
    bar = "<span class='bar' style='width:{:.0f}px'></span>"
    rows = [(name, f"{iou:.1f}", bar.format(2 * iou)) for name, iou in ranked]
    return "<h2>Classes</h2>" + table(("class", "IoU", ""), rows)
