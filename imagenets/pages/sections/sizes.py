"""Scores by object size."""

from __future__ import annotations

from markupsafe import Markup

from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill
from imagenets.tiers import BUCKET_LIMITS, BUCKETS


def _render(run: RunFiles) -> Markup:
    empty = run.scores.get("empty", [])

    def value(name: str) -> float | None:
        return None if name in empty else run.scores[name]

    limits = [0, *BUCKET_LIMITS, 100]
    rows = [
        (name, f"{low} to {high} %", value(name), value(f"B{name}"))
        for name, low, high in zip(BUCKETS, limits, limits[1:], strict=False)
    ]
    return fill("sections/sizes.html", rows=rows)


SECTION = Section("Object sizes", _render)
