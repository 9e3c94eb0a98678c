"""Every measure of the maps, beside what maps reach that see nothing, and the target itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from imagenets.evaluation.localization.baselines import BASELINES
from imagenets.evaluation.localization.measures import MEASURES
from imagenets.evaluation.localization.metrics import LocalizationMetrics
from imagenets.pages.heatmaps import HeatMaps
from imagenets.pages.templating import Section, fill

_POOLED = {
    "average_precision": "average precision",
    "roc_auc": "area under the ROC curve",
    "iou": "IoU at the best threshold of all",
}


def _render(measured: HeatMaps) -> Markup:
    own = measured.maps
    columns = [own, *measured.baselines.values()]

    def rows(names: dict[str, str], value: Callable[[LocalizationMetrics, str], float]) -> Any:
        return [(text, [value(one, name) for one in columns]) for name, text in names.items()]

    tables = [("Mean over images", rows(MEASURES, lambda one, name: one.mean[name]))]
    if own.macro:
        macros = rows(MEASURES, lambda one, name: one.macro[name])
        tables.append(("Mean over classes of the mean over their images", macros))
    pooled = rows(_POOLED, lambda one, name: float(getattr(one.pooled, name)))
    tables.append((f"All {own.pooled.pixels:,} pixels together", pooled))
    return fill(
        "localizing/measures.html",
        titles=["maps", *(BASELINES.get(name, name) for name in measured.baselines)],
        tables=tables,
        intervals=measured.intervals or {},
        level=100 * measured.level,
        notes=_notes(own),
    )


def _notes(own: LocalizationMetrics) -> list[str]:
    told = {
        "are constant: they point nowhere": own.constant,
        "hold infinite values": own.infinite,
        "have no value above 0: their energy counts 0": own.without_energy,
    }
    return [f"{number:,} maps {what}." for what, number in told.items() if number]


SECTION = Section("Measures", _render)
