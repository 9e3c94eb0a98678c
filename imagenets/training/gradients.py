"""Gradients of the batch of all ranks: averaged after the backward pass, in a few large messages.

Not DistributedDataParallel: which parameters have a gradient changes from step to step (prototypes
that are still frozen) and from stage to stage, a loss may run backward in slices, and weights keep
their names. Every rank's loss is a mean over as many samples, so the average of their gradients is
that of the mean over the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from imagenets.core.distributed import add_up, world

MESSAGE = 1 << 24
"""Most numbers of a message, unless one gradient is larger: 64 MB of float32."""


@torch.no_grad()
def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces the gradient of each parameter by its mean over the ranks; one rank: nothing to do.

    Args:
        parameters: In the same order on all ranks, and with a gradient on all or on none.
    """
    count = world()
    if count == 1:
        return
    for grads in _messages([p.grad for p in parameters if p.grad is not None]):
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        parts = add_up(flat).div_(count).split([grad.numel() for grad in grads])
        for grad, part in zip(grads, parts, strict=True):
            grad.copy_(part.view(grad.shape))


def _messages(grads: list[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type that go together."""
    held: list[Tensor] = []
    for grad in grads:
        numbers = sum(other.numel() for other in held) + grad.numel()
        if held and (numbers > MESSAGE or grad.dtype != held[0].dtype):
            yield held
            held = []
        held.append(grad)
    if held:
        yield held
