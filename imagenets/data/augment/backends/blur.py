"""Gaussian blur of the bytes of one view, on the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from imagenets.core.jit import inlined
from imagenets.core.simd import PRECISION, weigh_32

REACH = 3.0
"""Where a Gaussian is cut off, in standard deviations; what is left is scaled to sum to one."""


@inlined()
def gaussian(sigma: float) -> Any:
    """The weights of -R..R with `PRECISION` bits behind the point, int32, R = ceil(3 sigma)."""
    radius = math.ceil(REACH * sigma)
    exact = np.empty(2 * radius + 1)
    total = 0.0
    for k in range(2 * radius + 1):
        exact[k] = math.exp(-0.5 * ((k - radius) / sigma) ** 2)
        total += exact[k]
    weights = np.empty(2 * radius + 1, np.int32)
    for k in range(2 * radius + 1):
        weights[k] = int(exact[k] / total * float(1 << PRECISION) + 0.5)
    return weights


@inlined()
def blur(view: Any, sigma: float) -> None:
    """Blurs (3 x H) x W bytes in place, borders replicated; columns first, then rows.

    Each finished row of the first pass stays in the cache for the second, in which the sum goes
    over the same row shifted by one byte.
    """
    weights = gaussian(sigma)
    taps = weights.shape[0]
    radius = taps // 2
    height, width = view.shape[0] // 3, view.shape[1]
    pitch = -(-width // 32) * 32
    padded = np.zeros((height + 2 * radius, pitch), np.uint8)
    line = np.zeros(pitch + 2 * radius, np.uint8)
    done = np.empty(pitch, np.uint8)
    for channel in range(3):
        for y in range(height + 2 * radius):
            source = min(max(y - radius, 0), height - 1)
            given, row = view[channel * height + source], padded[y]
            for x in range(width):
                row[x] = given[x]
        for y in range(height):
            start = padded.ctypes.data + y * pitch
            for part in range(0, pitch, 32):
                target = line.ctypes.data + radius + part
                weigh_32(target, start + part, pitch, weights.ctypes.data, taps)
            for x in range(radius):
                line[x] = line[radius]
                line[radius + width + x] = line[radius + width - 1]
            for part in range(0, pitch, 32):
                source = line.ctypes.data + part
                weigh_32(done.ctypes.data + part, source, 1, weights.ctypes.data, taps)
            row = view[channel * height + y]
            for x in range(width):
                row[x] = done[x]
