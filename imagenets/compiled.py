"""Loops that NumPy cannot express, compiled by Numba and kept compiled on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from filelock import FileLock
from numba.core.caching import FunctionCache

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compiles a function at its first call; it runs without Python's global lock.

    The machine code is kept beside the source or in the user's cache folder, so that other
    processes load it in milliseconds. Where neither can be written to, each process compiles.
    A kept function is not compiled anew when functions of other files that it calls change: what
    is compiled must call nothing of ours from another file.
    """
    dispatcher: Any = numba.njit(nogil=True)(function)
    with suppress(RuntimeError):  # no folder to keep it in
        dispatcher._cache = _LockedCache(function)  # as `cache=True` does, but for the lock
    return cast(Callable[Arguments, Result], dispatcher)


class _LockedCache(FunctionCache):
    """Numba's cache on disk, one process at a time.

    Numba writes the index before the code that it names, and names of an older version of a file
    are used again. Workers that start together after an update would load old code in between.
    """

    def load_overload(self, *arguments: Any) -> Any:
        """Loads the code for some types of arguments, None if it is not there."""
        with _locked(self.cache_path):
            return super().load_overload(*arguments)

    def save_overload(self, *arguments: Any) -> None:
        """Keeps the code for some types of arguments."""
        with suppress(OSError), _locked(self.cache_path):  # a full disk costs the cache, no more
            super().save_overload(*arguments)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    lock = _lock(folder)
    try:
        lock.acquire()
    except OSError:  # a folder that can only be read: nobody writes
        yield
        return
    try:
        yield
    finally:
        lock.release()


@cache
def _lock(folder: str) -> FileLock:
    return FileLock(Path(folder) / "imagenets.lock")  # one object: a thread may take it twice
