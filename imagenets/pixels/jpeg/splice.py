"""A crop of a JPEG file with restart markers, spliced together as a small file of its own.

The stored file counts its segments through row ends (so that it stays a plain JPEG file of the
image's own width), hence where M, the MCUs in a row, is no multiple of the interval I, segments
start at another column in each row. A small image of W MCUs a row, with W = M modulo I, starts its
segments at the same columns as the stored one does; only the segments over its row ends hold MCUs
from somewhere else. They can be chosen so that the right edge of each row is the image's and the
left is foreign, or the other way round: up to I - 1 columns that the crop must stay clear of.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from imagenets.core.jit import compiled_for, inlined, types
from imagenets.pixels.jpeg.header import Layout
from imagenets.pixels.jpeg.types import (
    BYTES,
    INT,
    LENGTHS,
    OUT,
    Array,
    i64,
    u64,
)

# the rule is switched off since Numba leaves this class untyped
LAYOUT = types.NamedUniTuple(INT, len(Layout._fields), Layout)  # type: ignore[no-untyped-call]

_MANY = 1 << 62


class Window(NamedTuple):
    """MCUs of the stored image that make the small one.

    Attributes:
        row: The first row.
        rows: Their number.
        column: The first column.
        columns: Their number.
        heads: Whether segments over row ends are right in the following row, not in theirs.
    """

    row: int
    rows: int
    column: int
    columns: int
    heads: bool


class Splice(NamedTuple):
    """A small file: its size in bytes and in pixels, and the first pixel of its MCUs.

    Attributes:
        size: Bytes; 0 if file and lengths do not belong together.
        left: Column of the stored image at which the small one starts.
        top: Row likewise.
        width: Pixels.
        height: Pixels.
        clean: Whether the last segment ends with the last MCU, so that no decoder finds bytes
            left over.
    """

    size: int
    left: int
    top: int
    width: int
    height: int
    clean: bool


@inlined(forceinline=True)
def window(columns: int, interval: int, left: int, right: int, top: int, bottom: int) -> Window:
    """The fewest MCUs from which the given ones can be decoded.

    Args:
        columns: MCUs in a row of the stored image.
        interval: MCUs in a segment.
        left: First column wanted.
        right: Last column wanted.
        top: First row wanted.
        bottom: Last row wanted.
    """
    step = math.gcd(columns, interval)
    spill = interval - step  # foreign columns at most
    least = _MANY
    best = Window(0, bottom + 1, 0, columns, False)
    for above in range(min(interval // step, top + 1)):
        row = top - above
        rows = bottom - row + 1
        phase = row * columns % interval  # MCUs of the row's first segment that are not its own
        if phase == 0 and rows * columns < least:
            least = rows * columns
            best = Window(row, rows, 0, columns, False)
        foreign = spill if rows > 1 else 0
        for heads in (True, False):
            end = right + 1 + (foreign if heads else 0)
            start = left - (0 if heads else foreign)
            start -= (start + phase) % interval
            width = end - start
            if rows > 1:
                width += (columns - width) % interval
            else:
                width = min(width + -width % interval, columns - start)
            if start < 0 or start + width > columns or (rows > 1 and width < interval):
                continue
            if rows * width < least:
                least = rows * width
                best = Window(row, rows, start, width, heads)
    return best


@inlined(forceinline=True)
def _move(data: Array, at: int, size: int, out: Array, to: int) -> int:
    """Copies bytes; returns the offset behind them."""
    source, target = u64(at), u64(to)
    for index in range(u64(size)):
        out[target + index] = data[source + index]
    return to + size


@inlined(forceinline=True)
def _copy_header(data: Array, end: int, out: Array) -> int:
    """Copies the header without ICC profile and the like, which no decoder reads for pixels.

    Returns:
        Its length.
    """
    here = filled = 2
    out[0], out[1] = 0xFF, 0xD8
    while here < end:
        marker = data[here + 1]
        if marker == 0xFF:
            here += 1
            continue
        length = 2 + (i64(data[here + 2]) << 8 | i64(data[here + 3]))
        if marker not in (0xE1, 0xE2, 0xFE):
            filled = _move(data, here, length, out, filled)
        here += length
    return filled


@inlined(forceinline=True)
def _resize(out: Array, end: int, width: int, height: int) -> None:
    """Writes another size into the frame header."""
    here = 2
    while here < end:
        marker = out[here + 1]
        if 0xC0 <= marker <= 0xC2:
            out[here + 5], out[here + 6] = height >> 8, height & 255
            out[here + 7], out[here + 8] = width >> 8, width & 255
            return
        here += 2 + (i64(out[here + 2]) << 8 | i64(out[here + 3]))


FAILED = Splice(0, 0, 0, 0, 0, False)


@compiled_for(
    (
        BYTES,
        LENGTHS,
        LAYOUT,
        *[INT] * 5,
        OUT,
    )
)
def splice(
    data: Array,
    lengths: Array,
    image: Layout,
    left: int,
    top: int,
    width: int,
    height: int,
    margin: int,
    out: Array,
) -> Splice:
    """Writes the small file.

    Args:
        data: The stored file.
        lengths: Of its segments, each with the marker behind it.
        image: What `layout` read from `data`, SEQUENTIAL.
        left: Of the box, inside the image.
        top: Likewise.
        width: Likewise, at least 1.
        height: Likewise.
        margin: Pixels around the box that must decode as in the stored file, too.
        out: Written; as long as `data` or longer.
    """
    interval, columns = image.interval, image.columns
    total = columns * image.rows
    if interval == 0 or len(lengths) != -(-total // interval) or len(out) < len(data):
        return FAILED
    body = 0
    for segment in range(len(lengths)):
        body += i64(lengths[segment])
    if image.scan + body != len(data):
        return FAILED
    part = window(
        columns,
        interval,
        max(left - margin, 0) // image.unit_width,
        (min(left + width + margin, image.width) - 1) // image.unit_width,
        max(top - margin, 0) // image.unit_height,
        (min(top + height + margin, image.height) - 1) // image.unit_height,
    )
    x, y = part.column * image.unit_width, part.row * image.unit_height
    wide = min(part.columns * image.unit_width, image.width - x)
    high = min(part.rows * image.unit_height, image.height - y)
    filled = _copy_header(data, image.scan, out)
    _resize(out, filled, wide, high)

    needed = part.rows * part.columns
    segment, at = 0, image.scan  # of the stored file
    written = row = column = 0  # of the small one
    while written * interval < needed:
        if part.heads and column + interval > part.columns and row + 1 < part.rows:
            first = (part.row + row + 1) * columns + part.column - (part.columns - column)
        else:
            first = (part.row + row) * columns + part.column + column
        goal = first // interval
        if goal < segment or goal >= len(lengths):
            return FAILED
        while segment < goal:
            at += i64(lengths[segment])
            segment += 1
        size = i64(lengths[goal])
        if size < 2 or data[at + size - 2] != 0xFF or filled + size > len(out):
            return FAILED
        filled = _move(data, at, size, out, filled)
        out[filled - 1] = 0xD0 + (written & 7)
        written += 1
        column += interval
        while column >= part.columns:
            column -= part.columns
            row += 1
    out[filled - 1] = 0xD9
    clean = min(interval, total - segment * interval) == needed - (written - 1) * interval
    return Splice(filled, x, y, wide, high, clean)
