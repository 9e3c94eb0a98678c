"""The header of a JPEG file, read from bytes that nobody vouches for.

Names are those of the standard, ITU-T T.81: markers in table B.1, frame and scan headers in B.2.
"""

from __future__ import annotations

from typing import NamedTuple

from imagenets.core.jit import compiled_for, inlined
from imagenets.pixels.jpeg.types import BYTES, Array, i64

SOI, EOI, SOS, DHT, DRI, COM = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xFE
RST0, APP0 = 0xD0, 0xE0

OTHER, SEQUENTIAL, PROGRESSIVE = 0, 1, 2


class Layout(NamedTuple):
    """Where things lie in a JPEG file, up to its first scan.

    Attributes:
        kind: SEQUENTIAL: 8 bits, Huffman codes, all of 1 or 3 components in one scan.
            PROGRESSIVE: these in several scans; `interval` and `scan` are then the first one's.
            OTHER: all else, and chroma sampling that simplejpeg does not know (it knows 4:4:4,
            4:2:2, 4:4:0, 4:2:0 and 4:1:1 by their usual factors); nothing further is known.
        width: Of the image in pixels.
        height: Likewise.
        components: 1 or 3.
        unit_width: Pixels that an MCU spans.
        unit_height: Likewise.
        columns: MCUs in a row.
        rows: Rows of MCUs.
        interval: MCUs between restart markers, 0 without any.
        frame: Offset of the frame header's marker: height and width follow at +5 and +7.
        scan: Offset of the entropy-coded bytes.
    """

    kind: int
    width: int
    height: int
    components: int
    unit_width: int
    unit_height: int
    columns: int
    rows: int
    interval: int
    frame: int
    scan: int


NONE = Layout(OTHER, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


@inlined(forceinline=True)
def _pair(data: Array, at: int) -> int:
    """Two bytes, the high one first."""
    return int(i64(data[at]) << 8 | i64(data[at + 1]))


@inlined(forceinline=True)
def _whole(data: Array, frame: int, scan: int, after: int, count: int) -> bool:
    """Whether a scan holds all components, in the frame's order, and all coefficients."""
    if after - scan != 2 + 6 + 2 * count or data[scan + 4] != count:
        return False
    for part in range(count):
        if data[scan + 5 + 2 * part] != data[frame + 10 + 3 * part]:
            return False
    tail = scan + 5 + 2 * count
    return bool(data[tail] == 0 and data[tail + 1] == 63 and data[tail + 2] == 0)


@inlined(forceinline=True)
def _measure(data: Array, kind: int, frame: int, scan: int, after: int, interval: int) -> Layout:
    """The layout from a frame header whose length is right and the first scan header."""
    height = _pair(data, frame + 5)
    width = _pair(data, frame + 7)
    count = i64(data[frame + 9])
    if width == 0 or height == 0:
        return NONE
    across, down = 1, 1
    if count == 3:  # of a single component, an MCU is one block, whatever its factors
        across, down = i64(data[frame + 11] >> 4), i64(data[frame + 11] & 15)
        known = down in (1, 2) if across in (1, 2) else across == 4 and down == 1
        if not known or data[frame + 14] != 0x11 or data[frame + 17] != 0x11:
            return NONE
    if kind == SEQUENTIAL and not _whole(data, frame, scan, after, count):
        kind = PROGRESSIVE
    columns, rows = -(-width // (8 * across)), -(-height // (8 * down))
    return Layout(
        kind, width, height, count, 8 * across, 8 * down, columns, rows, interval, frame, after
    )


@compiled_for((BYTES,))
def layout(data: Array) -> Layout:
    """Reads the header of a JPEG file.

    Args:
        data: The file, uint8; any bytes will do.

    Returns:
        Its layout; `kind` is OTHER for what is no JPEG or is none that we can handle.
    """
    size = len(data)
    if size < 4 or data[0] != 0xFF or data[1] != 0xD8:
        return NONE
    here, frame, interval, kind = 2, 0, 0, OTHER
    while here + 4 <= size and data[here] == 0xFF:
        marker = data[here + 1]
        if marker == 0xFF:  # a fill byte
            here += 1
            continue
        length = _pair(data, here + 2)
        after = here + 2 + length
        if length < 2 or after > size:
            return NONE
        if marker == DRI:
            if length != 4:
                return NONE
            interval = _pair(data, here + 4)
        elif marker == SOS:
            if frame == 0:
                return NONE
            return _measure(data, kind, frame, here, after, interval)
        elif 0xC0 <= marker <= 0xC2:
            if frame or length < 11:
                return NONE
            components = i64(data[here + 9])
            if components not in (1, 3) or length != 8 + 3 * components or data[here + 4] != 8:
                return NONE
            frame = here
            kind = PROGRESSIVE if marker == 0xC2 else SEQUENTIAL
        elif not (marker in (DHT, COM, 0xDB) or 0xE0 <= marker <= 0xEF):
            return NONE  # arithmetic, lossless and hierarchical modes, stray markers
        here = after
    return NONE
