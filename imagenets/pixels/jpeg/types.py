"""The types that the byte-level code of this folder is compiled for."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from imagenets.core.jit import types

Array: TypeAlias = npt.NDArray[Any]

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
