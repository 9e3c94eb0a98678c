"""What a block of work takes: its memory at the most, and the time of each of its steps."""

from __future__ import annotations

import ctypes
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from imagenets.data.loader import Batch

_STATM = Path("/proc/self/statm")
_MEMINFO = Path("/proc/meminfo")
_CGROUPS = ("memory.max", "memory/memory.limit_in_bytes")
_LOOK = 0.002
"""Seconds between two looks at the memory of this process."""


class Steps:
    """The time of each step of every loop that shows its progress; a `Watcher`.

    Args:
        device: What it waits for at the end of each step.

    Attributes:
        found: What the loop is called -> of each step its images and seconds.
    """

    def __init__(self, device: torch.device) -> None:
        self.found: dict[str, list[tuple[int, float]]] = {}
        self._device = device
        self._what, self._last = "", 0.0

    def begin(self, what: str, total: int | None, first: int) -> None:
        """A loop begins."""
        self.found[what] = []
        self._what, self._last = what, time.perf_counter()

    def passed(self, row: object) -> None:
        """A step of it is done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        images = len(row) if isinstance(row, Batch) else 1
        self.found[self._what].append((images, now - self._last))
        self._last = now

    def seconds(self, what: str) -> float | None:
        """Seconds an image in loops whose name begins so; the first step, which warms up, is left
        out where there are others.
        """
        for name, steps in self.found.items():
            if name.startswith(what) and steps:
                return statistics.median(taken / images for images, taken in steps[1:] or steps)
        return None


class Peak:
    """The most memory that a block held; see `peak`.

    Attributes:
        bytes: On the GPU what torch held, on a CPU what the process held; 0 where none can tell.
    """

    bytes: int = 0


@contextmanager
def peak(device: torch.device) -> Iterator[Peak]:
    """Finds how much memory a block holds at the most."""
    found = Peak()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        try:
            yield found
        finally:
            found.bytes = torch.cuda.max_memory_reserved(device)
        return
    _trim()
    ended = threading.Event()
    looker = threading.Thread(target=_look, args=(found, ended), daemon=True)
    looker.start()
    try:
        yield found
    finally:
        ended.set()
        looker.join()


def available(device: torch.device) -> int | None:
    """Bytes of memory that this process may come to hold, as far as is known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    limits = []
    with suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        limits.append(1024 * int(lines["MemAvailable"].split()[0]) + _resident())
    for name in _CGROUPS:
        with suppress(OSError, ValueError):  # "max" is no number: there is no limit
            limits.append(int((Path("/sys/fs/cgroup") / name).read_text()))
    return min(limits, default=None)


def _look(found: Peak, ended: threading.Event) -> None:
    with suppress(OSError):
        while True:
            found.bytes = max(found.bytes, _resident())
            if ended.wait(_LOOK):
                return


def _resident() -> int:
    import resource

    return int(_STATM.read_text().split()[1]) * resource.getpagesize()


def _trim() -> None:
    """Gives freed memory back to the system, where it can be, so that it is not counted again."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
