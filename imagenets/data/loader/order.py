"""Which samples make up which batch: fixed by (seed, epoch), shared fairly among ranks."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch

from imagenets.errors import UsageError

Indices = npt.NDArray[np.int64]
Shuffle = Literal["exact", "window"]


class Sampler(Protocol):
    """The indices of an epoch, and their number, as samplers of `torch.utils.data` give them."""

    def __iter__(self) -> Iterator[int]:
        """The indices, in their order."""

    def __len__(self) -> int:
        """How many there are."""


BLOCK = 2048
"""Neighbouring samples that `window` keeps together: as many as a shard holds."""

WINDOW = 16
"""Blocks whose samples `window` mixes: some 3.5 GB of original images."""


@dataclass(frozen=True, slots=True)
class Share:
    """One rank's part of a step of all ranks.

    Attributes:
        number: Of the step, from 0 in each epoch.
        rows: Indices of the samples that all ranks take together.
        own: Positions in `rows` of this rank's samples.
        repeated: Which of `own` another rank takes, too: they fill a last step up.
    """

    number: int
    rows: Indices
    own: Indices
    repeated: npt.NDArray[np.bool_]

    @classmethod
    def whole(cls, number: int, rows: Indices) -> Share:
        """A step that one rank takes alone."""
        return cls(number, rows, np.arange(len(rows)), np.zeros(len(rows), np.bool_))


@dataclass(frozen=True, slots=True)
class Order:
    """The batches of an epoch.

    With several ranks, step i of all ranks together takes the samples that one rank with a batch
    as large as all theirs would take, and every rank has the same number of batches: what does
    not divide is left out with `drop_last`, else samples of the step are repeated to fill it up,
    and marked.

    Attributes:
        length: Samples of the data set.
        batch_size: Samples a batch, on each rank.
        seed: With the epoch, fixes the permutation.
        shuffle: `exact` is a permutation of the whole set. `window` reads blocks of neighbouring
            samples in random order and mixes those of 16 blocks, for storage that is slow at
            seeking. None keeps the order of the data set.
        drop_last: Whether to leave out a last batch that is not full.
        rank: This process among `world`.
        world: Number of processes that share the epoch.
    """

    length: int
    batch_size: int
    seed: int = 0
    shuffle: Shuffle | None = None
    drop_last: bool = False
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size is {self.batch_size}: it must be 1 or more.")
        if not 0 <= self.rank < self.world:
            raise UsageError(
                f"rank is {self.rank} of a world of {self.world}: give 0 to world - 1."
            )
        if self.shuffle not in ("exact", "window", None):
            raise UsageError(
                f"there is no shuffle {self.shuffle!r}: choose True, False or 'window'."
            )

    @property
    def global_batch(self) -> int:
        """Samples a step, of all ranks together."""
        return self.batch_size * self.world

    def __len__(self) -> int:
        step = self.global_batch
        return self.length // step if self.drop_last else -(-self.length // step)

    def of(self, epoch: int, given: Sampler | None = None) -> list[Share]:
        """This rank's batches of an epoch.

        Args:
            epoch: Number of the epoch.
            given: Gives the indices in their order, instead of this object.

        Raises:
            UsageError: The sampler gave something else than indices.
        """
        order = self._permutation(epoch) if given is None else integers(given, "the sampler")
        step = self.global_batch
        starts = range(0, len(order) - step + 1 if self.drop_last else len(order), step)
        return [self._share(i, order[start : start + step]) for i, start in enumerate(starts)]

    def state(self) -> dict[str, Any]:
        """What decides the batches, whatever the rank."""
        return {
            "seed": self.seed,
            "samples": self.length,
            "global_batch": self.global_batch,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
        }

    def _share(self, number: int, rows: Indices) -> Share:
        filled = -(-len(rows) // self.world) * self.world  # the same number on all ranks
        own = np.arange(self.rank, filled, self.world)
        return Share(number, rows, own % len(rows), own >= len(rows))

    def _permutation(self, epoch: int) -> Indices:
        if self.shuffle is None:
            return np.arange(self.length)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        if self.shuffle == "exact":
            return torch.randperm(self.length, generator=generator).numpy()
        starts = torch.randperm(-(-self.length // BLOCK), generator=generator).numpy() * BLOCK
        windows = []
        for first in range(0, len(starts), WINDOW):
            blocks = [
                np.arange(start, min(start + BLOCK, self.length))
                for start in starts[first : first + WINDOW]
            ]
            window = np.concatenate(blocks)
            windows.append(window[torch.randperm(len(window), generator=generator).numpy()])
        return np.concatenate(windows) if windows else np.arange(0)


@dataclass(frozen=True, slots=True)
class Given:
    """Batches that the caller has formed, the same in every epoch.

    Attributes:
        batches: Indices into the data set, one array a batch.
        batch_size: Of the largest.
        seed: Of the crops.
        rank: This process among `world`, which takes every `world`-th batch.
        world: Number of processes that share the batches.
    """

    batches: Sequence[Indices]
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def length(self) -> int:
        """Samples of all batches."""
        return sum(map(len, self.batches))

    @property
    def global_batch(self) -> int:
        """Samples a step, of all ranks together."""
        return self.batch_size * self.world

    def __len__(self) -> int:
        return len(self.batches[self.rank :: self.world])

    def state(self) -> dict[str, Any]:
        """What decides the batches, whatever the rank."""
        digest = 0
        for batch in self.batches:
            digest = zlib.crc32(np.asarray(batch, "<i8").tobytes(), digest)
        return {"seed": self.seed, "samples": self.length, "batches given": digest}

    def of(self, epoch: int, given: Sampler | None = None) -> list[Share]:
        """This rank's batches, whatever the epoch."""
        numbers = range(self.rank, len(self.batches), self.world)
        return [Share.whole(n, integers(self.batches[n], "a batch")) for n in numbers]


def integers(given: Iterable[Any], what: str) -> Indices:
    """Indices as an array.

    Raises:
        UsageError: Some are no integers: booleans and floats would quietly mean something else.
    """
    array = given if isinstance(given, np.ndarray) else np.array(list(given))
    if array.size and array.dtype.kind not in "iu":
        raise UsageError(
            f"{what} gives {array.dtype} (such as {array.flat[0]!r}), not integers: an index is a "
            "whole number."
        )
    return array.astype(np.int64)


def check_rows(batches: Sequence[Share], length: int) -> None:
    """Refuses indices that are not there; negative ones would quietly count from the end.

    Raises:
        UsageError: Names one.
    """
    for share in batches:
        odd = share.rows[(share.rows < 0) | (share.rows >= length)]
        if len(odd):
            raise UsageError(f"there is no sample {odd[0]}: the data set has {length} samples.")


def by_shape(shapes: npt.NDArray[np.integer], batch_size: int) -> list[Indices]:
    """Forms batches of samples that share a shape, all full but the last one of each shape.

    Args:
        shapes: N x 2, such as `ShortSide.shapes` gives for all samples of a split.
        batch_size: Samples a batch.

    Returns:
        Indices of each batch, ascending; every sample is in one of them.
    """
    _, groups = np.unique(shapes, axis=0, return_inverse=True)
    order = np.argsort(groups.reshape(-1), kind="stable")
    ends = np.cumsum(np.bincount(groups.reshape(-1)))
    batches = []
    for part in np.split(order, ends[:-1]):
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return batches
