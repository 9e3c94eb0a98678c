"""Measures heat maps against targets, in any number of parts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.distributed import check_group, gather
from imagenets.core.pool import worker_count
from imagenets.errors import UsageError
from imagenets.evaluation.localization.inputs import Block, bad_target, blocks, called
from imagenets.evaluation.localization.measures import BINS, NAMES, RADIUS, SHARE
from imagenets.evaluation.localization.metrics import LocalizationMetrics, summarize

log = logging.getLogger(__name__)

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

_CHUNK = 4  # images that a thread takes at a time

_local = threading.local()


@dataclass(frozen=True, slots=True)
class Rows:
    """What is kept of some images, a row each.

    Attributes:
        names: Of the images; empty where none was given.
        target_ids: Mask id of the label, int64; 0 where none was given.
        values: Images x measures, 0..1, in the order of `NAMES`; NaN where there is none.
        facts: Images x 3, int64: pixels of the object, pixels that are not ignored, flags.
    """

    names: tuple[str, ...]
    target_ids: Int64
    values: Float64
    facts: Int64


class LocalizationEvaluator:
    """Accumulates every measure of `MEASURES`; images may come in any order and in any parts.

    Example:
        >>> evaluator = LocalizationEvaluator()
        >>> evaluator.update(np.array([[0.1, 0.9], [0.3, 0.2]]), np.array([[0, 1], [1, 0]]))
        >>> evaluator.compute().mean["average_precision"]
        100.0

    Attributes:
        classes: K; target ids are 1..K. None: any ids.
        names: What to call the classes 1..K.
        share: Share of the pixels for `iou_share`.
        radius: Tolerance of `pointing_game_near`, pixels.
        workers: Threads that share the images of a batch.
    """

    def __init__(
        self,
        classes: int | None = None,
        names: Sequence[str] | None = None,
        *,
        share: float = SHARE,
        radius: float = RADIUS,
        workers: int | None = None,
    ) -> None:
        """Starts at nothing.

        Args:
            classes: K, so that every image needs a target id of 0..K; None if there are no
                classes or their ids are free.
            names: Of the classes 1..K, for the table of classes.
            share: Share of the pixels for `iou_share`, above 0 and at most 1.
            radius: Tolerance of `pointing_game_near` in pixels, not below 0.
            workers: Threads that share the images of a batch; by default one for each CPU.

        Raises:
            UsageError: A setting is out of its range.
        """
        if classes is not None and classes < 1:
            raise UsageError(f"{classes} classes: give at least 1, or None.")
        if names is not None and len(names) != classes:
            raise UsageError(f"{len(names)} names for {classes} classes: give one for each.")
        if not 0 < share <= 1 or not 0 <= radius < np.inf:
            raise UsageError(
                f"share {share}, radius {radius}: the share must be above 0 and at most 1, the "
                "radius a number of pixels."
            )
        self.classes, self.names = classes, None if names is None else tuple(names)
        self.share, self.radius = float(share), float(radius)
        self.workers = worker_count(workers)
        self._parts: list[Rows] = []
        self._pooled = np.zeros((2, BINS), np.int64)

    @property
    def images(self) -> int:
        """Number of images so far, those without a target included."""
        return sum(len(part.names) for part in self._parts)

    def update(
        self,
        heat: Any,
        target: Any,
        target_ids: Any = None,
        names: str | Sequence[str] | None = None,
    ) -> None:
        """Adds one image or a batch; nothing of it where there is an error.

        Args:
            heat: H x W, N x H x W or N x 1 x H x W, or a list of H x W maps of different sizes:
                NumPy arrays or tensors of any device, floats of 16 to 64 bits (bfloat16 too) or
                integers. Larger is more of the object; negative and infinite values are fine (see
                `MEASURES`).
            target: The same shape: 1 the object, 0 not, 255 ignored; uint8, or another integer
                type with these values.
            target_ids: Class id of the label in the tier (`batch.target_ids`, not its ImageNet-1k
                label) of each image, for averages over classes; a number
                for one image. 0: the label has no class.
            names: Of the images, which `compare` and the table of images need.

        Raises:
            UsageError: Shapes, types or numbers do not fit, a map holds NaN, a target another
                value, or a target id is out of range.
        """
        called_ = None if names is None else [names] if isinstance(names, str) else list(names)
        found = blocks(heat, target, called_)
        count = sum(len(block.heat) for block in found)
        if called_ is not None and len(called_) != count:
            raise UsageError(f"{len(called_)} names for {count} maps.")
        ids = self._ids(target_ids, count)
        values, facts = np.empty((count, len(NAMES))), np.zeros((count, 3), np.int64)
        pooled = self._measured(found, values, facts, called_)
        if self.classes is not None:
            self._check_without_class(ids, facts, called_)
        self._parts.append(Rows(tuple(called_ or [""] * count), ids, values, facts))
        self._pooled += pooled

    def merge(self, other: LocalizationEvaluator) -> None:
        """Adds what another evaluator has seen; the order makes no difference at all.

        Raises:
            UsageError: It has other settings.
        """
        self._same(other._settings)
        self._parts += list(other._parts)
        self._pooled = self._pooled + other._pooled

    def all_reduce(self, group: Any = None) -> None:
        """Makes the evaluator of every rank hold what all ranks have seen together.

        Call it once, on every rank. A sampler that pads the last batch with images that were seen
        already must be told not to.

        Args:
            group: Process group of `torch.distributed`; the default one if None.

        Raises:
            UsageError: No process group was set up, or ranks have different settings.
        """
        check_group("all_reduce")
        shares = gather((self._settings, self._parts, self._pooled), group)
        for settings, _, _ in shares:
            self._same(settings)
        self._parts = [part for _, parts, _ in shares for part in parts]
        self._pooled = np.sum([pooled for _, _, pooled in shares], axis=0)

    def compute(self) -> LocalizationMetrics:
        """All that is to be said so far, in percent.

        Raises:
            UsageError: Nothing was added yet, or an image was added twice under one name.
        """
        if not self.images:
            raise UsageError("there is nothing to compute metrics from: no image was added.")
        names = [name for part in self._parts for name in part.names]
        ids, values, facts = (
            np.concatenate([getattr(part, column) for part in self._parts])
            for column in ("target_ids", "values", "facts")
        )
        if not facts[:, 0].any():
            log.warning(
                "no image has a pixel of its object: in targets 1 is the object, 0 not, and 255 "
                "ignored (of binary pictures of 0 and 255, give `picture > 0`)"
            )
        known = None if self.classes is None else np.arange(1, self.classes + 1)
        return summarize(names, ids, values, facts, self._pooled, known, self.names)

    @property
    def _settings(self) -> tuple[Any, ...]:
        return self.classes, self.names, self.share, self.radius

    def _same(self, settings: tuple[Any, ...]) -> None:
        if settings != self._settings:
            raise UsageError(
                "cannot merge evaluators of other classes, names, shares or radii: "
                f"{settings} and {self._settings}."
            )

    def _ids(self, target_ids: Any, count: int) -> Int64:
        if target_ids is None:
            if self.classes is not None:
                raise UsageError(f"with {self.classes} classes every image needs its target id.")
            return np.zeros(count, np.int64)
        if hasattr(target_ids, "detach"):
            target_ids = target_ids.detach().cpu().numpy()
        ids = np.atleast_1d(np.asarray(target_ids))
        if ids.shape != (count,) or (count and ids.dtype.kind not in "iu"):
            raise UsageError(
                f"target ids of shape {ids.shape} and type {ids.dtype} for {count} maps: give one "
                "integer for each."
            )
        ids = ids.astype(np.int64)
        most = ids.max(initial=0) if self.classes is None else self.classes
        if ((ids < 0) | (ids > most)).any():
            odd = int(ids[(ids < 0) | (ids > most)][0])
            raise UsageError(f"target id {odd}: with {self.classes} classes ids are 0..{most}.")
        return ids

    def _check_without_class(self, ids: Int64, facts: Int64, names: list[str] | None) -> None:
        for number in np.flatnonzero((ids == 0) & (facts[:, 0] > 0)).tolist():
            raise UsageError(
                f"{called(number, names)}: the target has an object, but its target id is 0."
            )

    def _measured(
        self, found: list[Block], values: Float64, facts: Int64, names: list[str] | None
    ) -> Int64:
        """Measures all images, several at a time; the counts for the pooled measures."""
        pieces = [piece for block in found for piece in _pieces(block)]
        step = -(-len(pieces) // self.workers) or 1
        shares = [pieces[start : start + step] for start in range(0, len(pieces), step)]

        def run(share: list[Block]) -> Int64:
            return _measure(share, (self.share, self.radius), values, facts, names)

        if len(shares) <= 1:
            return sum(map(run, shares), np.zeros_like(self._pooled))
        with ThreadPoolExecutor(len(shares)) as pool:
            return sum(pool.map(run, shares), np.zeros_like(self._pooled))


def _pieces(block: Block) -> list[Block]:
    """A block in pieces of some images."""
    return [
        Block(block.first + k, block.heat[k : k + _CHUNK], block.target[k : k + _CHUNK])
        for k in range(0, len(block.heat), _CHUNK)
    ]


def _room(heat: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Room that the loops overwrite, kept for the next images of this thread."""
    pixels = heat.shape[1] * heat.shape[2]
    kept: tuple[npt.NDArray[Any], npt.NDArray[Any]] | None = getattr(_local, "room", None)
    if kept is None or kept[0].dtype != heat.dtype or kept[0].shape[1] < pixels:
        kept = np.empty((2, pixels), heat.dtype), np.empty((2, pixels), f"u{heat.itemsize}")
        _local.room = kept
    return kept


def _measure(
    share: list[Block],
    settings: tuple[float, float],
    values: Float64,
    facts: Int64,
    names: list[str] | None,
) -> Int64:
    """Measures some pieces in this thread, and writes their rows."""
    from imagenets.evaluation.localization import kernels  # Numba: not before it is used

    pooled = np.zeros((2, BINS), np.int64)
    for block in share:
        rows = slice(block.first, block.first + len(block.heat))
        room, codes = _room(block.heat)
        state, image = kernels.measure(
            block.heat, block.target, np.array(settings), values[rows], facts[rows], pooled,
            room, codes,
        )  # fmt: skip
        which = called(block.first + image, names)
        if state == kernels.NOT_A_NUMBER:
            raise UsageError(f"{which}: the map holds NaN; find out where it comes from.")
        if state == kernels.BAD_TARGET:
            target = block.target[image]
            raise bad_target(which, int(target[(target > 1) & (target < 255)][0]))
    return pooled
