"""Batches of an `ImageNetS`: decoded in parallel, in an order fixed by (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from imagenets.core import distributed
from imagenets.data.loader.batch import Batch
from imagenets.data.loader.buffers import SharedBuffer, SharedBuffers
from imagenets.data.loader.crops import Crop
from imagenets.data.loader.layout import Layout, lay_out, tensors
from imagenets.data.loader.order import Given, Order, Sampler, Shuffle
from imagenets.data.loader.readable import Readable, check_readable
from imagenets.data.loader.task import Decoder, Done, Task
from imagenets.data.loader.workers import Inline, Processes, Threads, WorkerPool
from imagenets.errors import UsageError

_PART = 32
"""Most samples that a worker takes at a time."""


@dataclass(slots=True)
class _Pending:
    """A batch that workers are at."""

    buffer: SharedBuffer
    layout: Layout
    left: int = 0
    error: Exception | None = None
    unwanted: bool = False


class Loader:
    """Reads batches of a data set, in worker processes or threads if asked.

    The batches depend on the arguments, the epoch and the data set alone, not on `workers` or
    `backend`, nor on whether the epoch was resumed. What an iteration gives lies in memory that is
    used again once no tensor of the batch is left; `Batch.clone` makes copies to keep.

    Args:
        dataset: An `ImageNetS` without a transform, or whatever offers what `Readable` says.
        batch_size: Samples a batch, on each rank.
        crop: What to cut out of each image; None gives whole images.
        seed: With the epoch, fixes the order and the crops.
        shuffle: True for a new permutation each epoch; "window" for one that reads neighbouring
            samples together, for slow storage; False for the order of the data set.
        drop_last: Whether to leave out a last batch that is not full.
        workers: Processes or threads that decode; 0 decodes in the calling thread.
        backend: What the workers are.
        prefetch: Batches that are worked at ahead of the one in use.
        sampler: Gives the indices of an epoch instead, such as one of `torch.utils.data`; its
            `set_epoch`, if it has one, is called. It must give each rank its own.
        batches: The indices of each batch, instead of forming them here, such as `by_shape` gives;
            ranks share the batches out.
        rank: This process among `world`; both as `torch.distributed` has them by default.
        world: Number of processes that share each epoch.
        start_method: How processes are started ("fork", "spawn", "forkserver"); None: Python's way.

    Attributes:
        epoch: Which epoch the next iteration gives; goes up by itself at the end of one.

    Raises:
        UsageError: An argument is out of range.
        ImageNetSError: While iterating: what a worker met (names the sample), or its death.
    """

    def __init__(
        self,
        dataset: Readable,
        batch_size: int = 1,
        *,
        crop: Crop | None = None,
        seed: int = 0,
        shuffle: bool | Literal["window"] = True,
        drop_last: bool = True,
        workers: int = 0,
        backend: Literal["processes", "threads"] = "processes",
        prefetch: int = 3,
        sampler: Sampler | None = None,
        batches: Sequence[npt.NDArray[np.int64]] | None = None,
        rank: int | None = None,
        world: int | None = None,
        start_method: str | None = None,
    ) -> None:
        check_readable(dataset)
        if workers < 0 or prefetch < 1 or backend not in ("processes", "threads"):
            raise UsageError(
                f"workers={workers}, prefetch={prefetch}, backend={backend!r}: give workers >= 0, "
                "prefetch >= 1, and 'processes' or 'threads'."
            )
        if sampler is not None and not hasattr(sampler, "__len__"):
            raise UsageError("the sampler has no length: give one that has, or a list of indices.")
        self.dataset = dataset
        self.crop = crop
        self.sampler = sampler
        self.order: Order | Given
        rank = distributed.rank() if rank is None and sampler is None else rank or 0
        world = distributed.world() if world is None and sampler is None else world or 1
        if batches is not None:
            largest = max(map(len, batches), default=1)
            self.order = Given(batches, largest, seed, rank, world)
        else:
            length = len(dataset if sampler is None else sampler)
            self.order = Order(length, batch_size, seed, _shuffle(shuffle), drop_last, rank, world)
        self.epoch = 0
        self.prefetch = prefetch
        self.workers = workers
        self._make_pool = _pool(Decoder(dataset, crop), workers, backend, start_method)
        self._pool: WorkerPool | None = None
        self._buffers = SharedBuffers()
        self._pending: dict[int, _Pending] = {}
        self._ticket = 0
        self._given = 0  # batches of this epoch that the consumer has

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration gives, from its first batch."""
        self.epoch, self._given = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the iteration is: what `load_state_dict` needs to go on with the next batch."""
        order = self.order
        return {
            "epoch": self.epoch,
            "batches": self._given,
            "seed": order.seed,
            "samples": order.length,
            "batch_size": order.batch_size,
            "world": order.world,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration go on where another loader was.

        Raises:
            UsageError: It was a loader of other data, batch size, seed or number of ranks.
        """
        own = self.state_dict()
        for name in ("seed", "samples", "batch_size", "world"):
            if state.get(name) != own[name]:
                raise UsageError(
                    f"this state is of a loader with {name} {state.get(name)}, this one has "
                    f"{own[name]}: the batches would not be those that are left."
                )
        self.epoch, self._given = state["epoch"], state["batches"]

    def close(self) -> None:
        """Ends the workers; the next iteration starts others."""
        if self._pool is not None:
            self._pool.close()
        self._pool = None
        self._pending.clear()

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        if tell := getattr(self.sampler, "set_epoch", None):
            tell(self.epoch)
        epoch, first = self.epoch, self._given
        self._given = 0  # an iteration that is broken off is begun anew by the next one
        batches = self.order.of(epoch, self.sampler)
        underway: list[int] = []
        coming = iter(range(first, len(batches)))
        try:
            self._begin(underway, coming, batches, epoch)
            for number in range(first, len(batches)):
                pending = self._finish(underway[0])
                underway.pop(0)
                self._given = number + 1
                if number + 1 == len(batches):
                    self.epoch, self._given = epoch + 1, 0
                yield self._batch(pending)
                del pending
                self._begin(underway, coming, batches, epoch)
        finally:
            for ticket in underway:
                self._abandon(ticket)

    def _begin(
        self,
        underway: list[int],
        coming: Iterator[int],
        batches: list[npt.NDArray[np.int64]],
        epoch: int,
    ) -> None:
        """Gives the workers batches until enough are underway."""
        while len(underway) < self.prefetch:
            number = next(coming, None)
            if number is None:
                return
            underway.append(self._start(batches[number], epoch, number))

    def _start(self, rows: npt.NDArray[np.int64], epoch: int, number: int) -> int:
        if self._pool is None:
            self._pool = self._make_pool()
        keys = (self.order.seed, epoch, number, self.order.rank)
        layout = lay_out(self.dataset, self.crop, rows, keys)
        pending = _Pending(self._buffers.take(layout.end), layout)
        ticket = self._ticket = self._ticket + 1
        self._pending[ticket] = pending
        part = max(1, min(_PART, -(-len(rows) // (4 * max(1, self.workers)))))
        for first in range(0, len(rows), part):
            pending.left += 1
            some = layout.part(slice(first, first + part))
            self._pool.submit(Task(ticket, pending.buffer.place, some))
        return ticket

    def _finish(self, ticket: int) -> _Pending:
        """Waits until a batch is whole."""
        pending = self._pending[ticket]
        while pending.left:
            self._take(self._answer())
        del self._pending[ticket]
        if pending.error is not None:
            self._buffers.give_back(pending.buffer)
            raise pending.error
        return pending

    def _answer(self) -> Done:
        assert self._pool is not None
        try:
            return self._pool.done()
        except BaseException:
            self.close()  # what is underway is lost
            raise

    def _take(self, done: Done) -> None:
        pending = self._pending[done.batch]
        pending.left -= 1
        pending.error = pending.error or done.error
        if pending.unwanted and not pending.left:
            del self._pending[done.batch]
            self._buffers.give_back(pending.buffer)

    def _abandon(self, ticket: int) -> None:
        """Leaves a batch that nobody will ask for to its workers; its buffer comes back later."""
        pending = self._pending.get(ticket)
        if pending is None:
            return
        pending.unwanted = True
        if not pending.left:
            del self._pending[ticket]
            self._buffers.give_back(pending.buffer)

    def _batch(self, pending: _Pending) -> Batch:
        dataset, layout = self.dataset, pending.layout
        memory = torch.from_numpy(self._buffers.lend(pending.buffer))
        images, masks = tensors(memory, layout, self.crop)
        rows, boxes, flips = layout.rows, layout.boxes, layout.flips
        return Batch(
            images=images,
            masks=masks,
            indices=torch.from_numpy(rows),
            class_ids=torch.from_numpy(dataset.class_ids[rows].astype(np.int64)),
            ilsvrc=torch.from_numpy(dataset.ilsvrc[rows].astype(np.int64)),
            names=[dataset.names[row] for row in rows.tolist()],
            boxes=None if boxes is None else torch.from_numpy(boxes.astype(np.int64)),
            flips=None if flips is None else torch.from_numpy(flips),
        )


def _shuffle(shuffle: bool | Shuffle) -> Shuffle | None:
    if isinstance(shuffle, bool):
        return "exact" if shuffle else None
    return shuffle


def _pool(decoder: Decoder, workers: int, backend: str, method: str | None) -> Any:
    if not workers:
        return lambda: Inline(decoder)
    if backend == "threads":
        return lambda: Threads(decoder, workers)
    return lambda: Processes(decoder, workers, method)
