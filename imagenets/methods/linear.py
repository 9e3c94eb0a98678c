"""A linear classifier on features that do not move."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.training.optimizers import cosine_rate
from imagenets.training.run import seeded

BATCH = 1024
"""Features a step, at most."""


def fit(
    vectors: Tensor, ids: Tensor, outputs: int, *, steps: int, rate: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Trains a linear classifier with cross entropy: Adam, half a cosine, from zeros.

    Each feature is brought to mean 0 and deviation 1 first, as a batch norm without parameters
    would; the result has that folded in, so that it takes features as they are.

    Args:
        vectors: N x F float32.
        ids: N int64, 0 to outputs - 1, on the same device.
        outputs: Number of ids, O.
        steps: Batches of `BATCH` features that are learned from.
        rate: At the start.
        seed: Of the order.

    Returns:
        O x F weights and O biases.
    """
    deviation, mean = torch.std_mean(vectors, 0, correction=0)
    scale = 1 / deviation.clamp(min=1e-6)
    weight = vectors.new_zeros(outputs, vectors.shape[1]).requires_grad_()
    bias = vectors.new_zeros(outputs).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], rate)
    size = min(BATCH, len(vectors))
    whole = len(vectors) // size  # batches of one order
    for step in range(steps):
        if step % whole == 0:
            order = torch.randperm(len(vectors), generator=seeded(seed, "linear", step // whole))
            order = order.to(vectors.device)
        rows = order[step % whole * size :][:size]
        for group in optimizer.param_groups:
            group["lr"] = cosine_rate(step, steps, base=rate, final=0.0)
        optimizer.zero_grad()
        logits = F.linear((vectors[rows] - mean) * scale, weight, bias)
        F.cross_entropy(logits, ids[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        folded = weight * scale
        return folded, bias - folded @ mean
