"""Masks that follow the edges of their image: pixel-adaptive refinement, without training.

Araslanov and Roth, "Single-Stage Semantic Segmentation from Image Labels", CVPR 2020,
arXiv:2005.08104. Written from its equations.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

RATES = (1, 2, 4, 8, 12, 24)
"""Dilations of the 3x3 neighbourhoods, pixels, as published."""

LABEL_STRIDE = 4
"""Pixels from one place to the next of refined labels: a file of pixels would be too large."""

LABEL_RATES = (1, 2, 3, 6)
"""The published 4, 8, 12 and 24 pixels, on that grid."""

_SMALLEST = 1e-6
"""Added to a variance: below what 8 bits a channel can show."""

_Offset = tuple[int, int]


def refine(image: Tensor, maps: Tensor, iterations: int, rates: Sequence[int] = RATES) -> Tensor:
    """Moves maps towards the edges of an image, step by step.

    Each step makes a pixel the mean of its neighbours, weighted by how alike they look: the weights
    are the softmax over the neighbours of the mean over the channels of -|x - x'| / s^2, where s is
    the standard deviation of the image among them. Beyond the border the last pixel is repeated.
    Memory: one map a neighbour (8 for each rate) beside those given.

    Args:
        image: C x H x W float32, 0..1.
        maps: P x H x W float32, such as the probabilities of the classes that are there.
        iterations: Steps; 10 as published.
        rates: Distances of the neighbours, pixels.

    Returns:
        P x H x W, each value within the range of its map.
    """
    offsets = [
        (rate * down, rate * right)
        for rate in rates
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
        if down or right
    ]
    weights = _weights(image, offsets)
    for _ in range(iterations):
        refined = torch.zeros_like(maps)
        for weight, neighbours in zip(weights, _moved(maps, offsets), strict=True):
            refined.addcmul_(neighbours, weight)
        maps = refined
    return maps


def refined_labels(
    image: Tensor, ids: Tensor, attention: Tensor, iterations: int
) -> tuple[Tensor, Tensor]:
    """Refines the label of an image: its ids and its attention, on a grid of `LABEL_STRIDE`.

    Args:
        image: 3 x H x W uint8.
        ids: h x w int64.
        attention: h x w, 0..1.
        iterations: Steps.

    Returns:
        Ids and attention of H / 4 x W / 4, rounded up.
    """
    size = [-(-side // LABEL_STRIDE) for side in image.shape[1:]]
    there, places = ids.unique(return_inverse=True)
    parts = F.one_hot(places, len(there)).permute(2, 0, 1).to(attention.dtype)
    maps = F.interpolate(
        torch.cat([attention[None], parts])[None], size, mode="bilinear", align_corners=False
    )[0]
    small = F.interpolate(image[None].float() / 255, size, mode="area")[0]
    level, *shares = refine(small, maps.float(), iterations, LABEL_RATES)
    return there[torch.stack(shares).argmax(0)], level


def _weights(image: Tensor, offsets: Sequence[_Offset]) -> Tensor:
    """How alike the neighbours at some offsets look: offsets x H x W, a sum of one a pixel."""
    total, squares = image.clone(), image.square()
    for neighbours in _moved(image, offsets):
        total += neighbours
        squares += neighbours.square()
    mean = total / (len(offsets) + 1)
    variance = squares / (len(offsets) + 1) - mean.square()
    divisor = variance.clamp(min=0) + _SMALLEST
    alike = [-((image - other).abs() / divisor).mean(0) for other in _moved(image, offsets)]
    return torch.stack(alike).softmax(0)


def _moved(maps: Tensor, offsets: Sequence[_Offset]) -> Iterator[Tensor]:
    """Views of maps, each moved so that a neighbour lies at the place of every pixel."""
    reach = max(max(map(abs, offset)) for offset in offsets)
    height, width = maps.shape[1:]
    wide = F.pad(maps[None], (reach,) * 4, mode="replicate")[0]
    for down, right in offsets:
        top, left = reach + down, reach + right
        yield wide[:, top : top + height, left : left + width]
