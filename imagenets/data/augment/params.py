"""What is drawn for every view, and from what; see `draw`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from imagenets.pixels.resample import Mode

TRIES = 10
"""How often a crop is drawn before the central one is taken."""

# how the four colour operations are numbered in `Params.order` and `Params.factors`
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@dataclass(frozen=True, slots=True)
class ViewGroup:
    """How the views of one size are drawn; the defaults are the recipe of PASS.

    Attributes:
        views: Number of views.
        size: Side of the square output, pixels.
        scale: Range of the crop's share of the image area.
        ratio: Range of width / height, uniform in the logarithm.
        flip_probability: Probability of a horizontal flip.
        jitter: Largest change of brightness, contrast, saturation (factors) and hue (turns).
        jitter_probability: Of all four colour operations together.
        gray_probability: Probability of grayscale.
        blur_probability: Probability of a Gaussian blur.
        sigma: Range of its standard deviation, output pixels.
        solarize_probability: Probability of inverting all values from 128 up.
        mode: The filter that crops are resized with.
        antialias: Whether the filter widens where it shrinks.
    """

    views: int = 2
    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    jitter_probability: float = 0.8
    gray_probability: float = 0.2
    blur_probability: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    solarize_probability: float = 0.0
    mode: Mode = "bilinear"
    antialias: bool = True


@dataclass(frozen=True, slots=True)
class Params:
    """All that decides V views of N images; the first two dimensions are always V x N.

    The tensors are on the CPU, wherever the views are made: shapes of the work are known there
    without asking a device. `torch.save(dataclasses.asdict(params), path)` stores them,
    `Params(**torch.load(path))` replays them.

    Attributes:
        boxes: int64 x 4, crop as left, top, width, height in image pixels.
        flips: bool.
        jitters: bool, whether the colour operations are applied.
        factors: float32 x 4, brightness, contrast, saturation factor, hue shift in turns.
        order: int64 x 4, which operation comes first, second, ...
        greys: bool.
        solarises: bool.
        sigmas: float32, output pixels, 0 = no blur.
        size: Side of the output, pixels.
        mode: The filter of the resampling.
        antialias: Whether the filter widens where it shrinks.
    """

    boxes: Tensor
    flips: Tensor
    jitters: Tensor
    factors: Tensor
    order: Tensor
    greys: Tensor
    solarises: Tensor
    sigmas: Tensor
    size: int
    mode: Mode = "bilinear"
    antialias: bool = True


def draw(sizes: Tensor, group: ViewGroup, generator: torch.Generator) -> Params:
    """Draws the parameters of all views of a batch.

    Args:
        sizes: N x 2 int64, width and height of each image.
        group: What to draw.
        generator: On the CPU; the same state gives the same parameters.

    Returns:
        Parameters of V x N views, on the CPU.
    """
    shape = (group.views, len(sizes))

    def uniform(*more: int) -> Tensor:
        return torch.rand(*shape, *more, generator=generator)

    spread = torch.tensor(group.jitter)
    centre = torch.tensor([1.0, 1.0, 1.0, 0.0])
    low = torch.where(centre > 0, (centre - spread).clamp(min=0), -spread)
    high = centre + spread
    low_sigma, high_sigma = group.sigma
    sigmas = low_sigma + (high_sigma - low_sigma) * uniform()
    return Params(
        boxes=draw_boxes(sizes, group, generator),
        flips=uniform() < group.flip_probability,
        jitters=uniform() < group.jitter_probability,
        factors=low + (high - low) * uniform(4),
        order=uniform(4).argsort(-1),
        greys=uniform() < group.gray_probability,
        sigmas=torch.where(uniform() < group.blur_probability, sigmas, 0.0),
        solarises=uniform() < group.solarize_probability,
        size=group.size,
        mode=group.mode,
        antialias=group.antialias,
    )


def draw_groups(
    sizes: Tensor,
    groups: Sequence[ViewGroup],
    generator: torch.Generator,
    rank: int = 0,
    world: int = 1,
) -> list[Params]:
    """Draws the parameters of several groups of views of one batch, one after the other.

    With several ranks, they are drawn for the step of all of them and then shared out: sample i of
    the step is that of rank i % world, as a `Loader` has it, and its views do not depend on how
    many ranks there are.

    Args:
        sizes: N x 2 int64, width and height of each image of this rank.
        groups: What to draw.
        generator: On the CPU, in the same state on all ranks.
        rank: This process among `world`.
        world: Number of processes that share the step, each with N samples.
    """
    every = sizes.repeat_interleave(world, 0)  # what is drawn for a sample looks at its size alone
    return [_part(draw(every, group, generator), rank, world) for group in groups]


def _part(params: Params, rank: int, world: int) -> Params:
    """Every `world`-th sample."""
    if world == 1:
        return params
    own: dict[str, Any] = {
        field.name: value[:, rank::world].contiguous()
        for field in fields(params)
        if isinstance(value := getattr(params, field.name), Tensor)
    }
    return replace(params, **own)


def draw_boxes(sizes: Tensor, group: ViewGroup, generator: torch.Generator) -> Tensor:
    """Draws RandomResizedCrop boxes, all tries at once; the first that fits counts.

    Args:
        sizes: N x 2 int64, width and height.
        group: Gives views, scale and ratio.
        generator: On the CPU.

    Returns:
        V x N x 4 int64 (left, top, width, height).
    """
    shape = (group.views, len(sizes), TRIES)
    whole = sizes.double()
    area = (whole[:, 0] * whole[:, 1])[:, None]
    share = torch.empty(shape, dtype=torch.float64).uniform_(*group.scale, generator=generator)
    low, high = (math.log(r) for r in group.ratio)
    ratio = torch.empty(shape, dtype=torch.float64).uniform_(low, high, generator=generator).exp()
    width = (area * share * ratio).sqrt().round()
    height = (area * share / ratio).sqrt().round()
    fits = (width > 0) & (height > 0) & (width <= whole[:, :1]) & (height <= whole[:, 1:])
    first = fits.to(torch.uint8).argmax(-1, keepdim=True)
    drawn = torch.cat([width.gather(-1, first), height.gather(-1, first)], -1)
    size = torch.where(fits.any(-1, keepdim=True), drawn, _central(whole, group.ratio))
    room = whole - size
    place = torch.rand(*shape[:2], 2, generator=generator, dtype=torch.float64)
    corner = torch.where(fits.any(-1, keepdim=True), (place * (room + 1)).floor(), room // 2)
    return torch.cat([corner, size], -1).long()


def _central(whole: Tensor, ratio: tuple[float, float]) -> Tensor:
    """The largest width and height of an allowed ratio, N x 2."""
    width, height = whole.unbind(-1)
    narrow = torch.minimum(width, (height * ratio[1]).round())
    low = torch.minimum(height, (width / ratio[0]).round())
    return torch.stack([narrow, low], -1)
