"""The compiled loops of `resample.py`. They take addresses and boxes that were checked before.

A sum over neighbouring columns does not vectorise where channels are interleaved, so 32 rows at a
time are transposed, and then both passes are the same weighted sum of rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from imagenets.core import simd
from imagenets.core.jit import carray, compiled_for, inlined, types
from imagenets.core.simd import PRECISION, pointer, transpose_16, weigh_16, weigh_32

BLOCK = 16
"""Side of the blocks that are transposed, bytes."""

_ONE = float(1 << PRECISION)
_LONG = types.int64


@inlined()
def _bicubic(x: float) -> float:
    """Keys' cubic with a = -0.5 (IEEE Trans. ASSP 29(6), 1981) of a distance x >= 0."""
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


@compiled_for(
    types.void(
        *(_LONG, _LONG, types.float64, _LONG, _LONG),
        *(_LONG[::1], _LONG[::1], types.int32[:, ::1]),
    ),
)
def _weights(
    size: int, start: int, scale: float, skip: int, kind: int, first: Any, taps: Any, weights: Any
) -> None:
    """Fills, for each output pixel, its first input pixel, their number and their weights.

    Args:
        size: Input pixels that there are.
        start: Of the part of them that is resized.
        scale: Input pixels an output pixel.
        skip: Output pixels before the first one that is wanted.
        kind: See `filter_code`.
        first: Written.
        taps: Written.
        weights: Written.
    """
    outputs = first.shape[0]
    stretch = 1.0 if kind == 2 else max(scale, 1.0)
    support = (2.0 if kind == 1 else 1.0) * stretch
    row = np.empty(weights.shape[1])
    for o in range(outputs):
        centre = start + (o + skip + 0.5) * scale
        low = max(0, int(centre - support + 0.5))
        count = min(size, int(centre + support + 0.5)) - low
        total = 0.0
        for k in range(count):
            x = abs((k + low - centre + 0.5) * (1.0 / stretch))
            row[k] = _bicubic(x) if kind == 1 else max(0.0, 1.0 - x)
            total += row[k]
        first[o] = low
        taps[o] = count
        for k in range(count):
            fixed = row[k] / total * _ONE
            weights[o, k] = int(fixed - 0.5) if fixed < 0.0 else int(fixed + 0.5)


@inlined()
def _most_taps(scale: float, kind: int) -> int:
    stretch = 1.0 if kind == 2 else max(1.0, scale)
    return math.ceil((2.0 if kind == 1 else 1.0) * stretch) * 2 + 1


@inlined()
def _rows_at(address: int, stride: int, width: int, height: int) -> Any:
    """The rows of an image in memory; a copy with room for one block if it is smaller."""
    rows = carray(pointer(address), (height, stride), np.uint8)
    if height >= BLOCK and 3 * width >= BLOCK:
        return rows
    room = np.zeros((max(height, BLOCK), max(3 * width, BLOCK)), np.uint8)
    for y in range(height):
        for x in range(3 * width):
            room[y, x] = rows[y, x]
    return room


@inlined()
def _turn(source: Any, width: int, top: int, rows: int, first: int, last: int, turned: Any) -> None:
    """Transposes bytes `first` to `last` of 16 or 32 image rows: turned[byte x rows]."""
    stride = source.shape[1]
    origin = source.ctypes.data + top * stride
    for block in range(0, rows, 16):
        base = origin + block * stride
        for byte in range(first, last, 16):
            here = min(byte, width - 16)  # the last block overlaps the one before
            target = turned.ctypes.data + here * rows + block
            transpose_16(target, rows, base + here, stride)


