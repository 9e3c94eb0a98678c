"""Sums accumulators over the ranks of a `torch.distributed` group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from imagenets.core.distributed import add_up, check_group, gather
from imagenets.evaluation.sparse import Share


@runtime_checkable
class Dense(Protocol):
    """What `Evaluator` and `CoOccurrence` offer: arrays that add up, alike on all ranks."""

    def state(self) -> list[npt.NDArray[Any]]:
        """The arrays themselves, not copies."""


@runtime_checkable
class Sparse(Protocol):
    """What `Evaluator` and `ThresholdSweep` offer: numbers by key, each rank with its own keys."""

    def sparse_sums(self) -> list[Share]:
        """Keys and numbers."""

    def replace(self, shares: Sequence[list[Share]]) -> None:
        """Takes the sum of all ranks' sparse_sums instead of its own."""


def all_reduce(accumulator: Dense | Sparse, group: Any = None) -> None:
    """Makes the accumulator of every rank hold what all ranks have seen together.

    Call it once, on every rank, when each rank has seen its own share of the images. Sums of
    integers do not depend on how the images were shared out (but see `published`, whose float32
    sums do). Samplers that pad the last batch with repeated images must be told not to.

    Args:
        accumulator: An `Evaluator`, `CoOccurrence` or `ThresholdSweep`, alike on all ranks.
        group: Process group; the default one if None.

    Raises:
        UsageError: No process group was set up.
    """
    check_group("all_reduce")
    if isinstance(accumulator, Sparse):
        accumulator.replace(gather(accumulator.sparse_sums(), group))
    if not isinstance(accumulator, Dense):
        return
    import torch

    for array in accumulator.state():
        array[...] = add_up(torch.from_numpy(np.array(array)), group).numpy()
