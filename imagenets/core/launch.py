"""How a process becomes one of several ranks: by the environment that torchrun gives it."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from imagenets.core import distributed
from imagenets.core.distributed import talking
from imagenets.errors import UsageError

if TYPE_CHECKING:
    import torch

TIMEOUT = 7200.0
"""Seconds after which a rank no longer waits for the others. One that ends is noticed at once."""


class Launch(NamedTuple):
    """What torchrun tells a process.

    Attributes:
        rank: Its number among all processes.
        world: How many there are.
        local_rank: Its number among those of this machine.
        local_world: How many there are on this machine.
    """

    rank: int
    world: int
    local_rank: int
    local_world: int


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What the environment says of this process; None where it was started alone.

    Raises:
        UsageError: It says only a part, or something that cannot be.
    """
    if "WORLD_SIZE" not in environment:
        return None
    needed = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in environment]
    if missing and environment["WORLD_SIZE"] != "1":
        raise UsageError(
            f"WORLD_SIZE is set, {', '.join(missing)} not: start the ranks with torchrun, or set "
            "what it sets (docs/scaling.md)."
        )
    text = {name: environment.get(name, "0") for name in ("RANK", "LOCAL_RANK")}
    text["WORLD_SIZE"] = environment["WORLD_SIZE"]
    text["LOCAL_WORLD_SIZE"] = environment.get("LOCAL_WORLD_SIZE", environment["WORLD_SIZE"])
    said = ", ".join(f"{name}={value}" for name, value in text.items())
    try:
        found = {name: int(value) for name, value in text.items()}
    except ValueError:
        raise UsageError(f"{said}: these must be whole numbers, as torchrun sets them.") from None
    launch = Launch(
        found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"], found["LOCAL_WORLD_SIZE"]
    )
    if not (0 <= launch.rank < launch.world and 0 <= launch.local_rank < launch.local_world):
        raise UsageError(f"{said}: there is no such rank. Start the ranks with torchrun.")
    return launch


def speaker() -> str:
    """Who says something, for messages of any rank but the first: `rank 3: `, else nothing."""
    number = os.environ.get("RANK", "0") if "WORLD_SIZE" in os.environ else "0"
    return "" if number == "0" else f"rank {number}: "


@contextmanager
def joined(device: torch.device | None = None, timeout: float = TIMEOUT) -> Iterator[None]:
    """Lets a block run as one of the ranks that torchrun has started; alone if it has not.

    Args:
        device: Where this rank computes: sums go over NCCL on a GPU, else over gloo.
        timeout: Seconds after which a rank no longer waits for the others.

    Raises:
        UsageError: The environment makes no sense, or there is a group already.
        RankError: The ranks do not find each other.
    """
    launch = launched()
    if launch is None or launch.world == 1:
        yield
        return
    import torch.distributed as dist

    _start(launch, device, datetime.timedelta(seconds=timeout))
    try:
        yield
    except BaseException:
        if dist.get_backend() == "gloo":  # NCCL would wait for the others; the process ends anyway
            _stop()
        raise
    _stop()


def _start(launch: Launch, device: torch.device | None, timeout: datetime.timedelta) -> None:
    import torch.distributed as dist

    if not dist.is_available():
        raise UsageError("this torch was built without torch.distributed: start one process.")
    if dist.is_initialized():
        raise UsageError("there is a process group already: end it first.")
    on_gpu = device is not None and device.type == "cuda"
    with talking("finding each other", probe=False):
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            rank=launch.rank,
            world_size=launch.world,
            timeout=timeout,
            device_id=device if on_gpu else None,
        )
        distributed.groups.watch = dist.new_group(backend="gloo", timeout=timeout)
        if on_gpu:
            distributed.groups.host = dist.new_group(backend="gloo", timeout=timeout)


def _stop() -> None:
    import torch.distributed as dist

    distributed.groups.host = distributed.groups.watch = None
    dist.destroy_process_group()
