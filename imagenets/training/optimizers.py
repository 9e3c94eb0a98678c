"""SGD wrapped in LARC, AdamW with a factor for each group, and the cosine schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LarcSGD(torch.optim.SGD):
    """SGD with momentum whose rate adapts to each parameter (LARC, You et al., arXiv:1708.03888).

    Without clipping: a gradient g of parameter p becomes
    (g + wd p) * trust |p| / (|g| + wd |p| + 1e-8) where both norms are non-zero, and stays g
    elsewhere; then plain SGD runs without weight decay.

    Args:
        params: Parameters to train.
        lr: Base rate.
        momentum: Of SGD.
        weight_decay: Enters through LARC alone.
        trust: LARC's coefficient.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust: float = 0.001,
    ) -> None:
        super().__init__(params, lr=lr, momentum=momentum, weight_decay=0.0)
        self.decay = weight_decay
        self.trust = trust

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it by None or not
        """Scales the gradients in place, then takes SGD's step; the device is asked for nothing."""
        for group in self.param_groups:
            learning = [p for p in group["params"] if p.grad is not None]
            if learning:
                self._scale(learning, [p.grad for p in learning])
        taken: float | None = super().step(closure)
        return taken

    def _scale(self, parameters: list[Tensor], grads: list[Tensor]) -> None:
        sizes = torch.stack(torch._foreach_norm(parameters))
        slopes = torch.stack(torch._foreach_norm(grads))
        ratios = self.trust * sizes / (slopes + self.decay * sizes + 1e-8)
        # A parameter of zeros adds nothing to its gradient, which so stays; one of zeros stays, too
        ratios = torch.where(sizes > 0, ratios, 1).where(slopes > 0, 0)
        torch._foreach_add_(grads, parameters, alpha=self.decay)
        torch._foreach_mul_(grads, ratios.unbind())


class ScaledAdamW(torch.optim.AdamW):
    """AdamW whose groups have a factor of the rate each, `scale`; the loop sets one rate for all.

    Args:
        groups: Parameter groups; `scale` is 1 where it is not given.
        lr: Base rate.
        weight_decay: For groups that do not say otherwise.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(
            [{"scale": 1.0, **group} for group in groups], lr=lr, weight_decay=weight_decay
        )

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # torch overloads it by None or not
        """Takes AdamW's step with every group's own rate; `lr` stays the base rate."""
        rates = [group["lr"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                group["lr"] = group["lr"] * group["scale"]
            taken: float | None = super().step(closure)
        finally:
            for group, rate in zip(self.param_groups, rates, strict=True):
                group["lr"] = rate
        return taken


def cosine_rate(iteration: int, iterations: int, base: float, final: float) -> float:
    """The rate of one iteration: half a cosine from `base` to `final`, no warm-up."""
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * iteration / iterations))


def warm_cosine_rate(
    iteration: int, iterations: int, base: float, final: float, warmup: float
) -> float:
    """The rate of one iteration: linear from 0 to `base`, then half a cosine down to `final`.

    Args:
        iteration: Counted from 0.
        iterations: Of the whole training.
        base: The highest rate.
        final: The rate at the end.
        warmup: Share of the iterations in which it grows, at least 0 and below 1.
    """
    done = iteration / iterations
    if done < warmup:
        return base * done / warmup
    return final + 0.5 * (base - final) * (1 + math.cos(math.pi * (done - warmup) / (1 - warmup)))
