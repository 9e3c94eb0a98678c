"""Sheets of the generated categories: the training images nearest to each centroid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.pages import pictures
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill

THUMBNAILS = 4000
"""Small pictures of all sheets together, about."""

FEWEST, MOST = 4, 8
"""Pictures of one sheet."""


def _render(run: RunFiles) -> Markup:
    lacks = ""
    if run.matched is None:
        lacks = "This run generates no categories: its ids are classes."
    elif not run.nearest:
        lacks = (
            "This run did not keep the images nearest to its centroids. Delete its folder "
            "'cluster' and run that step again (--stages cluster): the centroids stay the same."
        )
    elif run.train is None:
        lacks = "The training images are not prepared here."
    return fill("sections/clusters.html", sheets=[] if lacks else _sheets(run), lacks=lacks)


def _sheets(run: RunFiles) -> list[dict[str, Any]]:
    train, matched = run.train, run.matched
    assert train is not None
    assert matched is not None
    wanted = {name for names in run.nearest.values() for name in names}
    rows = {name: number for number, name in enumerate(train.names) if name in wanted}
    each = min(MOST, max(FEWEST, THUMBNAILS // len(run.data.classes)))
    wnids = ("", *run.data.classes)
    made = []
    for text, names in run.nearest.items():
        category = int(text)
        found = matched.get(category, 0)
        shown = [name for name in names if name in rows][:each]
        own = sum(name.partition("/")[0] == wnids[found] for name in shown)
        made.append(
            {
                "category": category,
                "name": run.names[found],
                "wnid": wnids[found],
                "iou": run.scores["IoUs"][found],
                "own": own,
                "count": len(shown),
                "strip": _strip(train, [rows[name] for name in shown]),
                "width": pictures.STRIP * len(shown),
            }
        )
    return made


def _strip(train: ImageNetS, rows: Sequence[int]) -> str:
    photos = (train[row]["image"].permute(1, 2, 0).numpy() for row in rows)
    return pictures.strip(photos) if rows else ""


SECTION = Section("Generated categories", _render)
