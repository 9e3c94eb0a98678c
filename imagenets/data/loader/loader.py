"""Batches of an `ImageNetS`: decoded in parallel, in an order fixed by (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from imagenets.core import distributed
from imagenets.data.loader.batch import Batch
from imagenets.data.loader.buffers import SharedBuffer, SharedBuffers
from imagenets.data.loader.crops import Crop
from imagenets.data.loader.layout import Layout, lay_out, tensors
from imagenets.data.loader.order import Given, Order, Sampler, Share, Shuffle, check_rows
from imagenets.data.loader.readable import Readable, check_arguments, check_readable
from imagenets.data.loader.task import Decoder, Done, Task
from imagenets.data.loader.workers import WorkerPool, make_pool
from imagenets.errors import UsageError

T = TypeVar("T")

_PART = 32
"""Most samples that a worker takes at a time."""


@dataclass(slots=True)
class _Pending:
    """A batch that workers are at."""

    buffer: SharedBuffer
    layout: Layout
    repeated: npt.NDArray[np.bool_]
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
        drop_last: Whether to leave out a last batch that is not full. Else ranks that would have
            fewer samples in it get some twice, which `Batch.repeated` marks: leave them out of
            scores.
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
        UsageError: An argument is out of range; while iterating: an epoch has no batch.
        TypeError: `crop` is no crop.
        ImageNetSError: While iterating: what a worker met (names the sample), or its death.
    """

    def __init__(
        self,
        dataset: Readable,
        batch_size: int = 1,
        *,
        crop: Crop | None = None,
        seed: int = 0,
        shuffle: bool | Literal["window"] = False,
        drop_last: bool = False,
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
        check_arguments(crop, workers, prefetch, backend, sampler)
        self.dataset = dataset
        self._target_ids = _target_ids(dataset)
        self.crop = crop
        self.sampler = sampler
        self.order: Order | Given
        self._rank = distributed.rank() if rank is None else rank
        if sampler is not None:
            rank, world = 0, 1  # it has shared the samples out already
        rank = distributed.rank() if rank is None else rank
        world = distributed.world() if world is None else world
        if batches is not None:
            largest = max(map(len, batches), default=1)
            self.order = Given(batches, largest, seed, rank, world)
        else:
            length = len(dataset if sampler is None else sampler)
            self.order = Order(length, batch_size, seed, _shuffle(shuffle), drop_last, rank, world)
        self.epoch = 0
        self.prefetch = prefetch
        self.workers = workers
        self.backend = backend
        self.start_method = start_method
        self._given = 0  # batches of this epoch that the consumer has
        self._forget()

    def _forget(self) -> None:
        """Begins without workers, and without memory that they write to."""
        self._pool: WorkerPool | None = None
        self._buffers = SharedBuffers()
        self._pending: dict[int, _Pending] = {}
        self._ticket = 0

    def __getstate__(self) -> dict[str, Any]:
        own = ("_pool", "_buffers", "_pending", "_ticket")  # of this process
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def __repr__(self) -> str:
        order = self.order
        ranks = f", rank {order.rank} of {order.world}" if order.world > 1 else ""
        crop = "" if self.crop is None else f", {self.crop}"
        return (
            f"Loader({self.dataset}, {len(self)} batches of {order.batch_size}{crop}, "
            f"epoch {self.epoch}, {self.workers} workers{ranks})"
        )

    @property
    def batch_sampler(self) -> None:
        """None: a loader forms its batches itself. Trainers that know torch's loader ask for it."""
        return None

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch that the next iteration gives, from its first batch."""
        self.epoch, self._given = epoch, 0

    def state_dict(self) -> dict[str, Any]:
        """Where the iteration is: what `load_state_dict` needs to go on with the next batch.

        It is the same on all ranks, and plain numbers and strings.
        """
        return {
            "epoch": self.epoch,
            "batches": self._given,
            **self.order.state(),
            "sampler": self.sampler is not None,
            "crop": repr(self.crop),
            "data": getattr(self.dataset, "digest", None),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next iteration go on where another loader was.

        It may have run on another number of ranks with the same global batch (batch size x ranks).

        Raises:
            UsageError: It was a loader of other data, crops, order, global batch or seed.
        """
        own = self.state_dict()
        for name in [name for name in own if name not in ("epoch", "batches")]:
            if name not in state or state[name] != own[name]:
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
        if not batches:
            raise UsageError(
                f"an epoch of {self.order.length} samples has no batch of {self.order.batch_size}"
                f"{self._on_ranks()}: give a smaller batch_size, or drop_last=False."
            )
        if not isinstance(self.order, Order) or self.sampler is not None:
            check_rows(batches, len(self.dataset))
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

    def _on_ranks(self) -> str:
        return f" on each of {self.order.world} ranks" if self.order.world > 1 else ""

    def _begin(
        self, underway: list[int], coming: Iterator[int], batches: list[Share], epoch: int
    ) -> None:
        """Gives the workers batches until enough are underway."""
        while len(underway) < self.prefetch:
            number = next(coming, None)
            if number is None:
                return
            underway.append(self._start(batches[number], epoch))

    def _start(self, share: Share, epoch: int) -> int:
        if self._pool is None:
            decoder = Decoder(self.dataset, self.crop)
            self._pool = make_pool(decoder, self.workers, self.backend, self.start_method)
        stream = self._rank if self.sampler is not None else 0  # ranks draw together
        keys = (self.order.seed, epoch, share.number, stream)
        layout = lay_out(self.dataset, self.crop, share, keys)
        pending = _Pending(self._buffers.take(layout.end), layout, share.repeated)
        rows = layout.rows
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
        self._ask(lambda pool: pool.check())
        while pending.left:
            self._take(self._ask(lambda pool: pool.done()))
        del self._pending[ticket]
        if pending.error is not None:
            self._buffers.give_back(pending.buffer)
            raise pending.error
        return pending

    def _ask(self, question: Callable[[WorkerPool], T]) -> T:
        assert self._pool is not None
        try:
            return question(self._pool)
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
        dataset, layout, targets = self.dataset, pending.layout, self._target_ids
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
            repeated=torch.from_numpy(pending.repeated),
            target_ids=None if targets is None else torch.from_numpy(targets[rows]),
        )


def _target_ids(dataset: Readable) -> npt.NDArray[np.int64] | None:
    """The class id of the label of every sample, of a data set that has targets."""
    wanted = getattr(dataset, "target", None) is not None
    return np.asarray(getattr(dataset, "target_ids", None), np.int64) if wanted else None


def _shuffle(shuffle: bool | Shuffle) -> Shuffle | None:
    if isinstance(shuffle, bool):
        return "exact" if shuffle else None
    return shuffle
