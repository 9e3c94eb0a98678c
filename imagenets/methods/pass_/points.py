"""Points that ranks share, their nearest centroids, and starts of k-means that are spread out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from imagenets.core.distributed import add_up, gather, rank


@dataclass(frozen=True)
class Points:
    """The points of all ranks.

    Attributes:
        own: Those of this rank, in chunks of one length; the last one is shorter.
        first: Number of its first one among all.
        total: Number of all.
        device: Where it is worked out.
    """

    own: Sequence[Tensor]
    first: int
    total: int
    device: torch.device

    @classmethod
    def of(cls, own: Sequence[Tensor], device: torch.device) -> Self:
        """Those of all ranks end to end; each rank gives its own."""
        lengths = gather(sum(map(len, own)))
        return cls(own, sum(lengths[: rank()]), sum(lengths), device)

    def rows(self, numbers: Tensor) -> Tensor:
        """Some points of all, as float32 in memory of their own; `numbers` lies on the host."""
        length, last = len(self.own[0]), self.first + sum(map(len, self.own))
        found = torch.zeros(len(numbers), self.own[0].shape[1], device=self.device)
        for place, number in enumerate(numbers.tolist()):
            if self.first <= number < last:
                chunk, row = divmod(number - self.first, length)
                found[place] = self.own[chunk][row]
        return add_up(found)  # of all ranks but one these are zeros

    def worst(self, distances: Tensor, count: int) -> Tensor:
        """Numbers of the points of all with the largest distances; `distances` are of its own."""
        found = distances.topk(min(count, len(distances)))
        shares = gather((found.values.cpu(), found.indices.cpu() + self.first))
        values, numbers = (torch.cat(parts) for parts in zip(*shares, strict=True))
        return numbers[values.argsort(descending=True, stable=True)[:count]]


def nearest(
    points: Sequence[Tensor], centroids: Tensor, sums: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The nearest centroid of each point and the squared distance to it.

    Args:
        points: In chunks of any lengths, as float32 or float16.
        centroids: k x F.
        sums: k x F, to which every point is added in the row of its centroid.

    Returns:
        N labels and N squared distances, float32, on the device of the centroids.
    """
    labels, distances = [], []
    for rows in points:
        chunk = rows.to(centroids.device, torch.float32)
        squares = (chunk**2).sum(1, keepdim=True) + (centroids**2).sum(1)
        distance, label = (squares - 2 * chunk @ centroids.t()).min(1)
        if sums is not None:
            sums.index_add_(0, label, chunk)
        labels.append(label)
        distances.append(distance)
    return torch.cat(labels), torch.cat(distances)


def spread(points: Points, count: int, generator: torch.Generator) -> Tensor:
    """Draws points that lie apart, as k-means++ does (Arthur and Vassilvitskii, 2007).

    Each is drawn in proportion to its squared distance d from those drawn before. Every point gets
    a time of an exponential distribution with mean 1 / d, and the first one is taken. That is the
    same law, and any number of ranks draws the same points.

    Args:
        points: Of all ranks.
        count: How many to draw; one pass over the points for each.
        generator: The same on each rank.

    Returns:
        count x F float32.
    """
    drawn = points.rows(torch.randint(points.total, (1,), generator=generator))
    distances = nearest(points.own, drawn)[1]
    own = slice(points.first, points.first + len(distances))
    while len(drawn) < count:
        times = (
            torch.empty(points.total).exponential_(generator=generator)[own].to(distances.device)
        )
        new = points.rows(points.worst(distances.clamp(min=0) / times, 1))
        drawn = torch.cat([drawn, new])
        distances = torch.minimum(distances, nearest(points.own, new)[1])
    return drawn
