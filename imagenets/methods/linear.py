"""A linear classifier on features that do not move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.training.optimizers import cosine_rate
from imagenets.training.run import seeded

BATCH = 1024
"""Features a step, at most."""

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""What the sum of squared weights, halved, can be multiplied by."""

FOLDS = 5
"""Every so many-th image is held out to choose a penalty."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How a classifier is trained.

    Attributes:
        steps: Batches of `BATCH` features that are learned from.
        rate: At the start.
        seed: Of the order.
    """

    steps: int
    rate: float
    seed: int


@dataclass(frozen=True, slots=True)
class Features:
    """What is learned from.

    Attributes:
        vectors: N x F float32.
        ids: N int64, 0 to outputs - 1, on the same device.
        outputs: Number of ids, O.
    """

    vectors: Tensor
    ids: Tensor
    outputs: int


def choose(features: Features, images: Tensor, schedule: Schedule) -> float:
    """Chooses the penalty with which every fifth image is told best by a classifier of the others.

    Args:
        features: What is learned from.
        images: N int64: the number of the image that each feature is of.
        schedule: Of each classifier.

    Returns:
        Of `PENALTIES` the one of the lowest cross entropy; the first one where one image is all.
    """
    held = images % FOLDS == 0
    rest = (~held).nonzero()[:, 0]
    if not len(rest):
        return PENALTIES[0]
    vectors, ids = features.vectors[held], features.ids[held]
    losses = {}
    for penalty in PENALTIES:
        weight, bias = fit(features, penalty, schedule, rest)
        losses[penalty] = F.cross_entropy(F.linear(vectors, weight, bias), ids).item()
    return min(losses, key=lambda penalty: losses[penalty])


def fit(
    features: Features, penalty: float, schedule: Schedule, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Trains a linear classifier with cross entropy: Adam, half a cosine, from zeros.

    Each feature is brought to mean 0 and deviation 1 first, as a batch norm without parameters
    would; the result has that folded in, so that it takes features as they are.

    Args:
        features: What is learned from.
        penalty: The sum of squared weights, halved, times this is added to the loss.
        schedule: Steps, rate and seed.
        rows: Indices of the features that are learned from; all of them by default.

    Returns:
        O x F weights and O biases.
    """
    vectors, ids = features.vectors, features.ids
    rows = torch.arange(len(ids), device=ids.device) if rows is None else rows
    deviation, mean = torch.std_mean(vectors, 0, correction=0)
    scale = 1 / deviation.clamp(min=1e-6)
    weight = vectors.new_zeros(features.outputs, vectors.shape[1]).requires_grad_()
    bias = vectors.new_zeros(features.outputs).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], schedule.rate)
    size = min(BATCH, len(rows))
    whole = len(rows) // size  # batches of one order
    for step in range(schedule.steps):
        if step % whole == 0:
            draw = seeded(schedule.seed, "linear", step // whole)
            order = rows[torch.randperm(len(rows), generator=draw).to(rows.device)]
        part = order[step % whole * size :][:size]
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, schedule.steps, base=schedule.rate, final=0.0)
        optimizer.zero_grad()
        logits = F.linear((vectors[part] - mean) * scale, weight, bias)
        loss = F.cross_entropy(logits, ids[part]) + penalty / 2 * weight.square().sum()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        folded = weight * scale
        return folded, bias - folded @ mean
