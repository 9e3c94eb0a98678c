"""Images with their heat maps: the best, the median and the worst."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from imagenets.evaluation.localization.metrics import ImageTable
from imagenets.masks import IGNORED
from imagenets.pages import pictures
from imagenets.pages.heatmaps import HeatMaps
from imagenets.pages.pictures import Card, Picture
from imagenets.pages.sections.gallery import EACH, chosen
from imagenets.pages.templating import Section, fill

ORDER = "average_precision"
"""The measure by which images are ranked."""


def _render(measured: HeatMaps) -> Markup:
    table = measured.maps.per_image
    values = table.values[ORDER]
    places = np.flatnonzero(~np.isnan(values))
    ranked = places[np.argsort(values[places], kind="stable")].tolist()
    groups = [
        (title, [_card(measured, table, place) for place in part])
        for title, part in chosen(ranked, EACH).items()
    ]
    return fill("localizing/gallery.html", groups=groups)


def _card(measured: HeatMaps, table: ImageTable, place: int) -> Card:
    name, number = table.names[place], int(table.target_ids[place])
    seen = measured.see(name)
    ids = np.where(seen.target == 1, number, np.where(seen.target == 0, 0, IGNORED))
    label = _name(measured, number)
    low, high = float(seen.heat.min()), float(seen.heat.max())
    shown: Sequence[Picture] = [
        Picture("photograph", pictures.photograph(seen.photo), f"photograph {name}"),
        Picture("object of the label", pictures.mask(ids), f"target of {name}", True),
        Picture(f"{low:.3g} to {high:.3g}", pictures.heat(seen.heat, seen.photo), f"map of {name}"),
    ]
    pointing = table.values["pointing_game"][place]
    measures = f"average precision {table.values[ORDER][place]:.1f}, pointing game {pointing:.0f}"
    return Card(name, measures, shown, pictures.legend([ids], {number: label}))


def _name(measured: HeatMaps, number: int) -> str:
    table = measured.maps.classes
    if table is None or not table.names or not number:
        return "the object"
    return table.names[int(np.searchsorted(table.ids, number))]


SECTION = Section("Images", _render)
