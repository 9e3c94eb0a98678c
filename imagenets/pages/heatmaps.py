"""One HTML page of heat maps that were measured; a new section is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.files import write_file
from imagenets.evaluation.bootstrap import Interval
from imagenets.evaluation.localization.metrics import LocalizationMetrics
from imagenets.pages.templating import page

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        name: f"imagenets.pages.localizing.{name}:SECTION"
        for name in ("measures", "classes", "gallery")
    }
)
"""Name -> `module:SECTION`, in the order of the page."""


@dataclass(frozen=True)
class Shown:
    """An image with its heat map, as the view shows them.

    Attributes:
        photo: H x W x 3.
        target: H x W uint8: 1 the object, 0 not, 255 ignored.
        heat: H x W numbers.
    """

    photo: npt.NDArray[np.uint8]
    target: npt.NDArray[np.uint8]
    heat: npt.NDArray[Any]


@dataclass(frozen=True)
class HeatMaps:
    """Measured heat maps.

    Attributes:
        maps: How well they do.
        baselines: How well maps do that see nothing, and the target itself, by name.
        intervals: Bootstrap intervals by name of the measure; None: not asked for.
        level: Of these intervals.
        wnids: WordNet ids of the classes 1..K.
        see: Gives an image by its name.
    """

    maps: LocalizationMetrics
    baselines: Mapping[str, LocalizationMetrics]
    intervals: Mapping[str, Interval] | None
    level: float
    wnids: tuple[str, ...]
    see: Callable[[str], Shown]


def write_heatmaps(measured: HeatMaps, source: str, view: str | None, path: Path) -> Path:
    """Writes the page of measured heat maps.

    Args:
        measured: What came of measuring.
        source: Where the maps lie, for the title.
        view: Name of the view; None: whole images.
        path: Where the page is written.

    Returns:
        The page, a single file that needs no other.
    """
    own = measured.maps
    facts = (
        view or "whole images",
        f"{own.images:,} images",
        f"{own.without_target:,} without their object, in no average",
    )
    write_file(path, page(f"Heat maps: {source}", facts, SECTIONS, measured, "In percent."))
    return path
