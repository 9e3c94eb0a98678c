"""The validation images on which the runs differ most."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from imagenets.evaluation.tables import ImageRow
from imagenets.pages import pictures
from imagenets.pages.comparison import Pair
from imagenets.pages.pictures import Card, Picture
from imagenets.pages.templating import Section, fill

EACH = 8
"""Images for each run."""


def _render(pair: Pair) -> Markup:
    rows = [(a, b) for a, b in pair.images if not np.isnan(a.iou)]
    ranked = sorted(rows, key=lambda both: (both[1].iou - both[0].iou, both[0].name))
    chosen = {
        "B is better": [(a, b) for a, b in ranked[::-1][:EACH] if b.iou > a.iou],
        "A is better": [(a, b) for a, b in ranked[:EACH] if a.iou > b.iou],
    }
    groups = [(title, [_card(pair, a, b) for a, b in both]) for title, both in chosen.items()]
    return fill("comparing/gallery.html", groups=groups)


def _card(pair: Pair, a: ImageRow, b: ImageRow) -> Card:
    sample = pair.a.data[pair.a.index[a.name]]
    truth = sample["mask"].numpy()
    guesses = {letter: run.predicted(a.name) for letter, run in pair.runs.items()}
    photo = pictures.photograph(sample["image"].permute(1, 2, 0).numpy())
    shown = [
        Picture("photograph", photo, f"photograph {a.name}"),
        Picture("ground truth", pictures.mask(truth), f"ground truth of {a.name}", True),
        *(
            Picture(letter, pictures.mask(ids), f"prediction of {letter} for {a.name}", True)
            for letter, ids in guesses.items()
        ),
    ]
    measures = f"IoU A {a.iou:.1f}, B {b.iou:.1f}"
    legend = pictures.legend([truth, *guesses.values()], pair.a.names)
    return Card(a.name, measures, shown, legend)


SECTION = Section("Images", _render)
