"""Moves restart markers: walks the Huffman codes of a scan and copies them, bit by bit the same.

A restart marker sets the DC predictions to zero and the bits to a byte's start. So all that changes
in a block is its DC difference, and only in the first block of each component after a marker, the
old ones or the new ones; every other bit is copied (T.81, F.1.2.1 and F.2.1.3).

Nothing here trusts the file: each access is within its array whatever the bytes, by the padding
and the checks that the comments name.
"""

from __future__ import annotations

import numpy as np
from numba import types

from imagenets.data.jpeg.compiled import BYTES, INT, OUT, Array, compiled, i64, u64

TABLES = types.Array(types.uint16, 2, "C")
"""One row for each Huffman table: for the next 16 bits, what they begin with (see `fill_table`)."""

CODES = types.Array(types.uint32, 2, "C")
COUNTS = types.Array(INT, 1, "C")
OFFSETS = types.Array(types.uint16, 1, "C")

DC_SIZES = 12
"""Sizes of DC differences at 8 bits: 0 to 11 bits (T.81, table F.1)."""

END, BAD = 256, 512
"""Steps no run can have: the end of a block, and a code that is none."""

PADDING = 4096
"""Bytes after the scan's: a block reads at most 64 x 31 bits, an MCU 10 blocks, past its start."""

MCU_ROOM = 8192
"""Bytes that an MCU of 10 blocks, stuffed, and a marker need at most (10 x 64 x 4 x 2)."""

DONE, CORRUPT, FULL, LACKING = 0, 1, 2, 3


@compiled(BYTES, INT, types.boolean, types.Array(types.uint16, 1, "C"))
def fill_table(data: Array, at: int, ac: bool, table: Array) -> bool:
    """Reads a Huffman table into a look-up by the next 16 bits.

    Args:
        data: The file.
        at: Offset of the table's 16 counts, inside a segment that was checked to hold the counts
            and as many symbols.
        ac: Whether it codes AC coefficients.
        table: Written, 65,536 entries: for AC `step << 6 | bits`, the bits of code and value, and
            the step to the next coefficient (END and BAD: see there); for DC
            `size << 6 | bits of the code`, with the size BAD >> 6 for none.

    Returns:
        Whether the table is sound.
    """
    table[:] = BAD << 6 if ac else 63 << 6
    symbol = at + 16
    code = 0  # left-aligned in 16 bits
    for length in range(1, 17):
        span = 1 << (16 - length)
        for _ in range(data[at + length - 1]):
            value = i64(data[symbol])
            symbol += 1
            run, size = value >> 4, value & 15
            if not ac:
                entry = (value << 6 | length) if value < DC_SIZES else 63 << 6
            elif size:
                entry = (run + 1) << 6 | (length + size)
            elif run == 0:
                entry = END << 6 | length
            elif run == 15:
                entry = 16 << 6 | length
            else:
                entry = BAD << 6
            if code + span > 65536:
                return False
            table[code : code + span] = entry
            code += span
    return True


@compiled(BYTES, INT, OUT, COUNTS)
def unstuff(data: Array, at: int, out: Array, starts: Array) -> int:
    """Takes the stuffed zeros and the restart markers out of a scan.

    Args:
        data: The file.
        at: Offset of the scan's entropy-coded bytes.
        out: Written; it has room for all bytes after `at`.
        starts: Written: where in `out` each part between restart markers starts, and the end; any
            marker but the expected one ends the reading.

    Returns:
        The number of parts, or 0 if the scan does not end at EOI after as many parts as `starts`
        has room for.
    """
    size, filled, part = len(data), 0, 0
    starts[0] = 0
    while at < size:
        byte = data[at]
        at += 1
        out[filled] = byte
        filled += 1
        if byte != 0xFF:
            continue
        if at >= size:
            return 0
        following = data[at]
        at += 1
        if following == 0:
            continue
        filled -= 1  # a marker, no data
        part += 1
        starts[part] = filled
        if following == 0xD9:
            return part if part == len(starts) - 1 else 0
        if following != 0xD0 + ((part - 1) & 7) or part == len(starts) - 1:
            return 0
    return 0


@compiled(OUT, types.uint64)
def _peek(bits: Array, position: int) -> int:
    """The next 57 bits or more, left-aligned in 64."""
    at = position >> u64(3)
    word = u64(0)
    for offset in range(8):
        word = word << u64(8) | u64(bits[at + u64(offset)])
    aligned: int = word << (position & u64(7))
    return aligned


@compiled(OUT, types.uint64, types.uint64)
def _emit(out: Array, at: int, word: int) -> int:
    """Writes the 4 high bytes of a word, stuffed; returns the new offset."""
    for shift in (56, 48, 40, 32):
        byte = np.uint8(word >> u64(shift))
        out[at] = byte
        at += u64(1)
        if byte == 0xFF:
            out[at] = 0
            at += u64(1)
    return at


_STATE = types.UniTuple(types.uint64, 3)  # type: ignore[no-untyped-call]


@compiled(OUT, _STATE, types.uint64, types.uint64)
def _put(out: Array, state: tuple[int, int, int], word: int, count: int) -> tuple[int, int, int]:
    """Appends the `count` <= 32 high bits of a word to (offset, pending bits, their number)."""
    at, pending, held = state
    kept = word & ~(u64(0xFFFFFFFFFFFFFFFF) >> count)
    pending |= kept >> held
    held += count
    if held >= u64(32):
        at = _emit(out, at, pending)
        pending <<= u64(32)
        held -= u64(32)
    return at, pending, held


