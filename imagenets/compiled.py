"""Loops that NumPy cannot express, compiled by Numba and kept compiled on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compiles a function at its first call; it runs without Python's global lock.

    The machine code is kept beside the source or in the user's cache folder, so that other
    processes load it in milliseconds. Where neither can be written to, each process compiles.
    """
    try:
        return cast(Callable[Arguments, Result], numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # no folder to keep it in
        return cast(Callable[Arguments, Result], numba.njit(nogil=True)(function))
