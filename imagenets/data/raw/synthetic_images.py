"""Draws the images of the synthetic set: textured objects on cluttered backgrounds.

Every function takes its random numbers from the generator it is given, so that an image is a
function of the generator's seed.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from imagenets.masks import IGNORED

Pixels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.floating[Any]]  # float32 in fact
Outline = Callable[[np.random.Generator, Field], Field]
Texture = Callable[[np.random.Generator, Field, Field], Field]


@dataclass(frozen=True, slots=True)
class SyntheticImage:
    """An image, H x W x 3 uint8, and its mask, H x W uint16 (0 background, 1000 ignored)."""

    rgb: Pixels
    ids: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class Category:
    """What the objects of a class have in common.

    Attributes:
        outline: Angle -> radius, of a mean radius near one: the family of shapes.
        texture: Coordinates in periods -> 0..1, the mix of the two colours.
        period: Length of a period in pixels, at an object radius of 50 pixels.
        hues: Mean hues of the two colours, 0..1.
        hole: Inner radius over outer radius, 0 for a full shape.
    """

    outline: Outline
    texture: Texture
    period: float
    hues: tuple[float, float]
    hole: float = 0.0


def draw(rng: np.random.Generator, category: int, second: int | None = None) -> SyntheticImage:
    """Draws one image.

    Args:
        rng: Decides everything else: sizes, places, colours, clutter.
        category: Index into `CATEGORIES` of the object, whose id is `category + 1`.
        second: Category of another object beside it; always the smaller of the two.

    Returns:
        The image (96 to 320 pixels a side) and its mask.
    """
    width, height = _size(rng)
    canvas = _background(rng, width, height)
    ids = np.zeros((height, width), np.uint16)
    share = float(rng.uniform(0.12, 0.55))  # of the image's area
    if second is None:
        centre = rng.uniform(0.32, 0.68, 2)
        _place(rng, canvas, ids, category, centre, share)
    else:
        side = 1.0 if rng.random() < 0.5 else -1.0
        centre = np.array([0.5 - 0.18 * side, rng.uniform(0.4, 0.6)])
        _place(rng, canvas, ids, category, centre, max(share, 0.25))
        beside = np.array([0.5 + 0.33 * side, rng.uniform(0.25, 0.75)])
        _place(rng, canvas, ids, second, beside, float(rng.uniform(0.07, 0.1)))
    canvas *= rng.uniform(0.85, 1.12)  # exposure
    canvas += rng.normal(0, rng.uniform(2, 7), canvas.shape[1:]).astype(np.float32)
    return SyntheticImage(_interleaved(canvas), ids)


def _size(rng: np.random.Generator) -> tuple[int, int]:
    area, aspect = rng.uniform(130, 250) ** 2, float(np.exp(rng.normal(0.15, 0.25)))
    sides = np.sqrt([area * aspect, area / aspect]).clip(96, 320)
    return int(sides[0]), int(sides[1])


def _noise(rng: np.random.Generator, width: int, height: int, across: float) -> Field:
    """Smooth noise, H x W in 0..1, about `across` bumps along the longer side."""
    cell = max(width, height) / across
    grid = rng.random((max(2, round(height / cell)), max(2, round(width / cell))), np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def _colour(rng: np.random.Generator, hue: float, saturation: float, value: float) -> Field:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32) * 255


def _any_colour(rng: np.random.Generator) -> Field:
    return _colour(rng, rng.random(), rng.uniform(0.1, 0.7), rng.uniform(0.2, 0.95))


def _background(rng: np.random.Generator, width: int, height: int) -> Field:
    """Several soft colours, stained and scratched; three planes, which NumPy is fastest with."""
    canvas = np.empty((3, height, width), np.float32)
    canvas[:] = _any_colour(rng)[:, None, None]
    for across in (2.5, 4.0, 9.0, 22.0):
        weight = _noise(rng, width, height, across * rng.uniform(0.8, 1.25))
        weight = ((weight - 0.5) * 2).clip(0, 1) * (1.0 if across < 5 else 0.6)
        canvas += weight * (_any_colour(rng)[:, None, None] - canvas)
    clutter = Image.fromarray(_interleaved(canvas))
    pen = ImageDraw.Draw(clutter, "RGBA")
    for _ in range(int(rng.integers(6, 14))):
        pen.polygon(_scrap(rng, width, height), (*_bytes(_any_colour(rng)), _alpha(rng, 40, 150)))
    for _ in range(int(rng.integers(6, 18))):
        ends = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
        thick = int(rng.integers(1, 4))
        ink = (*_bytes(_any_colour(rng)), _alpha(rng, 40, 130))
        pen.line([tuple(end) for end in ends.tolist()], ink, thick)
    return np.asarray(clutter).transpose(2, 0, 1).astype(np.float32, order="C")


def _interleaved(canvas: Field) -> Pixels:
    return np.ascontiguousarray(canvas.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def _scrap(rng: np.random.Generator, width: int, height: int) -> list[tuple[float, float]]:
    corners = int(rng.integers(3, 7))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radius = rng.uniform(0.04, 0.2) * min(width, height) * rng.uniform(0.5, 1.4, corners)
    centre = rng.random(2) * (width, height)
    xs, ys = centre[0] + radius * np.cos(angles), centre[1] + radius * np.sin(angles)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _bytes(colour: Field) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in colour)
    return red, green, blue


def _alpha(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high))


def _place(
    rng: np.random.Generator,
    canvas: Field,
    ids: npt.NDArray[np.uint16],
    category: int,
    centre: npt.NDArray[np.float64],
    share: float,
) -> None:
    """Paints one object of `share` of the image's area over canvas and ids, in place."""
    kind = CATEGORIES[category]
    height, width = ids.shape
    size = float(np.sqrt(share * width * height / np.pi / (1 - kind.hole**2)))
    x = np.arange(width, dtype=np.float32)[None] - np.float32(centre[0] * width)
    y = np.arange(height, dtype=np.float32)[:, None] - np.float32(centre[1] * height)
    turn = float(rng.uniform(0, 2 * np.pi))
    angle, radius = np.arctan2(y, x) - np.float32(turn), np.hypot(x, y)
    edge = kind.outline(rng, angle) * np.float32(size)
    inside = edge - radius  # pixels to the edge, along the ray
    if kind.hole:
        inside = np.minimum(inside, radius - edge * np.float32(kind.hole))
    alpha = (inside + 0.5).clip(0, 1)

    period = kind.period * (size / 50) ** 0.6 * rng.uniform(0.85, 1.2)
    lean = float(rng.normal(0, 0.35))  # textures keep roughly upright, shapes turn freely
    cos, sin = np.float32(np.cos(lean) / period), np.float32(np.sin(lean) / period)
    mix = kind.texture(rng, x * cos + y * sin, y * cos - x * sin)
    first, last = (colour[:, None, None] for colour in _palette(rng, kind))
    paint = first + mix * (last - first)
    light = rng.normal(0, 0.22, 2) / size
    shade = 1 + x * np.float32(light[0]) + y * np.float32(light[1])
    shade *= 1 - 0.35 * (1 - inside / np.float32(0.35 * size)).clip(0, 1) ** 2  # rounded rim
    paint *= shade.clip(0.3, 1.5)
    canvas += alpha * (paint - canvas)

    ids[alpha >= 0.5] = category + 1
    if rng.random() < 0.3:  # an uncertain border, as annotators leave it
        ids[np.abs(inside) < 1.5] = IGNORED


