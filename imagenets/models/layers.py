"""Layers that several backbones share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.core.distributed import own_part, world


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of N x C x H x W maps."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises every position."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between them, over the last dimension."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return found


class DropPath(nn.Module):
    """Leaves out a residual branch of some samples (Huang et al., arXiv:1603.09382).

    In training every sample's branch is left out with probability `rate`, and the others are
    scaled up so that the mean stays. Ranks that start from the same seed leave out what one rank
    with all their samples would.

    Args:
        rate: Probability, at least 0 and below 1.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Takes a branch, samples first."""
        if not self.training or self.rate == 0:
            return x
        drawn = own_part(torch.rand(len(x) * world(), device=x.device))
        kept = (drawn >= self.rate).to(x.dtype) / (1 - self.rate)
        return x * kept.view(-1, *(1,) * (x.ndim - 1))


def drop_rates(largest: float, blocks: int) -> list[float]:
    """Rates of drop path that grow linearly over the blocks, from 0 to `largest`."""
    return [largest * block / max(1, blocks - 1) for block in range(blocks)]


def set_drop_path(network: nn.Module, largest: float) -> int:
    """Sets all drop paths of a network, whose blocks have one each, in their order.

    Returns:
        How many there are.
    """
    found = [module for module in network.modules() if isinstance(module, DropPath)]
    for module, rate in zip(found, drop_rates(largest, len(found)), strict=True):
        module.rate = rate
    return len(found)
