"""Sinkhorn assignments and the three losses of pretraining: i2i, d2s, p2p."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.distributed import add_up, largest, world
from imagenets.methods.pass_.heads import EMBEDDING

ASSIGNED = 2
"""How many crops get assignments: the two views of the first size."""

EPSILON = 0.05
"""Smoothing of the published assignments."""

TEMPERATURE = 0.1
"""Temperature of the softmax over prototypes."""


@torch.no_grad()
def sinkhorn(scores: Tensor, epsilon: float = EPSILON, iterations: int = 3) -> Tensor:
    """Assigns samples to prototypes so that each prototype gets an equal share.

    Sinkhorn-Knopp as in SwAV (Caron et al. 2020, arXiv:2006.09882, section 3). The samples of all
    ranks share the prototypes; the ranks add up M numbers a round.

    Args:
        scores: B x M, any float dtype; of as many samples on each rank.
        epsilon: Smoothing; smaller is sharper.
        iterations: Rounds of row and column normalisation.

    Returns:
        B x M float32 assignments, each row sums to 1.
    """
    q = (scores.float() / epsilon).t()
    q = torch.exp(q - largest(q.max()))  # the common factor cancels and avoids overflow
    m, b = q.shape
    q /= add_up(q.sum())
    for _ in range(iterations):
        q /= add_up(q.sum(1, keepdim=True)) * m
        q /= q.sum(0, keepdim=True) * b
    return (q * b).t()


class Queue:
    """The last embeddings of each assign crop: they join the batch before Sinkhorn.

    Each rank keeps those of its own samples.

    Attributes:
        rows: A x L x 128, newest first; all zero until filled. What a checkpoint held is put here
            before the first step.
    """

    def __init__(self, crops: int, length: int, channels: int, device: torch.device) -> None:
        self.rows = torch.zeros(crops, length, channels, device=device)
        self._filled: list[int] | None = None

    @classmethod
    def of(cls, length: int, batch: int, device: torch.device) -> Queue | None:
        """A queue of about `length` rows, a multiple of the batch; None when that is nothing.

        Args:
            length: Rows of all ranks together.
            batch: Images a step, of all ranks together.
            device: Where it lies.
        """
        length -= length % batch
        return cls(ASSIGNED, length // world(), EMBEDDING, device) if length else None

    def join(self, crop: int, scores: Tensor, prototypes: Tensor) -> Tensor:
        """Puts the scores of the queue above those of the batch, once the queue is full.

        Args:
            crop: Which assign crop.
            scores: n x M scores of the batch.
            prototypes: M x 128 weights.
        """
        if self._counts()[crop] < self.rows.shape[1]:
            return scores
        return torch.cat([F.linear(self.rows[crop], prototypes), scores])

    def push(self, crop: int, embedding: Tensor) -> None:
        """Shifts the queue of a crop and puts the batch's n x 128 embeddings at its front."""
        self._counts()[crop] += len(embedding)
        kept = self.rows.shape[1] - len(embedding)
        self.rows[crop] = torch.cat([embedding, self.rows[crop, :kept]])

    def _counts(self) -> list[int]:
        """Filled rows of each crop, counted on the host: the device is asked once, at the start."""
        if self._filled is None:
            self._filled = self.rows.any(2).sum(1).tolist()
        return self._filled


@torch.no_grad()
def assign(
    embedding: Tensor,
    scores: Tensor,
    prototypes: Tensor,
    queue: Queue | None = None,
    epsilon: float = EPSILON,
) -> list[Tensor]:
    """Computes the assignments of the assign crops and then feeds the queue.

    Args:
        embedding: A x n x 128 of the A assign crops.
        scores: A x n x M of the same.
        prototypes: M x 128 weights, for the scores of the queue.
        queue: Earlier embeddings, or None.
        epsilon: Smoothing of the assignment.

    Returns:
        For each assign crop n x M assignments.
    """
    assignments = []
    for crop, batch in enumerate(scores):
        joined = batch if queue is None else queue.join(crop, batch, prototypes)
        assignments.append(sinkhorn(joined, epsilon)[-len(batch) :])
        if queue is not None:
            queue.push(crop, embedding[crop])
    return assignments


@torch.no_grad()
def nearest_counts(scores: Tensor) -> Tensor:
    """How often each prototype is the nearest.

    Args:
        scores: B x M, any float dtype.

    Returns:
        M float32 numbers, B together.
    """
    nearest = scores.argmax(1)
    counts = torch.zeros(scores.shape[1], device=scores.device)
    return counts.index_add_(0, nearest, torch.ones_like(nearest, dtype=counts.dtype))


def _cross_entropy(assignment: Tensor, scores: Tensor) -> Tensor:
    return -(assignment * F.log_softmax(scores / TEMPERATURE, 1)).sum(1).mean()


def swapped(assignments: Sequence[Tensor], scores: Tensor) -> Tensor:
    """Predicts the assignment of each assign crop from all other crops (SwAV; i2i of PASS).

    Args:
        assignments: For each of the first A crops n x M.
        scores: V x n x M, V >= 2 crops.

    Returns:
        Scalar: mean over assign crops of the mean over the other crops.
    """
    losses = [
        torch.stack(
            [_cross_entropy(assigned, other) for v, other in enumerate(scores) if v != a]
        ).mean()
        for a, assigned in enumerate(assignments)
    ]
    return torch.stack(losses).mean()


def deep_to_shallow(assignments: Sequence[Tensor], shallow_scores: Tensor) -> Tensor:
    """Predicts each assignment from the layer3 scores of the other view (d2s of PASS).

    Args:
        assignments: Of the two views, n x M each.
        shallow_scores: 2 x n x M.
    """
    pairs = zip(assignments, shallow_scores.flip(0), strict=True)
    return torch.stack([_cross_entropy(assigned, other) for assigned, other in pairs]).mean()


def pixel_to_pixel(projection: Tensor, prediction: Tensor) -> Tensor:
    """Aligns the pixels of two views without negatives (p2p of PASS).

    Args:
        projection: 2n x 128 x G x G at the same points of both views; gradients stop here.
        prediction: 2n x 128 x G x G.

    Returns:
        Scalar in -1..1, the negative mean cosine of prediction and the other view's projection.
    """
    other = torch.roll(projection.detach(), len(projection) // 2, 0)
    return -F.cosine_similarity(prediction, other, 1).mean()