def _palette(rng: np.random.Generator, kind: Category) -> tuple[Field, Field]:
    """A dark and a light colour near the category's hues; sometimes of any hue at all."""
    stray = rng.random() if rng.random() < 0.12 else 0.0
    dark, light = (hue + stray + rng.normal(0, 0.03) for hue in kind.hues)
    return (
        _colour(rng, dark, rng.uniform(0.5, 0.95), rng.uniform(0.2, 0.5)),
        _colour(rng, light, rng.uniform(0.2, 0.75), rng.uniform(0.7, 1.0)),
    )


def _ellipse(rng: np.random.Generator, angle: Field) -> Field:
    flat = np.float32(rng.uniform(0.5, 0.85))
    edge: Field = flat**0.5 / np.sqrt((flat * np.cos(angle)) ** 2 + np.sin(angle) ** 2)
    return edge


def _star(rng: np.random.Generator, angle: Field) -> Field:
    points, depth = int(rng.integers(4, 7)), np.float32(rng.uniform(0.2, 0.3))
    wave = np.arccos(np.cos(points * angle) * np.float32(0.999)) / np.float32(np.pi)
    return np.float32(1.0) + depth - 2 * depth * wave  # straight-edged, one tip a point


def _blob(rng: np.random.Generator, angle: Field) -> Field:
    edge = np.ones_like(angle)
    for waves in (2, 3, 4, 5):
        size, phase = rng.uniform(0.02, 0.32 / waves), rng.uniform(0, 2 * np.pi)
        edge += np.float32(size) * np.cos(waves * angle + np.float32(phase))
    return edge


