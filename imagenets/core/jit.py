"""Loops that NumPy cannot express, compiled by Numba and kept compiled on disk."""

from __future__ import annotations

import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, cached_property, update_wrapper
from multiprocessing import parent_process
from pathlib import Path
from platform import python_version
from types import ModuleType
from typing import Any, ParamSpec, TypeVar, cast

from imagenets.core.lock import FileLock
from imagenets.errors import DependencyError

try:  # here alone: what compiles takes `types` and `carray` from this module
    import numba
    from numba import types as types
    from numba.core.caching import FunctionCache
    from numba.extending import intrinsic as intrinsic
    from numba.extending import typeof_impl
    from numba.np.numpy_support import carray as carray
except ImportError as error:
    raise DependencyError(
        f"Numba, which compiles the loops of this package, cannot be imported ({error}). Try "
        "`pip install --upgrade numba`. Where pip finds no wheel for this Python "
        f"({python_version()}), take one for which there are: 3.11 to 3.13."
    ) from error

log = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds that a process waits for the cache, which others hold for milliseconds."""

_given_up: set[str] = set()

_MARK = "compilation-was-told"
"""File in a cache folder whose time says when a compilation was told."""

_TOGETHER = 60.0
"""Seconds for which one process speaks for all that compile for the same folder."""

_told: list[str] = []

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Function = TypeVar("Function", bound=Callable[..., Any])

_compiling = threading.RLock()


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compiles a function at its first call; it runs without Python's global lock.

    The machine code is kept beside the source or in the user's cache folder, so that other
    processes load it in milliseconds. Where neither can be written to, each process compiles.
    It is compiled anew when its own file changes, no other: what it calls stands there, too.
    """
    return cast(Callable[Arguments, Result], _dispatcher(function, 0))


def compiled_for(
    *signatures: Any, calls: Sequence[ModuleType] = ()
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Compiles a function at its first call, for these types of arguments alone.

    A call with others is then an error, not a new compilation. Otherwise as `compiled`.

    Args:
        signatures: Numba signatures, or tuples of the arguments' types.
        calls: Modules of compiled functions that it calls, directly or not: when one of them
            changes, it is compiled anew.
    """

    def wrap(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        return cast(Callable[Arguments, Result], Loop(function, signatures, calls))

    return wrap


def inlined(**options: Any) -> Callable[[Function], Function]:
    """Marks what only compiled functions call: it is compiled into them, and kept with them.

    Args:
        options: Of `numba.njit`, such as `fastmath`, `error_model`, `inline`, `forceinline`.
    """

    def wrap(function: Function) -> Function:
        return cast(Function, numba.njit(nogil=True, **options)(function))

    return wrap


class Loop:
    """A compiled function for fixed types; compiled functions call it as one of their own."""

    def __init__(
        self, function: Callable[..., Any], signatures: Sequence[Any], calls: Sequence[ModuleType]
    ) -> None:
        update_wrapper(self, function)
        self._function, self._signatures, self._calls = function, signatures, calls
        self._ready = False

    def __call__(self, *arguments: Any) -> Any:
        if not self._ready:
            self.compile()
        return self.dispatcher(*arguments)

    @cached_property
    def dispatcher(self) -> Any:
        """Numba's own object."""
        files = (Path(module.__file__) for module in self._calls if module.__file__)
        stamp = zlib.crc32(b"".join(file.read_bytes() for file in files))
        return _dispatcher(self._function, stamp)

    def compile(self) -> None:
        """Compiles it, or finds it compiled, without a call."""
        with _compiling:  # threads that come together wait for the first
            if not self._ready:
                for signature in self._signatures:
                    self.dispatcher.compile(signature)
                self.dispatcher.disable_compile()
                self._ready = True


@typeof_impl.register(Loop)
def _type_of_loop(loop: Loop, context: Any) -> Any:
    return typeof_impl(loop.dispatcher, context)  # what Numba makes of its own object


def _dispatcher(function: Callable[..., Any], stamp: int) -> Any:
    dispatcher: Any = numba.njit(nogil=True)(function)
    try:
        dispatcher._cache = _LockedCache(function, stamp)  # as `cache=True` does, but for the lock
        # Numba has no public way to give a cache: `cache=True` takes its own, which has no lock.
    except RuntimeError:  # no folder to keep it in
        _tell("")
    return dispatcher


def _tell(folder: str) -> None:
    """Says that loops are compiled: once a process, and once among those that start together.

    Args:
        folder: Where they will be kept, a cache that is locked; empty where nothing can be kept.
    """
    if _told:
        return
    _told.append(folder)
    if folder:
        mark = Path(folder) / _MARK
        with suppress(OSError):
            if time.time() - mark.stat().st_mtime < _TOGETHER:
                return
        with suppress(OSError):  # a full disk: then others say it as well
            mark.touch()
        log.warning("compiling loops for this machine, for up to 20 s; kept in %s", folder)
    elif parent_process() is None:  # workers cannot know whether another one said so
        log.warning(
            "compiling loops, up to 20 s in every process, since there is no folder "
            "to keep them in. Set NUMBA_CACHE_DIR to a folder that can be written to."
        )


class _LockedCache(FunctionCache):
    """Numba's cache on disk, one process at a time.

    Numba writes the index before the code that it names, and names of an older version of a file
    are used again. Workers that start together after an update would load old code in between.
    """

    # `no-untyped-call` is switched off below where Numba's own methods, which have no types, are
    # called: whatever they take and return is handed through.

    def __init__(self, function: Callable[..., Any], stamp: int) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]
        self._stamp = stamp

    def _index_key(self, signature: Any, codegen: Any) -> Any:
        """What code is found by: also what the function calls in other files."""
        key = super()._index_key(signature, codegen)  # type: ignore[no-untyped-call]
        return (*key, self._stamp)

    def load_overload(self, *arguments: Any) -> Any:
        """Loads the code for some types of arguments, None if it is not there."""
        with _locked(self.cache_path) as usable:
            if not usable:
                return None
            found = super().load_overload(*arguments)  # type: ignore[no-untyped-call]
            if found is None:
                _tell(self.cache_path)
            return found

    def save_overload(self, *arguments: Any) -> None:
        """Keeps the code for some types of arguments."""
        with suppress(OSError), _locked(self.cache_path) as usable:
            if not usable:
                return
            # a full disk costs the cache, no more
            super().save_overload(*arguments)  # type: ignore[no-untyped-call]


@contextmanager
def _locked(folder: str) -> Iterator[bool]:
    """Keeps other processes from a cache; gives whether this one may use it now.

    It may not while a lock stays held that is never held for long, by a process that hangs, or
    that has died where the system frees no locks: then this process compiles for itself.
    """
    lock = _lock(folder)
    try:
        held = lock.acquire(0 if folder in _given_up else _PATIENCE)
    except OSError:  # a folder that can only be read: nobody writes
        yield True
        return
    if not held and folder not in _given_up:
        _given_up.add(folder)
        log.warning(
            "%s: stays locked by another process, so compiled code is not taken from there, "
            "which costs some seconds. If no process is at work, delete %s",
            folder,
            lock.soft if lock.soft.exists() else lock.path,
        )
    try:
        yield held
    finally:
        if held:
            lock.release()


@cache
def _lock(folder: str) -> FileLock:
    return FileLock(Path(folder) / "imagenets.lock")  # one object: a thread may take it twice


os.register_at_fork(after_in_child=_lock.cache_clear)  # a child holds nothing of its parent
