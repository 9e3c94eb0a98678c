"""Which classes are taken for which, by their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup

from imagenets.evaluation.counts import Int64
from imagenets.masks import BACKGROUND
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill

PAIRS = 20
"""Pairs of each kind that are shown."""


def _render(run: RunFiles) -> Markup:
    confusion = run.counted.counts.confusion()[:, :-1]
    classes = confusion.copy()
    classes[BACKGROUND], classes[:, BACKGROUND] = 0, 0
    np.fill_diagonal(classes, 0)
    missed, invented = np.zeros_like(confusion), np.zeros_like(confusion)
    missed[1:, BACKGROUND] = confusion[1:, BACKGROUND]
    invented[BACKGROUND, 1:] = confusion[BACKGROUND, 1:]
    true, predicted = confusion.sum(1, keepdims=True), confusion.sum(0, keepdims=True)
    of_true, of_predicted = ("of true, %", true), ("of predicted, %", predicted)
    tables = [
        (title, share, _pairs(chosen, np.broadcast_to(areas, confusion.shape), run))
        for title, chosen, (share, areas) in (
            ("One class for another", classes, of_true),
            ("Classes that are missed: other is predicted", missed, of_true),
            ("Classes that are predicted where other is", invented, of_predicted),
        )
    ]
    return fill("sections/confusions.html", tables=tables)


def _pairs(chosen: Int64, areas: Int64, run: RunFiles) -> list[dict[str, Any]]:
    """The pairs with most pixels, and what share of an area of each that is."""
    names = run.names
    flat = chosen.reshape(-1)
    order = np.argsort(-flat, kind="stable")[:PAIRS]
    return [
        {
            "true": names[gt],
            "predicted": names[pred],
            "pixels": int(flat[place]),
            "share": 100 * int(flat[place]) / int(areas[gt, pred]),
        }
        for place in order.tolist()
        if flat[place]
        for gt, pred in [divmod(place, chosen.shape[1])]
    ]


SECTION = Section("Confusions", _render)
