"""How the byte-level code of this folder is compiled, and the types that it is compiled for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba import types

from imagenets.core.jit import compiled_for

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


def compiled(*arguments: Any) -> Callable[[Function], Function]:
    """Compiles a function for the given argument types alone, when its module is imported."""
    return cast(Callable[[Function], Function], compiled_for(arguments))


def inlined(function: Function) -> Function:
    """Marks what compiled functions call: compiled into each of them, at no cost of a call."""
    return cast(Function, numba.njit(nogil=True, forceinline=True)(function))
