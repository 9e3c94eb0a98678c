"""How the byte-level code of this folder is compiled: ahead of its first call, kept on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from numba import types

Array: TypeAlias = npt.NDArray[Any]

Function = TypeVar("Function", bound=Callable[..., Any])

BYTES = types.Array(types.uint8, 1, "C", readonly=True)
"""Bytes that are read: mapped files and `bytes` objects come as read-only arrays."""

LENGTHS = types.Array(types.uint16, 1, "C", readonly=True)

OUT = types.Array(types.uint8, 1, "C")
"""Bytes that are written."""

INT = types.int64

COUNTS = types.Array(INT, 1, "C")

i64: Any = np.int64
"""Makes a number signed: in compiled code, bytes and what is computed from them are unsigned."""

u16: Any = np.uint16
u64: Any = np.uint64
"""Makes a number unsigned, which an index need not be checked for being negative for."""

_log = logging.getLogger(__name__)


def compiled(*arguments: Any) -> Callable[[Function], Function]:
    """Compiles a function for the given argument types, without the interpreter's lock.

    The machine code is kept beside the module (or in the user's cache), so that only the first
    process after an installation compiles; where no such folder can be written, every one does.
    What is kept is renewed when the function's own file changes, no other: compiled functions
    call each other only within one file.
    """

    def wrap(function: Function) -> Function:
        made: Any  # to type checkers it stays the function that it was
        try:
            made = numba.njit(arguments, nogil=True, cache=True)(function)
        except RuntimeError as error:
            if "cache" not in str(error):
                raise
            _log.debug("%s: compiled code is not kept: %s", function.__name__, error)
            made = numba.njit(arguments, nogil=True)(function)
        return made  # type: ignore[no-any-return]

    return wrap


def inlined(function: Function) -> Function:
    """Marks what compiled functions call: compiled into each of them, at no cost of a call."""
    made: Any = numba.njit(nogil=True, forceinline=True)(function)
    return made  # type: ignore[no-any-return]
