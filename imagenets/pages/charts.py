"""Charts as numbers: where lines, ticks and marks lie; `macros.html` draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

WIDTH, HEIGHT = 480, 270
"""Of a chart, in its own units."""

LEFT, RIGHT, TOP, BOTTOM = 56, 14, 12, 44
"""Room around the lines."""

MOST = 500
"""Points of a line; of longer ones some are left out, evenly, but never the last."""


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: For the legend.
        xs: Ascending.
        ys: As many.
        limit: Whether it is a limit to compare with: drawn in dashes.
    """

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    limit: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        """The finite points that are drawn."""
        found = [
            (float(x), float(y)) for x, y in zip(self.xs, self.ys, strict=True) if math.isfinite(y)
        ]
        step = max(1, -(-len(found) // MOST))
        return [*found[::step][:-1], *found[-1:]]


@dataclass(frozen=True)
class Chart:
    """Lines over one axis.

    Attributes:
        title: What it shows.
        x: Name of the horizontal axis, with its unit.
        y: Name of the vertical axis, with its unit.
        series: The lines.
        mark: A place on the horizontal axis and what it is, if one stands out.
        within: Values that the vertical axis holds in any case.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    mark: tuple[float, str] | None = None
    within: Sequence[float] = ()

    @cached_property
    def x_ticks(self) -> list[float]:
        """Where the horizontal axis has numbers: whole ones where all places are, as of epochs."""
        xs = [x for one in self.series for x, _ in one.points]
        found = ticks(*self.x_ends, 6)
        return [x for x in found if x.is_integer()] if all(x.is_integer() for x in xs) else found

    @cached_property
    def y_ticks(self) -> list[float]:
        """Where the vertical axis has numbers; its first and last are its ends."""
        ys = [*self.within, *(y for one in self.series for _, y in one.points)]
        return ticks(min(ys), max(ys), 5, around=True)

    @cached_property
    def x_ends(self) -> tuple[float, float]:
        """Both ends of the horizontal axis."""
        xs = [x for one in self.series for x, _ in one.points]
        low, high = min(xs), max(xs)
        return (low, high) if high > low else (low - 0.5, high + 0.5)

    def at_x(self, value: float) -> float:
        """Where a value of the horizontal axis lies."""
        low, high = self.x_ends
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    def at_y(self, value: float) -> float:
        """Where a value of the vertical axis lies."""
        low, high = self.y_ticks[0], self.y_ticks[-1]
        return round(HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    def line(self, one: Series) -> str:
        """The points of a line, as SVG has them."""
        return " ".join(f"{self.at_x(x)},{self.at_y(y)}" for x, y in one.points)

    @property
    def values(self) -> list[dict[str, object]]:
        """The lines as numbers, for reading values off."""
        return [
            {"name": one.name, "points": [[x, float(f"{y:.4g}")] for x, y in one.points]}
            for one in self.series
        ]

    @property
    def summary(self) -> str:
        """The chart in words, for those who do not see it."""
        told = [
            f"{one.name} {one.points[0][1]:.4g} at first, {one.points[-1][1]:.4g} at last"
            for one in self.series
            if one.points
        ]
        mark = f"; {self.mark[1]}" if self.mark else ""
        return f"{self.title}: {self.y} over {self.x}: {', '.join(told)}{mark}"


def ticks(low: float, high: float, count: int, around: bool = False) -> list[float]:
    """Round numbers between two ends, about as many as asked for.

    Args:
        low: The lower end.
        high: The upper end.
        count: About so many.
        around: Whether the first and the last lie outside the ends, not inside.
    """
    if high <= low:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    raw = (high - low) / max(1, count - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(one for one in (1, 2, 2.5, 5, 10) if one * power >= raw * (1 - 1e-9))
    first, last = (
        (math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9))
        if around
        else (math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9))
    )
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]
