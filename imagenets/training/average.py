"""A mean teacher: weights that follow those under training as their running average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class Average:
    """The exponential moving average of a network's weights and batch norm statistics.

    Tarvainen and Valpola, "Mean teachers are better role models" (2017, arXiv:1703.01780): after
    step t the average keeps min(decay, 1 - 1 / t) of itself, so that it is the plain mean while
    there are few steps, and the start does not weigh on it. Ranks hold the same weights, and so
    the same average.

    Args:
        network: Under training.
        decay: Share that is kept at every step, above 0 and below 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._decay = decay
        self._steps = 0
        self._weights = {name: value.clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Takes in the weights after a step."""
        self._steps += 1
        moved = 1 - min(self._decay, 1 - 1 / self._steps)
        now = self._network.state_dict()
        floats = [name for name, value in now.items() if value.is_floating_point()]
        averages, values = [self._weights[name] for name in floats], [now[name] for name in floats]
        torch._foreach_lerp_(averages, values, moved)
        for name in now.keys() - set(floats):  # counts of batches
            self._weights[name].copy_(now[name])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps: `steps`, and the averaged `weights` by their names."""
        return {"steps": self._steps, "weights": self._weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state_dict` gave."""
        self._steps = state["steps"]
        for name, value in self._weights.items():
            value.copy_(state["weights"][name])
