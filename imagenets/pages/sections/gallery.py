"""Validation images: the best, the median and the worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from markupsafe import Markup

from imagenets.evaluation.tables import ImageRow
from imagenets.pages import pictures
from imagenets.pages.pictures import Card, Picture
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill
from imagenets.pixels.grids import level_of_grid

T = TypeVar("T")

EACH = 8
"""Images of each kind."""


def _render(run: RunFiles) -> Markup:
    scored = [row for row in run.images if not np.isnan(row.iou)]
    groups = [
        (title, [_card(run, row) for row in rows]) for title, rows in chosen(scored, EACH).items()
    ]
    return fill("sections/gallery.html", groups=groups, foreground=run.labels and run.foreground)


def chosen(rows: Sequence[T], each: int) -> dict[str, list[T]]:
    """The best, the median and the worst of some images, no image twice.

    Args:
        rows: The worst first.
        each: At most so many of each.
    """
    count = max(1, min(each, len(rows) // 3))
    if len(rows) < 3:
        return {"Images": list(rows[::-1])}
    middle = (len(rows) - count) // 2
    return {
        "Best": list(rows[::-1][:count]),
        "Median": list(rows[middle : middle + count][::-1]),
        "Worst": list(rows[:count]),
    }


def _card(run: RunFiles, row: ImageRow) -> Card:
    index = run.index[row.name]
    sample = run.data[index]
    photo = sample["image"].permute(1, 2, 0).numpy()
    truth, pred = sample["mask"].numpy(), run.predicted(row.name)
    shown = [
        Picture("photograph", pictures.photograph(photo), f"photograph {row.name}"),
        Picture("ground truth", pictures.mask(truth), f"ground truth of {row.name}", True),
        Picture("prediction", pictures.mask(pred), f"prediction for {row.name}", True),
    ]
    if run.labels is not None:
        kept = run.labels.grid(int(run.data.rows[index]), row.name)
        level = level_of_grid(kept.attention, kept.size)
        heat = pictures.heat(level, photo)
        ends = f"{run.foreground} {level.min():.2f} to {level.max():.2f}"
        shown.append(Picture(ends, heat, f"{run.foreground} for {row.name}"))
    measures = f"IoU {row.iou:.1f}, F-measure {row.fmeasure:.1f}"
    return Card(row.name, measures, shown, pictures.legend([truth, pred], run.names))


SECTION = Section("Images", _render)
