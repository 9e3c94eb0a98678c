"""Ranks: who this process is among those that work together, and what they tell each other.

Nothing else talks over `torch.distributed`. Without a process group every function here does what
it does for one rank, and torch is not imported. `imagenets.core.launch.joined` sets a group up; one
that somebody else has set up is used as well.

Sample i of a step of all ranks belongs to rank i % world: `own_part` takes a rank's part of what
was made for the whole step, `interleaved` puts the parts of all ranks together again.
"""

from __future__ import annotations

import datetime
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from imagenets.errors import ImageNetSError, RankError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")

_PROBE = 10.0
"""Seconds that every rank has to answer when the ranks have lost touch."""

_ABSENT = re.compile(r"[Rr]anks? ([\d, ]+) failed to pass")
"""How a barrier of gloo names the ranks that did not come."""


@dataclass
class _Groups:
    """Groups beside the one of all ranks, where `joined` has set it up.

    Attributes:
        host: For what lies in host memory; None where the one of all ranks does that.
        watch: For barriers and for finding out who is gone: it stays whole when the others break.
    """

    host: Any = None
    watch: Any = None


groups = _Groups()
"""Set by `imagenets.core.launch` alone."""


def rank() -> int:
    """Number of this process among `world()`; 0 without `torch.distributed`."""
    return _ask()[0]


def world() -> int:
    """Number of processes that work together; 1 without `torch.distributed`."""
    return _ask()[1]


def is_first() -> bool:
    """Whether this is the rank that writes what all ranks share."""
    return rank() == 0


def check_group(what: str) -> None:
    """Refuses to share out what nobody shares.

    Raises:
        UsageError: No process group was set up.
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        raise UsageError(f"{what} needs torch.distributed.init_process_group to be called.")


def gather(item: Item, group: Any = None) -> list[Item]:
    """What every rank gives, in the order of the ranks, on every rank.

    Args:
        item: Of this rank; it must pickle.
        group: Process group; that of all ranks if None.
    """
    if world() == 1:
        return [item]
    import torch.distributed as dist

    group = groups.host if group is None else group
    items: list[Any] = [None] * dist.get_world_size(group)
    with talking("gathering"):
        dist.all_gather_object(items, item, group=group)
    return items


def broadcast(item: Item) -> Item:
    """What the first rank gives, on every rank; it must pickle."""
    if world() == 1:
        return item
    import torch.distributed as dist

    items = [item]
    with talking("hearing from the first rank"):
        dist.broadcast_object_list(items, 0, group=groups.host)
    return items[0]


def on_first(work: Callable[[], Item]) -> Item:
    """Lets the first rank do something, such as write a file; all ranks get its result.

    Args:
        work: Called on the first rank alone, once; its result must pickle.

    Raises:
        ImageNetSError: What it raises; on other ranks a `RankError` of the same exit code, which
            the command line does not print: the first rank says what is wrong.
    """
    if world() == 1:
        return work()
    failed: BaseException | None = None
    told: tuple[bool, Any] = (False, None)
    if is_first():
        try:
            told = (True, work())
        except Exception as error:  # noqa: BLE001 - raised again below, when the others know
            code = error.exit_code if isinstance(error, ImageNetSError) else 1
            failed, told = error, (False, (code, str(error)))
    fine, value = broadcast(told)
    if failed is not None:
        raise failed
    if not fine:
        raise RankError(f"the first rank has failed: {value[1]}", exit_code=value[0], silent=True)
    result: Item = value
    return result


def add_up(tensor: Tensor, group: Any = None) -> Tensor:
    """Adds up a tensor over the ranks, in place; every rank gets the same bits.

    Args:
        tensor: Of one shape and type on all ranks, contiguous.
        group: Process group; that of all ranks if None.
    """
    return _reduce(tensor, "SUM", group)


def largest(tensor: Tensor) -> Tensor:
    """Takes the largest of every entry over the ranks, in place."""
    return _reduce(tensor, "MAX", None)


def any_rank(*flags: bool) -> tuple[bool, ...]:
    """Whether any rank says yes, of each question; all ranks get the same answers."""
    if world() == 1:
        return flags
    import torch

    return tuple(map(bool, largest(torch.tensor(flags, dtype=torch.uint8)).tolist()))


def barrier(what: str, timeout: float | None = None) -> None:
    """Waits until all ranks are here.

    Args:
        what: What they wait for, for the message.
        timeout: Seconds; those of the group if None.

    Raises:
        RankError: Some do not come; the message of the first rank names them.
    """
    if world() == 1:
        return
    import torch.distributed as dist

    with talking(what, probe=False):
        if groups.watch is None:
            dist.barrier()
            return
        seconds = None if timeout is None else datetime.timedelta(seconds=timeout)
        dist.monitored_barrier(groups.watch, seconds, wait_all_ranks=True)


def own_part(tensor: Tensor, dim: int = 0) -> Tensor:
    """This rank's part of what was made for the step of all ranks: every `world()`-th entry."""
    count = world()
    return tensor if count == 1 else tensor.unflatten(dim, (-1, count)).select(dim + 1, rank())


