"""What pixels are parted from the background by: the attention, or better measures of it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

FOREGROUNDS = ("attention", "sharpened", "saliency")
"""As published; the attention stretched in each image; a normalised cut of the image's features."""

ITERATIONS = 50
"""Of the power method; on ETH-80 ten give the same cut."""


def foreground(kind: str, attention: Tensor, shallow: Tensor) -> Tensor:
    """How much each pixel of a grid is foreground; no kind of it sees a label.

    Args:
        kind: One of `FOREGROUNDS`.
        attention: n x F x h x w, 0..1, of step 2.
        shallow: n x C x h' x w' features of some layer, for `saliency`.

    Returns:
        n x 1 x h x w float, 0..1.
    """
    if kind == "saliency":
        cut = normalised_cut(shallow)[:, None]
        size = attention.shape[2:]
        return stretched(F.interpolate(cut, size, mode="bilinear", align_corners=False))
    mean = attention.mean(1, keepdim=True)
    return stretched(mean) if kind == "sharpened" else mean


def stretched(values: Tensor) -> Tensor:
    """Brings the smallest value of each image to 0 and its largest to 1.

    Attention that hardly leaves 0.5 gets a margin in which a threshold can lie.

    Args:
        values: n x 1 x h x w; an image in which all are equal becomes 0.
    """
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    return (values - low) / (high - low).clamp(min=torch.finfo(values.dtype).tiny)


def normalised_cut(features: Tensor) -> Tensor:
    """Parts each image in two where its features are least alike; the inner part is positive.

    The second eigenvector of the normalised affinities of all patches (Shi and Malik, 2000), as in
    TokenCut (Wang et al., 2022, arXiv:2202.11539) and deep spectral methods (Melas-Kyriazi et al.,
    2022, arXiv:2205.07839), which take the features of a network that was trained without labels.
    Two patches of cosine c have an affinity of (1 + c) / 2. It has no negative eigenvalue, so that
    the power method finds the eigenvector from any start, without the matrix and at a cost linear
    in the patches. The start is the distance from the border, which also gives the sign: what lies
    at the border is background.

    Args:
        features: n x C x h x w.

    Returns:
        n x h x w float32.
    """
    rows: Tensor = F.normalize(features.float().flatten(2))  # n x C x hw
    height, width = features.shape[2:]

    def affine(x: Tensor) -> Tensor:
        cosines = (rows @ x[:, :, None]).transpose(1, 2) @ rows
        total: Tensor = x.sum(1, keepdim=True) + cosines[:, 0]
        return total / 2

    degrees = affine(rows.new_ones(len(rows), height * width))
    first, root = F.normalize(degrees.sqrt()), degrees.rsqrt()
    x = _from_border(height, width).to(rows).expand_as(root)
    for _ in range(ITERATIONS):
        x = root * affine(root * x)
        x = F.normalize(x - first * (first * x).sum(1, keepdim=True))
    cut: Tensor = root * x
    return cut.view(-1, height, width)


def _from_border(height: int, width: int) -> Tensor:
    """Steps from each patch to beyond the border: hw float32, 1 at the border."""
    sides = [torch.arange(1, side + 1).float() for side in (height, width)]
    down, across = (torch.minimum(steps, steps.flip(0)) for steps in sides)
    return torch.minimum(down[:, None], across).flatten()