@inlined()
def _sum_columns(
    turned: Any, rows: int, flip: bool, first: Any, taps: Any, weights: Any, across: Any
) -> None:
    """The horizontal pass: across[(output x channel) x rows] from turned."""
    group = 3 * rows
    outputs = first.shape[0]
    for o in range(outputs):
        source = turned.ctypes.data + first[o] * group
        target = across.ctypes.data + (outputs - 1 - o if flip else o) * group
        weight = weights.ctypes.data + o * weights.strides[0]
        if rows == 32:
            for part in range(0, group, 32):
                weigh_32(target + part, source + part, group, weight, taps[o])
        else:
            for part in range(0, group, 16):
                weigh_16(target + part, source + part, group, weight, taps[o])


@inlined()
def _turn_back(across: Any, rows: int, planes: bool, width: int, middle: Any, top: int) -> None:
    """Transposes the horizontal pass back into rows, interleaved or channel after channel."""
    stride = middle.shape[1]
    pitch = -(-width // 16) * 16
    for block in range(0, rows, 16):
        target = middle.ctypes.data + (top + block) * stride
        source = across.ctypes.data + block
        if planes:
            for channel in range(3):
                for o in range(0, width, 16):
                    place = source + (o * 3 + channel) * rows
                    transpose_16(target + channel * pitch + o, stride, place, 3 * rows)
        else:
            for o in range(0, width * 3, 16):
                transpose_16(target + o, stride, source + o * rows, rows)


@inlined()
def _sum_rows(middle: Any, first: int, taps: int, weights: Any, row: Any) -> None:
    """One row of the vertical pass."""
    stride = middle.shape[1]
    source = middle.ctypes.data + first * stride
    for part in range(0, stride, 32):
        weigh_32(row.ctypes.data + part, source + part, stride, weights.ctypes.data, taps)


@inlined()
def _store(row: Any, line: int, planes: bool, pitch: int, out: Any) -> None:
    """Writes one finished row into the result."""
    lines, length = out.shape[0] // 3, out.shape[1]
    for channel in range(3 if planes else 1):
        source = row[channel * pitch :]
        target = out[channel * lines + line]
        for x in range(length):
            target[x] = source[x]


@inlined()
def _resize(
    source: Any, width: int, across_by: Any, down_by: Any, flip: bool, planes: bool, out: Any
) -> None:
    """Both passes, given what each output pixel is made of; `width` is that of a row, bytes."""
    x_first, x_taps, x_weights = across_by
    y_first, y_taps, y_weights = down_by
    columns, lines = len(x_first), len(y_first)
    begin, end = y_first[0], y_first[-1] + y_taps[-1]
    first_byte, last_byte = 3 * x_first[0], 3 * (x_first[-1] + x_taps[-1])
    padded = -(-columns // 16) * 16
    stride = -(-padded * 3 // 32) * 32
    base = min(begin, max(0, source.shape[0] - 32))
    turned = np.empty((last_byte + 16) * 32, np.uint8)
    across = np.empty(padded * 3 * 32, np.uint8)
    middle = np.empty((end - base + 32, stride), np.uint8)
    row = np.empty(stride, np.uint8)
    done, o = begin, 0
    while done < end:
        rows = 32 if end - done > 16 and source.shape[0] >= 32 else 16
        here = min(done, source.shape[0] - rows)  # the last strip overlaps the one before
        _turn(source, width, here, rows, first_byte, last_byte, turned)
        _sum_columns(turned, rows, flip, x_first, x_taps, x_weights, across)
        _turn_back(across, rows, planes, columns, middle, here - base)
        done = here + rows
        while o < lines and y_first[o] + y_taps[o] <= done:  # while the rows are in the cache
            _sum_rows(middle, y_first[o] - base, y_taps[o], y_weights[o], row)
            _store(row, o, planes, padded, out)
            o += 1


@compiled_for(
    types.void(*[_LONG] * 8, types.boolean, _LONG, types.boolean, types.uint8[:, ::1]),
    calls=[simd],
)
def resize_at(
    address: int,
    stride: int,
    image_width: int,
    image_height: int,
    left: int,
    top: int,
    width: int,
    height: int,
    flip: bool,
    kind: int,
    planes: bool,
    out: Any,
) -> None:
    """`resize_crop_into` for numba functions: an image by its address, unchecked.

    Args:
        address: Of the first byte of the image.
        stride: Bytes from row to row.
        image_width: Pixels.
        image_height: Pixels.
        left: Of the box, pixels; so are top, width and height.
        top: See left.
        width: See left.
        height: See left.
        flip: Mirror the result horizontally.
        kind: See `filter_code`.
        planes: Whether the result is planes, (3 x h) x w, or interleaved, h x (w x 3).
        out: uint8; written.
    """
    columns = out.shape[1] if planes else out.shape[1] // 3
    lines = out.shape[0] // 3 if planes else out.shape[0]
    x_scale, y_scale = width / columns, height / lines
    x_first, x_taps = np.empty(columns, np.int64), np.empty(columns, np.int64)
    y_first, y_taps = np.empty(lines, np.int64), np.empty(lines, np.int64)
    x_weights = np.empty((columns, _most_taps(x_scale, kind)), np.int32)
    y_weights = np.empty((lines, _most_taps(y_scale, kind)), np.int32)
    _weights(image_width, left, x_scale, 0, kind, x_first, x_taps, x_weights)
    _weights(image_height, top, y_scale, 0, kind, y_first, y_taps, y_weights)
    source = _rows_at(address, stride, image_width, image_height)
    across, down = (x_first, x_taps, x_weights), (y_first, y_taps, y_weights)
    _resize(source, max(3 * image_width, BLOCK), across, down, flip, planes, out)


@compiled_for(
    types.void(_LONG, _LONG, _LONG[::1], _LONG, types.uint8[:, ::1]),
    calls=[simd],
)
def resize_window_at(address: int, stride: int, sizes: Any, kind: int, out: Any) -> None:
    """`resize_window_into` for what was checked: a part of an image by its address.

    Args:
        address: Of the first byte of the part.
        stride: Bytes from row to row.
        sizes: Left, top, width and height of the part in the image; width and height of the image,
            and of what it is resized to; left and top of the window in that.
        kind: See `filter_code`.
        out: uint8, the window, h x (w x 3); written.
    """
    part_left, part_top, part_width, part_height = sizes[:4]
    image_width, image_height, full_width, full_height, left, top = sizes[4:]
    columns, lines = out.shape[1] // 3, out.shape[0]
    x_scale, y_scale = image_width / full_width, image_height / full_height
    x_first, x_taps = np.empty(columns, np.int64), np.empty(columns, np.int64)
    y_first, y_taps = np.empty(lines, np.int64), np.empty(lines, np.int64)
    x_weights = np.empty((columns, _most_taps(x_scale, kind)), np.int32)
    y_weights = np.empty((lines, _most_taps(y_scale, kind)), np.int32)
    _weights(image_width, 0, x_scale, left, kind, x_first, x_taps, x_weights)
    _weights(image_height, 0, y_scale, top, kind, y_first, y_taps, y_weights)
    x_first -= part_left
    y_first -= part_top
    source = _rows_at(address, stride, part_width, part_height)
    across, down = (x_first, x_taps, x_weights), (y_first, y_taps, y_weights)
    _resize(source, max(3 * part_width, BLOCK), across, down, False, False, out)


@compiled_for(
    types.void(
        *(types.uint8[:, ::1], types.boolean),
        *(types.float32[::1], types.float32[::1], types.float32[:, ::1]),
    ),
)
def scale_at(crop: Any, planes: bool, scale: Any, bias: Any, out: Any) -> None:
    lines, length = crop.shape
    factors, shifts = np.empty(length, np.float32), np.empty(length, np.float32)
    change = lines // 3 if planes else lines  # after so many rows the channels are others
    for line in range(lines):
        if line % change == 0:
            for i in range(length):
                channel = 3 * line // lines if planes else i % 3
                factors[i], shifts[i] = scale[channel], bias[channel]
        for i in range(length):
            out[line, i] = crop[line, i] * factors[i] + shifts[i]
