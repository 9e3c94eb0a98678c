"""The IoU of every class, best first."""

from __future__ import annotations

import html

from imagenets.pages.elements import table
from imagenets.pages.run_files import RunFiles


def render(run: RunFiles) -> str:
    """A bar for background and every class."""
    data = run.data
    ids = ("", *data.classes)
    names = ("background", *data.class_names)
    ious = run.scores["IoUs"]
    ranked = sorted(zip(range(len(ids)), names, ids, ious, strict=True), key=lambda row: -row[3])
    bar = "<span class='bar' style='width:{:.0f}px'></span>"
    rows = [
        (html.escape(name), str(i), wnid, f"{iou:.1f}", bar.format(2 * iou))
        for i, name, wnid, iou in ranked
    ]
    return "<h2>Classes</h2>" + table(("class", "id", "WordNet id", "IoU", ""), rows)
