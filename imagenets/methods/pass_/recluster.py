"""Cleaner centroids: k-means goes on from the images nearest to their centroids alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from imagenets.core.distributed import add_up, gather
from imagenets.methods.pass_.kept_images import nearest_share
from imagenets.methods.pass_.points import Points, nearest

ITERATIONS = 20


def recluster(points: Points, centroids: Tensor, share: float) -> Tensor:
    """Moves centroids to the means of the images nearest to them, again and again.

    What lies far out, and is likelier to be in the wrong cluster, no longer draws the centroid to
    itself: trimmed k-means (Cuesta-Albertos, Gordaliza and Matran, Annals of Statistics 1997), here
    with the same share of every cluster.

    Args:
        points: Of all ranks.
        centroids: k x F float32, of k-means over all points.
        share: Of the images of each cluster, above 0 and at most 1.

    Returns:
        k x F float32; an empty cluster stays where it was.
    """
    for _ in range(ITERATIONS):
        labels, distances = nearest(points.own, centroids)
        everyone = gather((labels.cpu().numpy(), distances.cpu().numpy()))
        clusters, away = (np.concatenate(parts) for parts in zip(*everyone, strict=True))
        own = slice(points.first, points.first + len(labels))
        picked = torch.from_numpy(nearest_share(clusters, away, share)[own]).to(labels.device)
        sums, counts = _sums(points, labels, picked, torch.zeros_like(centroids))
        moved = sums / counts.clamp(min=1)[:, None]
        centroids = torch.where(counts[:, None] > 0, moved, centroids)
    return centroids


def _sums(points: Points, labels: Tensor, picked: Tensor, sums: Tensor) -> tuple[Tensor, Tensor]:
    """The picked points of each cluster: their sums, k x F, and their numbers, over all ranks."""
    lengths = [len(chunk) for chunk in points.own]
    parts = zip(points.own, labels.split(lengths), picked.split(lengths), strict=True)
    for rows, label, chosen in parts:
        chunk = rows.to(sums.device, torch.float32)
        sums.index_add_(0, label, chunk * chosen[:, None])
    counts = torch.bincount(labels[picked], minlength=len(sums))
    return add_up(sums), add_up(counts)
