"""Batch norm over the batch of all ranks, on the CPU as well; torch's own wants GPUs.

Forward, the ranks add up the mean and the mean square of every channel; backward, the sums of the
gradient and of its product with the normalised input. Both sums travel as float64, so that the
result is that of one process with the whole batch (Ioffe and Szegedy, arXiv:1502.03167).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.core.distributed import add_up, world
from imagenets.errors import UsageError

N = TypeVar("N", bound=nn.Module)


class _Normalise(torch.autograd.Function):
    """Normalises channels with the mean and variance of all ranks' values."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gives the output, and the mean, biased variance and number of values of a channel."""
        mean, variance, count = _statistics(x)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        y = F.batch_norm(x, mean, variance, weight, bias, eps=eps)
        return y, mean, variance, count

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """Gives the gradients of this rank's input, and its part of those of the parameters."""
        x, weight, mean, variance, count = ctx.saved_tensors
        _, products, sums = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        grad_x = None
        if ctx.needs_input_grad[0]:
            means = add_up(torch.cat([sums, products]).double()) / count
            shift, slope = means.chunk(2)
            inverse = (variance.double() + ctx.eps).rsqrt()
            scale = inverse if weight is None else inverse * weight
            ones = torch.ones_like(mean)  # (x - mean) / 1 * factor + summand, in one pass
            factor, summand = (-scale * inverse * slope).to(mean), (-scale * shift).to(mean)
            grad_x = F.batch_norm(x, mean, ones, factor, summand, eps=0.0)
            grad_x.addcmul_(grad, _as_channels(scale, x))
        own_weight = products if weight is not None and ctx.needs_input_grad[1] else None
        own_bias = sums if ctx.needs_input_grad[2] else None
        return grad_x, own_weight, own_bias, None


class _OverRanks(nn.modules.batchnorm._BatchNorm):
    """A batch norm whose training statistics are those of all ranks."""

    _check_input_dim: Callable[[Tensor], None]  # of the number of dimensions

    def forward(self, x: Tensor) -> Tensor:
        """Normalises N x C (x H x W) values; as `nn.BatchNorm` on one rank, or in eval mode."""
        if not self.training or world() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        normalise: Any = _Normalise.apply  # torch leaves it untyped
        y, mean, variance, count = normalise(x, self.weight, self.bias, self.eps)
        self._remember(mean, variance, count)
        normalised: Tensor = y
        return normalised

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        step = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        unbiased = (variance * (count / (count - 1))).to(variance.dtype)
        self.running_mean.lerp_(mean, step)
        self.running_var.lerp_(unbiased, step)


class BatchNorm1d(_OverRanks, nn.BatchNorm1d):
    """`nn.BatchNorm1d` over the batch of all ranks."""


class BatchNorm2d(_OverRanks, nn.BatchNorm2d):
    """`nn.BatchNorm2d` over the batch of all ranks."""


_KINDS: dict[type, type[_OverRanks]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
}
"""Which batch norms can be synchronised, and what they become."""


def synchronise(network: N, device: torch.device) -> N:
    """Makes the batch norms of a network normalise over the batch of all ranks.

    Weights and buffers stay the same tensors under the same names. Every rank must then run the
    same layers in the same order. On GPUs it is torch's own, which computes the same in fewer
    kernels.

    Args:
        network: Changed in place. It must have batch norms of one and two dimensions alone, and
            not be one itself.
        device: Where it computes.

    Raises:
        UsageError: It has a batch norm of another kind.
    """
    for module in network.modules():
        _check_kind(module)
    if device.type == "cuda":
        converted: N = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    for name, child in network.named_children():
        if isinstance(child, _OverRanks):
            continue
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(network, name, _converted(child))
        else:
            synchronise(child, device)
    return network


def _check_kind(module: nn.Module) -> None:
    """Refuses subclasses such as timm's, which do more: converted, they would not do that more."""
    known = (*_KINDS, nn.SyncBatchNorm)
    norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
    if norm and type(module) not in known and not isinstance(module, _OverRanks):
        raise UsageError(
            f"{type(module).__name__} cannot be synchronised over ranks: use nn.BatchNorm1d or "
            "nn.BatchNorm2d, or train in one process."
        )


def _converted(module: nn.Module) -> nn.Module:
    kind = _KINDS[type(module)]
    made = kind.__new__(kind)
    made.__dict__ = module.__dict__  # the same parameters, buffers, hooks and mode
    return made


def _statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance (float32) of each channel over all ranks, and the count (float64).

    Raises:
        ValueError: A channel has one value alone, which has no variance.
    """
    own_mean, own_variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    own = x.numel() // x.shape[1]
    mean, variance = own_mean.double(), own_variance.double()
    number = torch.full_like(mean[:1], own)
    sums = add_up(torch.cat([mean * own, (variance + mean**2) * own, number]))
    count = sums[-1]
    mean, square = (sums[:-1] / count).chunk(2)
    variance = (square - mean**2).clamp(min=0)
    return mean.to(own_mean.dtype), variance.to(own_mean.dtype), count


def _as_channels(values: Tensor, x: Tensor) -> Tensor:
    return values.to(x.dtype).view(1, -1, *(1,) * (x.ndim - 2))
