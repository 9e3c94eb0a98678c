"""The metrics of the benchmark as a `torchmetrics.Metric`: exact, on any number of ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imagenets.errors import DependencyError, UsageError
from imagenets.evaluation.counts import Int64
from imagenets.evaluation.metrics import SCALARS, Absent, Array, Evaluator
from imagenets.masks import IGNORED

try:
    import torchmetrics
except ImportError as error:
    raise DependencyError(
        f"torchmetrics cannot be imported ({error}). pip install 'imagenets[torchmetrics]'"
    ) from error

_WAITING = 100
"""Most batches whose part of the confusion matrix waits to be folded into one."""

_DENSE = ("images", "pixels", "sums")
"""What `Evaluator.state` gives, in its order: int64, which adds up in any order."""


class EvaluatorMetric(torchmetrics.Metric):
    """An `Evaluator` that torchmetrics and Lightning reset, move and sum over ranks.

    Its states are the integer sums of the evaluator, so that ranks give what one process gives, to
    the last bit. torchmetrics' own mIoU and this one differ: see docs/evaluation.md. A state dict
    holds them after `metric.persistent(True)`, as with any metric of torchmetrics.

    Example: `metric.update(ids, batch.masks, batch.repeated)`, then
    `self.log_dict(metric.compute())`.

    Attributes:
        images: Their number, int64, shape (1,).
        pixels: 5 x 2 x 3 x (K + 1) int64, as of the evaluator.
        sums: Of hits and of F-measures over images, int64, shape (2,).
        keys_: Entries of the confusion matrix, int64, part by part.
        numbers_: Pixels of each of them, int64.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    images: Tensor
    pixels: Tensor
    sums: Tensor
    keys_: list[Tensor]
    numbers_: list[Tensor]

    def __init__(
        self,
        num_classes: int,
        *,
        ignored: int = IGNORED,
        absent: Absent = "published",
        per_class: bool = False,
        **more: Any,
    ) -> None:
        """Starts at nothing.

        Args:
            num_classes: K, the number of classes without other.
            ignored: Ground-truth id that is left out.
            absent: What an id counts that the ground truth lacks; see `Evaluator.compute`.
            per_class: Whether `compute` gives `IoUs` as well, one for each id 0..K.
            more: Arguments of `torchmetrics.Metric`, such as `process_group`.

        Raises:
            UsageError: K is below 1, or `ignored` is one of the classes.
        """
        super().__init__(**more)
        self.num_classes, self.ignored = num_classes, ignored
        self.absent, self.per_class = absent, per_class
        for name, array in zip(_DENSE, self._empty().state(), strict=True):
            self.add_state(name, torch.from_numpy(array), dist_reduce_fx="sum")
        for name in ("keys_", "numbers_"):  # the confusion matrix: each rank has keys of its own
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, pred: Any, gt: Any, repeated: Sequence[bool] | Tensor | None = None) -> None:
        """Adds one image or a batch.

        Args:
            pred: H x W or N x H x W predicted ids, or a list of such of any sizes.
            gt: The true ids likewise.
            repeated: N booleans, such as `Batch.repeated`: images that another rank scores, which
                stand in a batch so that all ranks have as many; they are left out.

        Raises:
            UsageError: Shapes or types do not fit.
            CorruptError: The ground truth holds an id above K that is not the ignored one.
        """
        if repeated is not None:
            pred, gt = _kept(pred, repeated), _kept(gt, repeated)
        evaluator = self._empty()
        evaluator.update(pred, gt)
        for name, array in zip(_DENSE, evaluator.state(), strict=True):
            setattr(self, name, getattr(self, name) + self._tensor(array))
        self._add_keys(*evaluator.sparse_sums()[0])
        self._fold()

    def forward(
        self, pred: Any, gt: Any, repeated: Sequence[bool] | Tensor | None = None
    ) -> dict[str, Tensor]:
        """Adds a batch, and says what it scores alone.

        Args:
            pred: H x W or N x H x W predicted ids, or a list of such, as of `update`.
            gt: The true ids likewise.
            repeated: N booleans, as of `update`.

        Returns:
            What `compute` gives, of this batch; NaN where it has no image of its own.

        Raises:
            UsageError: Shapes or types do not fit.
            CorruptError: The ground truth holds an id above K that is not the ignored one.
        """
        if repeated is not None and all(repeated) and not self.dist_sync_on_step:
            self.update(pred, gt, repeated)
            return self._values(dict.fromkeys(SCALARS, np.nan), [np.nan] * (self.num_classes + 1))
        found: dict[str, Tensor] = super().forward(pred, gt, repeated)
        self._fold()  # torchmetrics has put the batch beside those before it
        return found

    def compute(self) -> dict[str, Tensor]:
        """Works the metrics out, over all ranks.

        Returns:
            Scalars by their published names, float64, in percent; `IoUs` has K + 1 of them.

        Raises:
            UsageError: Nothing was added yet.
        """
        found = self.evaluator().compute(self.absent)
        return self._values(found, found["IoUs"])

    def evaluator(self) -> Evaluator:
        """Gives what was added as an `Evaluator`, for its confusion matrix or a match.

        Returns:
            Of what this rank has seen; while the metric is synced, of what all have.
        """
        evaluator = self._empty()
        for own, name in zip(evaluator.state(), _DENSE, strict=True):
            own[...] = getattr(self, name).cpu().numpy()
        evaluator.replace([[(_joined(self.keys_), _joined(self.numbers_))]])
        return evaluator

    def sync(self, *arguments: Any, **named: Any) -> None:
        """Sums over ranks; torchmetrics asks for it before `compute`.

        Args:
            *arguments: As of `torchmetrics.Metric.sync`.
            **named: As of `torchmetrics.Metric.sync`.
        """
        if not self._is_synced and not self.keys_:
            self._add_keys(*self._empty().sparse_sums()[0])  # ranks must gather alike
        super().sync(*arguments, **named)

    def _values(self, found: Mapping[str, Any], ious: Any) -> dict[str, Tensor]:
        values = {name: found[name] for name in SCALARS}
        if self.per_class:
            values["IoUs"] = ious
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}

    def _fold(self) -> None:
        """Sums what waits into one."""
        if len(self.keys_) > _WAITING:
            ((keys, numbers),) = self.evaluator().sparse_sums()
            self.keys_, self.numbers_ = [], []
            self._add_keys(keys, numbers)

    def _add_keys(self, keys: Int64, numbers: Int64) -> None:
        self.keys_.append(self._tensor(keys))
        self.numbers_.append(self._tensor(numbers))

    def _tensor(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _empty(self) -> Evaluator:
        return Evaluator(self.num_classes, ignored=self.ignored)


def _kept(several: Any, repeated: Sequence[bool] | Tensor) -> list[Any]:
    """The images of a batch that are not repeated."""
    if several is None:
        raise UsageError("None stands where masks are needed: does the split have masks?")
    images, left_out = list(several), [bool(one) for one in repeated]
    if len(images) != len(left_out):
        raise UsageError(
            f"repeated has {len(left_out)} entries for {len(images)} images: give one for each."
        )
    return [image for image, out in zip(images, left_out, strict=True) if not out]


def _joined(parts: Tensor | list[Tensor]) -> Any:
    """The numbers of one part, of several, or, after ranks were joined, of a single tensor."""
    several = [parts] if isinstance(parts, Tensor) else parts
    return np.concatenate([np.empty(0, np.int64), *(part.cpu().numpy() for part in several)])
