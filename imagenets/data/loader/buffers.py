"""Memory that workers write batches into and consumers read them from, without a copy.

A buffer is a mapped file without a name (on Linux), so it needs no room in /dev/shm and is gone
with its last user, whatever kills it. It is written again only when no tensor made of it is left.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

_ROOM = 1.25
"""A buffer that must grow is made larger than asked, so that it need not grow again soon."""


@dataclass(frozen=True, slots=True)
class Place:
    """What another process needs to write into a buffer."""

    path: str
    size: int
    serial: int


_serials = count()


class SharedBuffer:
    """One batch's memory, in this process."""

    def __init__(self, size: int) -> None:
        file, path = _memory_file()
        os.ftruncate(file, size)
        self._map = mmap.mmap(file, size)
        self.place = Place(path, size, next(_serials))
        weakref.finalize(self, _discard, file, path)

    def bytes(self) -> Bytes:
        """All of it; each call makes a new array, whose end can be waited for."""
        return np.frombuffer(self._map, np.uint8)


class SharedBuffers:
    """Lends buffers, and takes one back when all that was made of it is gone."""

    def __init__(self) -> None:
        self._free: deque[SharedBuffer] = deque()
        self.lent = 0

    def take(self, size: int) -> SharedBuffer:
        """A buffer of at least so many bytes: a free one, or a new one."""
        buffer = self._free.popleft() if self._free else None
        if buffer is None or buffer.place.size < size:
            buffer = SharedBuffer(max(mmap.PAGESIZE, int(size * _ROOM)))
        self.lent += 1
        return buffer

    def lend(self, buffer: SharedBuffer) -> Bytes:
        """The memory of a written buffer, which comes back by itself with the last use of it."""
        array = buffer.bytes()
        weakref.finalize(array, self.give_back, buffer).atexit = False
        return array

    def give_back(self, buffer: SharedBuffer) -> None:
        """Takes a buffer that nobody uses any more."""
        self.lent -= 1
        self._free.append(buffer)


class AttachedBuffers:
    """The buffers of another process, mapped here when first written to."""

    _MOST = 64

    def __init__(self) -> None:
        self._maps: OrderedDict[Place, Bytes] = OrderedDict()

    def __call__(self, place: Place) -> Bytes:
        """The memory of a buffer."""
        array = self._maps.get(place)
        if array is None:
            with Path(place.path).open("r+b") as file:
                array = np.frombuffer(mmap.mmap(file.fileno(), place.size), np.uint8)
            self._maps[place] = array
            if len(self._maps) > self._MOST:
                self._maps.popitem(last=False)
        return array


def _memory_file() -> tuple[int, str]:
    """A new file in memory where there is such a thing, and the path by which children reach it."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("imagenets-batch")
        return file, f"/proc/{os.getpid()}/fd/{file}"
    return tempfile.mkstemp(prefix="imagenets-batch")


def _discard(file: int, path: str) -> None:
    os.close(file)
    if not path.startswith("/proc/"):
        Path(path).unlink(missing_ok=True)
