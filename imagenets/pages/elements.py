"""What sections are made of: tables, plots and pictures, as text inside the page."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE = 160
"""Longest side of a picture on the page, pixels."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def plot(xs: Sequence[float], ys: Sequence[float], title: str) -> str:
    """Draws one line as SVG, 340 x 200 pixels, with the ends of both axes written out."""
    left, top, width, height = 45, 25, 280, 145
    low, high = min(ys), max(ys)
    spread = (high - low) or 1.0
    reach = (xs[-1] - xs[0]) or 1.0
    points = " ".join(
        f"{left + (x - xs[0]) / reach * width:.1f},{top + (high - y) / spread * height:.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    return (
        f"<svg width='340' height='200'><text x='{left}' y='15'>{html.escape(title)}</text>"
        f"<polyline points='{points}' fill='none' stroke='#4477aa' stroke-width='2'/>"
        f"<text x='2' y='{top + 8}'>{high:.4g}</text>"
        f"<text x='2' y='{top + height}'>{low:.4g}</text>"
        f"<text x='{left}' y='190'>{xs[0]:g}</text>"
        f"<text x='{left + width}' y='190' text-anchor='end'>{xs[-1]:g}</text></svg>"
    )


def embedded(pixels: npt.NDArray[np.uint8]) -> str:
    """A data URI of an H x W x 3 picture, reduced to the size it is shown at."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
