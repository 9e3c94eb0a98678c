"""Starts ranks as torchrun does: real processes that find each other over the loopback."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp

from imagenets.core.launch import joined


def free_port() -> int:
    """A port below those that the system gives out itself: until a rank listens there, seconds
    later, no connection of another test is given it."""
    for port in random.SystemRandom().sample(range(10_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.socket() as found:
            found.bind(("127.0.0.1", port))
            return port
    raise OSError("100 ports of 127.0.0.1 are taken")


def environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun sets."""
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
    return {name: str(number) for name, number in numbers.items()} | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }


def run_ranks(count: int, folder: Path, work: Callable[..., Any], *args: Any) -> list[Any]:
    """Lets every rank do some work, and gives what each of them returns: tensors and numbers."""
    mp.spawn(_rank, (count, free_port(), folder, work, args), nprocs=count)
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(count)]


def _rank(
    rank: int, count: int, port: int, folder: Path, work: Callable[..., Any], args: Any
) -> None:
    os.environ |= environment(rank, count, port)
    torch.set_num_threads(1)
    with joined(timeout=60):
        torch.save(work(*args), folder / f"rank-{rank}.pt")