def own_items(items: Sequence[Item]) -> Sequence[Item]:
    """This rank's part of some work: every `world()`-th item."""
    return items[rank() :: world()]


def rounds(items: int) -> range:
    """How often all ranks together take one of so many items each, the last time perhaps fewer."""
    return range(-(-items // world()))


def interleaved(tensor: Tensor, dim: int = 0) -> Tensor:
    """Puts the parts of all ranks together, so that `own_part` would take them apart again."""
    count = world()
    if count == 1:
        return tensor
    import torch
    import torch.distributed as dist

    mine = tensor.detach().contiguous()
    parts = [torch.empty_like(mine) for _ in range(count)]
    with talking("gathering"):
        dist.all_gather(parts, mine, group=_group_for(mine))
    return torch.stack(parts, dim + 1).flatten(dim, dim + 1)


def _reduce(tensor: Tensor, how: str, group: Any) -> Tensor:
    if world() == 1:
        return tensor
    import torch.distributed as dist

    group = _group_for(tensor) if group is None else group
    operation = getattr(dist.ReduceOp, how)
    with talking("adding up"):
        if tensor.is_cuda or dist.get_backend(group) != "nccl":
            dist.all_reduce(tensor, operation, group=group)
        else:  # somebody else's group, which knows GPUs alone
            moved = tensor.cuda()
            dist.all_reduce(moved, operation, group=group)
            tensor.copy_(moved)
    return tensor


def _group_for(tensor: Tensor) -> Any:
    """The group that a tensor's memory needs; None is the one of all ranks."""
    return None if tensor.is_cuda else groups.host


@contextmanager
def talking(what: str, probe: bool = True) -> Iterator[None]:
    """Says in words that a rank has ended or does not answer."""
    import torch

    try:
        yield
    except ImageNetSError:
        raise
    except (RuntimeError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        who = os.environ.get("RANK", rank())
        reason = _reason(str(error), probe)
        raise RankError(
            f"rank {who} has lost the others while {what}: {reason}. Look for the first message of "
            "another rank; run the same command again to continue."
        ) from error


def _reason(message: str, probe: bool) -> str:
    """The words of gloo or NCCL in short; after a silence, who is silent, if that can be told."""
    if "by peer" in message or "Broken pipe" in message:
        return "one of them has ended"
    found = _ABSENT.search(message) or (_ABSENT.search(_probe()) if probe else None)
    if found:
        return f"no answer of rank {found[1]}"
    return "no answer" if "imed out" in message else message.splitlines()[0]


def _probe() -> str:
    """What a barrier of those that still answer says; the first rank alone hears names."""
    import torch.distributed as dist

    if groups.watch is None:
        return ""
    seconds = datetime.timedelta(seconds=_PROBE)
    try:
        dist.monitored_barrier(groups.watch, seconds, wait_all_ranks=True)
    except RuntimeError as error:
        return str(error)
    return ""


def _ask() -> tuple[int, int]:
    if "torch" not in sys.modules:  # whoever set up a group has imported it
        return 0, 1
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