def _polygon(corners: int) -> Outline:
    def outline(rng: np.random.Generator, angle: Field) -> Field:
        half = np.float32(np.pi / corners)
        stretch = np.float32(rng.uniform(0.0, 0.15))
        edge = np.cos(half) / np.cos(np.mod(angle, 2 * half) - half)
        scale = np.float32(np.sqrt(np.pi / (corners * np.sin(np.pi / corners))))
        wobble: Field = edge * scale**2 * (1 + stretch * np.cos(2 * angle))
        return wobble

    return outline


def _stripes(rng: np.random.Generator, u: Field, v: Field) -> Field:
    bend = np.float32(rng.uniform(0.1, 0.5))
    return _soft(np.sin(2 * np.pi * u + bend * np.sin(1.7 * v)), 2.0)


def _checks(rng: np.random.Generator, u: Field, v: Field) -> Field:
    shift = np.float32(rng.random())
    return _soft(np.sin(np.pi * (u + shift)) * np.sin(np.pi * v), 4.0)


def _dots(rng: np.random.Generator, u: Field, v: Field) -> Field:
    row = np.floor(v)
    across = u + 0.5 * np.mod(row, 2)
    distance = np.hypot(across - np.floor(across) - 0.5, v - row - 0.5)
    return _soft(np.float32(rng.uniform(0.27, 0.33)) - distance, 8.0)


def _rings(rng: np.random.Generator, u: Field, v: Field) -> Field:
    centre = rng.normal(0, 1.0, 2).astype(np.float32)
    return _soft(np.sin(2 * np.pi * np.hypot(u - centre[0], v - centre[1])), 2.0)


def _bricks(rng: np.random.Generator, u: Field, v: Field) -> Field:
    row = np.floor(v)
    along = (u + np.mod(row, 2)) / 2
    joint = np.minimum(2 * _to_edge(along), _to_edge(v))
    return _soft(joint - np.float32(rng.uniform(0.08, 0.12)), 10.0)


def _grain(rng: np.random.Generator, u: Field, v: Field) -> Field:
    height, width = u.shape
    span = max(float(np.ptp(u)), float(np.ptp(v)))
    return _soft(_noise(rng, width, height, 2 * span) - 0.5, 5.0)


def _to_edge(position: Field) -> Field:
    """Distance to the nearest whole number."""
    return np.abs(position - np.round(position))


def _soft(wave: Field, slope: float) -> Field:
    """A step at zero, softened so that it does not alias."""
    return (0.5 + np.float32(slope) * wave).clip(0, 1)


CATEGORIES = (
    Category(_ellipse, _stripes, 15, (0.05, 0.10)),
    Category(_polygon(6), _checks, 12, (0.62, 0.55)),
    Category(_blob, _dots, 17, (0.97, 0.13)),
    Category(_star, _rings, 15, (0.33, 0.20)),
    Category(_polygon(3), _bricks, 14, (0.78, 0.86)),
    Category(_blob, _grain, 9, (0.50, 0.45), hole=0.42),
)
"""The classes of the set: stripes, checks, dots, rings, bricks, grain."""
