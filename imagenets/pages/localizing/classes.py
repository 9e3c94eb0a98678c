"""The measures of each class."""

from __future__ import annotations

from markupsafe import Markup

from imagenets.evaluation.localization.measures import MEASURES
from imagenets.pages.heatmaps import HeatMaps
from imagenets.pages.sections.classes import described
from imagenets.pages.templating import Section, fill


def _render(measured: HeatMaps) -> Markup:
    table = measured.maps.classes
    rows = (
        []
        if table is None
        else [
            {
                "id": number,
                "wnid": measured.wnids[number - 1],
                "name": table.names[place] if table.names else measured.wnids[number - 1],
                "images": int(table.images[place]),
                "values": [float(table.values[name][place]) for name in MEASURES],
                **described(measured.wnids[number - 1]),
            }
            for place, number in enumerate(table.ids.tolist())
        ]
    )
    return fill("localizing/classes.html", rows=rows, measures=MEASURES)


SECTION = Section("Classes", _render)
