"""Moves restarts: walks the Huffman codes of a scan and copies them, bit by bit the same.

A restart marker sets the DC predictions to zero and the bits to a byte's start. So all that changes
in a block is its DC difference, and only in the first block of each component after a marker, the
old ones or the new ones; every other bit is copied (T.81, F.1.2.1 and F.2.1.3).

Nothing here trusts the file: each access is within its array whatever the bytes, by the padding
and the checks that the comments name.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from imagenets.core.jit import compiled_for, inlined, types
from imagenets.pixels.jpeg.entropy import DC_SIZES, END, ROW, SHORT, TABLES
from imagenets.pixels.jpeg.types import COUNTS, INT, Array, i64, u64

WORDS = types.Array(types.uint64, 1, "C")
HALVES = types.Array(types.uint32, 1, "C")
FIRSTS = types.Array(types.uint64, 1, "C")
CODES = types.Array(types.uint32, 2, "C")

ALL: Any = np.uint64(0xFFFFFFFFFFFFFFFF)

PADDING = 4096
"""Bytes after the scan's: a block reads at most 64 x 31 bits, an MCU 10 blocks, past its start."""

MCU_ROOM = 1024
"""32-bit numbers that an MCU of 10 blocks needs at most, with some to spare (10 x 64 x 32 bits)."""

DONE, CORRUPT, FULL, LACKING = 0, 1, 2, 3


@inlined(forceinline=True)
def _peek(words: Array, position: int) -> int:
    """The next 64 bits."""
    at, shift = position >> u64(6), position & u64(63)
    high, low = words[at], words[at + u64(1)]
    bits: int = high << shift | low >> u64(1) >> (u64(63) - shift)
    return bits


@inlined(forceinline=True)
def _put(
    out: Array, at: int, pending: int, held: int, word: int, count: int
) -> tuple[int, int, int]:
    """Appends the `count` <= 32 high bits of a word to `held` < 32 pending ones.

    Without a branch, so that the compiler sees that the array needs no counting of references.
    """
    pending |= (word & ~(ALL >> count)) >> held
    held += count
    out[at] = pending >> u64(32)
    full = held >> u64(5)
    return at + full, pending << (full << u64(5)), held & u64(31)


@inlined(forceinline=True)
def _look(tables: Array, row: int, first_long: int, window: int) -> int:
    """The entry for what a window begins with."""
    ahead = window >> u64(48)
    index = ahead >> u64(16 - SHORT)
    if ahead >= first_long:
        index = ahead - first_long + u64(1 << SHORT)
    entry: int = u64(tables[row + index])
    return entry


@compiled_for(
    (
        WORDS,
        COUNTS,
        INT,
        INT,
        TABLES,
        FIRSTS,
        COUNTS,
        COUNTS,
        INT,
        CODES,
        COUNTS,
        INT,
        HALVES,
        COUNTS,
    )
)
def recode(
    words: Array,
    starts: Array,
    old: int,
    mcus: int,
    tables: Array,
    firsts: Array,
    rows: Array,
    blocks: Array,
    components: int,
    codes: Array,
    renewed: Array,
    new: int,
    out: Array,
    ends: Array,
) -> int:
    """Copies a scan, its predictions reset every `new` MCUs in place of every `old`.

    Args:
        words: The scan without stuffing and markers, 64 bits a number, and PADDING after it.
        starts: Offsets of its parts in bytes and the end of the last, checked to rise and as
            many as `mcus` and `old` make them.
        old: MCUs in a part.
        mcus: Their number.
        tables: Look-ups, ROW entries each.
        firsts: What `fill_table` returned for each of them.
        rows: Which of them is for the DC codes of each component, and then for AC.
        blocks: The component of each block of an MCU.
        components: Their number, at most 3.
        codes: Of the DC table to write with, [component, size]: `code << 8 | bits`, 0 for none.
        renewed: For each component, whether that table is another than the old one.
        new: MCUs in a segment of the copy.
        out: Written: the copy, 32 bits a number.
        ends: Written: where in it each segment ends, in bytes.

    Returns:
        DONE; CORRUPT if the codes are no sound scan; LACKING if the table to write with lacks a
        code; FULL if `out` is too short.
    """
    before = np.zeros(3, np.int64)  # the DC values that the old differences refer to
    after = np.zeros(3, np.int64)  # and the new ones
    at, pending, held = u64(0), u64(0), u64(0)
    position, limit = u64(0), u64(0)
    part, segment = 0, 0
    left_old, left_new = 0, 0  # MCUs until the next reset
    for mcu in range(mcus):
        fresh = 0  # one bit for each component
        if left_old == 0:
            if mcu and (position > limit or limit - position >= u64(8)):
                return CORRUPT  # bits missing or left over
            position, limit = u64(starts[part]) << u64(3), u64(starts[part + 1]) << u64(3)
            part += 1
            left_old = old
            before[:] = 0
            fresh = 7
        if left_new == 0:
            if mcu:
                at, pending, held = _put(out, at, pending, held, ALL, -held & u64(7))
                ends[segment] = (at << u64(2)) + (held >> u64(3))
                segment += 1
            left_new = new
            after[:] = 0
            fresh = 7
        left_old -= 1
        left_new -= 1
        if i64(at) + MCU_ROOM > len(out):
            return FULL
        copied = position
        for block in range(len(blocks)):
            component = blocks[block]
            window = _peek(words, position)
            row = rows[component]
            entry = _look(tables, u64(row * ROW), firsts[row], window)
            size, length = entry >> u64(6), entry & u64(63)
            if size >= u64(DC_SIZES):
                return CORRUPT
            change = 0
            if size:
                change = i64(window << length >> (u64(64) - size))
                if change >> i64(size - u64(1)) == 0:
                    change -= (1 << i64(size)) - 1
            before[component] += change
            dc = before[component]
            if renewed[component] or fresh >> component & 1:
                fresh &= ~(1 << component)
                while copied < position:
                    count = min(u64(32), position - copied)
                    at, pending, held = _put(out, at, pending, held, _peek(words, copied), count)
                    copied += count
                copied = position + length + size
                change = dc - after[component]
                bits = 0
                while abs(change) >> bits:
                    bits += 1
                code = u64(codes[component, bits]) if bits < DC_SIZES else u64(0)
                if code == u64(0):
                    return LACKING
                if change < 0:
                    change += (1 << bits) - 1
                count = (code & u64(255)) + u64(bits)
                word = ((code >> u64(8)) << u64(bits) | u64(change)) << (u64(64) - count)
                at, pending, held = _put(out, at, pending, held, word, count)
            after[component] = dc
            position += length + size
            row = rows[components + component]
            start, first_long = u64(row * ROW), firsts[row]
            step = u64(1)
            while step < u64(64):
                window = _peek(words, position)
                used = u64(0)
                while used <= u64(48):  # 16 bits are left to look up
                    entry = _look(tables, start, first_long, window)
                    length = entry & u64(63)
                    window <<= length
                    used += length
                    step += entry >> u64(6)
                    if step >= u64(64):
                        break
                position += used
            if step != u64(64) and not u64(END) < step < u64(END + 64):
                return CORRUPT
        if position > limit:
            return CORRUPT
        while copied < position:
            count = min(u64(32), position - copied)
            at, pending, held = _put(out, at, pending, held, _peek(words, copied), count)
            copied += count
    if limit - position >= u64(8):
        return CORRUPT
    at, pending, held = _put(out, at, pending, held, ALL, -held & u64(7))
    ends[segment] = (at << u64(2)) + (held >> u64(3))
    return DONE
