"""The classes in both runs, those that gain most first."""

from __future__ import annotations

from markupsafe import Markup

from imagenets.pages.comparison import Pair
from imagenets.pages.sections.classes import told
from imagenets.pages.templating import Section, fill


def _render(pair: Pair) -> Markup:
    rows = [
        told(b) | {"a": a.iou, "b": b.iou, "gain": b.iou - a.iou}
        for a, b in zip(pair.a.classes, pair.b.classes, strict=True)
    ]
    ranked = sorted(rows, key=lambda row: (-row["gain"], row["id"]))
    return fill("comparing/classes.html", rows=ranked)


SECTION = Section("Classes", _render)
