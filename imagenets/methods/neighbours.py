"""Nearest neighbours among features of labelled pixels: distance matching of the benchmark.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", arXiv:2106.03149: nothing is trained.
Each id of each labelled image gives one reference vector; a pixel gets the id for which its nearest
references vote.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.errors import UsageError
from imagenets.masks import IGNORED

AT_ONCE = 1 << 24
"""Similarities that are held at a time (64 MiB), beside a few temporary copies of them."""


@dataclass(frozen=True, slots=True)
class References:
    """What pixels are compared with.

    Attributes:
        vectors: R x F float32, L2-normalised.
        ids: R int64, the id that each is of; 0 is background.
    """

    vectors: Tensor
    ids: Tensor


def upsampled(maps: Tensor, factor: int) -> Tensor:
    """Enlarges N x F x h x w maps so many times, bilinear (align_corners=False)."""
    if factor == 1:
        return maps
    return F.interpolate(maps, scale_factor=float(factor), mode="bilinear", align_corners=False)


def reference_vectors(maps: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The reference vectors of one image: one for each id in its mask, ignored pixels left out.

    Args:
        maps: F x H x W features.
        ids: H x W integers on the same device, the mask reduced to the map's size.

    Returns:
        U x F vectors, not normalised: the mean over all positions of features times (mask is id);
        and U int64 ids, ascending.
    """
    found = torch.unique(ids)
    found = found[found != IGNORED]
    inside = (ids.flatten() == found[:, None]).to(maps.dtype)
    return inside @ maps.flatten(1).t() / ids.numel(), found.long()


def nearest_ids(
    maps: Tensor,
    references: References,
    *,
    k: int = 10,
    temperature: float = 0.07,
    factor: int = 4,
    at_once: int = AT_ONCE,
) -> Tensor:
    """Gives each position of enlarged maps the id for which its nearest references vote.

    The k references of the largest cosine each vote exp(cosine / temperature) for their id. Cosines
    are linear in the features before these are normalised, so that they are computed on the small
    maps and enlarged, which costs factor**2 times less than comparing every enlarged position.

    Args:
        maps: N x F x h x w features.
        references: What they are compared with, on the same device.
        k: References that vote.
        temperature: Of their votes.
        factor: How many times the maps are enlarged, bilinear.
        at_once: Similarities that are held at a time: references are gone through in chunks.

    Returns:
        N x factor * h x factor * w int64 ids.

    Raises:
        UsageError: There are fewer than k references, or a number is out of range.
    """
    check(k, temperature, factor)
    if len(references.ids) < k:
        raise UsageError(
            f"there are {len(references.ids)} reference vectors, fewer than k = {k}: choose a "
            "smaller k."
        )
    norms = enlarged_norms(maps, factor)[..., None].clamp(min=1e-12)
    small = maps.permute(0, 2, 3, 1)
    chunk = max(k, at_once // norms.numel())
    best, nearest = norms.new_empty(*norms.shape[:3], 0), norms.new_empty(*norms.shape[:3], 0)
    for first in range(0, len(references.ids), chunk):
        part = references.vectors[first : first + chunk]
        cosines = upsampled((small @ part.t()).permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)
        top, where = cosines.topk(min(k, len(part)), dim=-1)
        best, ids = torch.cat([best, top], -1), references.ids[first + where]
        nearest = ids if not first else torch.cat([nearest, ids], -1)
        if best.shape[-1] > k:
            best, where = best.topk(k, dim=-1)
            nearest = nearest.gather(-1, where)
    return _elected(best / norms, nearest, temperature)


def enlarged_norms(maps: Tensor, factor: int) -> Tensor:
    """The L2 norms over channels of `upsampled(maps, factor)`, without making these.

    Rows are enlarged alone; what lies between two rows a and b, a share t of the way, has the
    squared norm (1 - t)**2 a.a + 2 t (1 - t) a.b + t**2 b.b.

    Args:
        maps: N x F x h x w.
        factor: How many times they are enlarged.

    Returns:
        N x factor * h x factor * w.
    """
    rows = F.interpolate(
        maps, scale_factor=(1.0, float(factor)), mode="bilinear", align_corners=False
    )
    count = maps.shape[2]
    squares = rows.square().sum(1)
    products = (rows[:, :, :-1] * rows[:, :, 1:]).sum(1)
    products = torch.cat([products, squares[:, -1:]], 1)  # below the last row comes itself
    steps = torch.arange(factor * count, device=maps.device, dtype=maps.dtype)
    place = ((steps + 0.5) / factor - 0.5).clamp(min=0)
    upper = place.long()
    lower = (upper + 1).clamp(max=count - 1)
    t = (place - upper)[:, None]
    found = (1 - t) ** 2 * squares[:, upper] + 2 * t * (1 - t) * products[:, upper]
    norms: Tensor = (found + t**2 * squares[:, lower]).clamp(min=0).sqrt()
    return norms


def check(k: int, temperature: float, factor: int) -> None:
    """Refuses numbers that mean nothing.

    Raises:
        UsageError: With what may be given.
    """
    for what, value in (("k", k), ("the factor of enlarging", factor)):
        if value < 1:
            raise UsageError(f"{what} is {value}: at least 1 is needed.")
    if not temperature > 0:
        raise UsageError(f"the temperature is {temperature}: give a number above 0.")


def _elected(cosines: Tensor, ids: Tensor, temperature: float) -> Tensor:
    """The id with most votes, N x H x W, of N x H x W x k neighbours; of equal ones the lowest."""
    highest = cosines.amax(-1, keepdim=True)
    votes = ((cosines - highest) / temperature).exp()  # a common factor keeps them from overflowing
    sums = votes.new_zeros(*ids.shape[:3], int(ids.max()) + 1).scatter_add_(-1, ids, votes)
    return sums.argmax(-1)