@compiled(OUT, _STATE, OUT, types.uint64, types.uint64)
def _copy(
    out: Array, state: tuple[int, int, int], bits: Array, start: int, end: int
) -> tuple[int, int, int]:
    """Appends bits `start` to `end` of the source."""
    step = u64(32)
    while start < end:
        count = min(step, end - start)
        state = _put(out, state, _peek(bits, start), count)
        start += count
    return state


@compiled(OUT, _STATE, types.uint64)
def _finish(out: Array, state: tuple[int, int, int], marker: int) -> tuple[int, int, int]:
    """Fills the last byte with ones and writes a marker."""
    at, pending, held = state
    pending |= u64(0xFFFFFFFFFFFFFFFF) >> held
    while held > u64(0):
        byte = np.uint8(pending >> u64(56))
        out[at] = byte
        at += u64(1)
        if byte == 0xFF:
            out[at] = 0
            at += u64(1)
        pending <<= u64(8)
        held -= min(held, u64(8))
    out[at] = 0xFF
    out[at + u64(1)] = marker
    return at + u64(2), u64(0), u64(0)


@compiled(OUT, COUNTS, INT, INT, TABLES, COUNTS, INT, CODES, COUNTS, INT, OUT, OFFSETS)
def recode(
    bits: Array,
    starts: Array,
    old: int,
    mcus: int,
    tables: Array,
    blocks: Array,
    components: int,
    codes: Array,
    renewed: Array,
    new: int,
    out: Array,
    lengths: Array,
) -> tuple[int, int]:
    """Copies a scan, with restart markers every `new` MCUs in place of those every `old`.

    Args:
        bits: The scan without stuffing and markers, and PADDING zeros after it.
        starts: Offsets of its parts in `bits` and the end of the last, checked to rise and as
            many as `mcus` and `old` make them.
        old: MCUs in a part.
        mcus: Their number.
        tables: Look-ups: row `c` for the DC table of component c, row `components + c` for AC.
        blocks: The component of each block of an MCU.
        components: Their number, at most 3.
        codes: Of the DC table to write with, [component, size]: `code << 8 | bits`, 0 for none.
        renewed: For each component, whether that table is another than the old one.
        new: MCUs between markers in the copy.
        out: Written.
        lengths: Written: bytes from each segment's start to the end of the marker behind it.

    Returns:
        (DONE, bytes written); (CORRUPT, 0) if the codes are no sound scan; (LACKING, 0) if the
        table to write with lacks a code; (FULL, 0) if `out` is too short.
    """
    before = np.zeros(3, np.int64)  # the DC values that the old differences refer to
    after = np.zeros(3, np.int64)  # and the new ones
    state = (u64(0), u64(0), u64(0))
    position = u64(0)
    part, segment, begun = 0, 0, u64(0)
    limit = u64(0)
    for mcu in range(mcus):
        reset_old = mcu % old == 0
        reset_new = mcu % new == 0
        if reset_old:
            if mcu and (position > limit or limit - position >= u64(8)):
                return CORRUPT, 0  # bits missing or left over
            position = u64(starts[part]) << u64(3)
            limit = u64(starts[part + 1]) << u64(3)
            part += 1
            before[:] = 0
        if reset_new:
            if mcu:
                state = _finish(out, state, u64(0xD0 + (segment & 7)))
                lengths[segment] = state[0] - begun
                begun = state[0]
                segment += 1
            after[:] = 0
        if i64(state[0]) + MCU_ROOM > len(out):
            return FULL, 0
        copied = position
        fresh = 7 if (reset_old or reset_new) else 0  # one bit for each component
        for block in range(len(blocks)):
            component = blocks[block]
            window = _peek(bits, position)
            entry = u64(tables[component, window >> u64(48)])
            size, length = i64(entry >> u64(6)), entry & u64(63)
            if size >= DC_SIZES:
                return CORRUPT, 0
            difference = 0
            if size:
                value = i64(window << length >> u64(64 - size))
                difference = value if value >> (size - 1) else value - (1 << size) + 1
            dc = before[component] + difference
            before[component] = dc
            if renewed[component] or fresh >> component & 1:
                fresh &= ~(1 << component)
                state = _copy(out, state, bits, copied, position)
                copied = position + length + u64(size)
                change = dc - after[component]
                size = 0
                while abs(change) >> size:
                    size += 1
                code = u64(codes[component, size]) if size < DC_SIZES else u64(0)
                if code == u64(0):
                    return LACKING, 0
                width = code & u64(255)
                value = change if change >= 0 else change + (1 << size) - 1
                word = (code >> u64(8)) << u64(size) | u64(value)
                width += u64(size)
                state = _put(out, state, word << (u64(64) - width), width)
            after[component] = dc
            position += length + u64(i64(entry >> u64(6)))
            ac = components + component
            step = 1
            while step < 64:
                window = _peek(bits, position)
                entry = u64(tables[ac, window >> u64(48)])
                length = entry & u64(63)
                position += length
                step += i64(entry >> u64(6))
                if step >= 64:
                    break
                entry = u64(tables[ac, window << length >> u64(48)])
                position += entry & u64(63)
                step += i64(entry >> u64(6))
            if step != 64 and not END < step < END + 64:
                return CORRUPT, 0
        if position > limit:
            return CORRUPT, 0
        state = _copy(out, state, bits, copied, position)
    if limit - position >= u64(8):
        return CORRUPT, 0
    state = _finish(out, state, u64(0xD9))
    lengths[segment] = state[0] - begun
    return DONE, i64(state[0])
