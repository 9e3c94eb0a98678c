"""What surrounds the codes of a scan: Huffman tables, stuffed zeros, restart markers.

T.81, annex C and F.1.2.3. Nothing here trusts the file, as in `recode`.
"""

from __future__ import annotations

from imagenets.core.jit import compiled_for, types
from imagenets.pixels.jpeg.types import BYTES, COUNTS, INT, OUT, Array, i64, u16, u64

TABLES = types.Array(types.uint16, 1, "C")
"""For each Huffman table, what the next 16 bits begin with (see `fill_table`)."""

LENGTHS_OUT = types.Array(types.uint16, 1, "C")

SHORT = 10
"""Bits of the codes that are looked up at once."""

ROW = (1 << SHORT) + 65536
"""Entries of a look-up."""

DC_SIZES = 12
"""Sizes of DC differences at 8 bits: 0 to 11 bits (T.81, table F.1)."""

END, BAD = 256, 512
"""Steps no run can have: the end of a block, and a code that is none."""


@compiled_for(
    (
        BYTES,
        INT,
        types.boolean,
        TABLES,
    )
)
def fill_table(data: Array, at: int, ac: bool, table: Array) -> int:
    """Reads a Huffman table into a look-up by the next 16 bits.

    Most codes are short, and canonical ones rise with their length: so the codes up to SHORT bits
    are looked up by that many bits, in a table that stays in the fastest cache, the rest by all 16
    behind it, less those that start with a short code.

    Args:
        data: The file.
        at: Offset of the table's 16 counts, inside a segment that was checked to hold the counts
            and as many symbols.
        ac: Whether it codes AC coefficients.
        table: Written, ROW entries: for AC `step << 6 | bits`, the bits of code and value, and the
            step to the next coefficient (END and BAD: see there); for DC
            `size << 6 | bits of the code`, with a size of 63 for no code.

    Returns:
        The first 16 bits that start with no short code; -1 if the table is not sound.
    """
    none = u16(BAD << 6 if ac else 63 << 6)
    symbol = at + 16
    code, first_long = 0, 65536  # left-aligned in 16 bits
    for length in range(1, 17):
        if length == SHORT + 1:
            first_long = code
            table[code >> (16 - SHORT) : 1 << SHORT] = none
            table[1 << SHORT : (1 << SHORT) + 65536 - first_long] = none
        span = 1 << (16 - length)
        for _ in range(data[at + length - 1]):
            value = i64(data[symbol])
            symbol += 1
            run, size = value >> 4, value & 15
            if not ac:
                if value > 15:
                    return -1
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
                return -1
            if length <= SHORT:
                table[code >> (16 - SHORT) : (code + span) >> (16 - SHORT)] = u16(entry)
            else:
                start = (1 << SHORT) + code - first_long
                table[start : start + span] = u16(entry)
            code += span
    return first_long


@compiled_for(
    (
        BYTES,
        INT,
        COUNTS,
        OUT,
        COUNTS,
    )
)
def unstuff(data: Array, at: int, stops: Array, out: Array, starts: Array) -> int:
    """Takes the stuffed zeros and the restart markers out of a scan.

    Args:
        data: The file.
        at: Offset of the scan's entropy-coded bytes.
        stops: Offsets in `data`, from `at` on, of all bytes 0xFF but a last one.
        out: Written; it has room for all bytes from `at` on.
        starts: Written: where in `out` each part between restart markers starts, and the end; any
            marker but the expected one ends the reading.

    Returns:
        The number of parts, or 0 if the scan does not end at EOI after as many parts as `starts`
        has room for.
    """
    here, filled, part = u64(at), u64(0), 0
    starts[0] = 0
    for index in range(len(stops)):
        stop = u64(stops[index])
        if stop < here:  # a fill byte before a marker
            return 0
        for offset in range(stop - here):
            out[filled + offset] = data[here + offset]
        filled += stop - here
        here = stop + u64(2)
        following = data[stop + u64(1)]
        if following == 0:
            out[filled] = 0xFF
            filled += u64(1)
            continue
        part += 1
        starts[part] = filled
        if following == 0xD9:
            return part if part == len(starts) - 1 else 0
        if following != 0xD0 + ((part - 1) & 7) or part == len(starts) - 1:
            return 0
    return 0


@compiled_for(
    (
        OUT,
        COUNTS,
        OUT,
        LENGTHS_OUT,
    )
)
def stuff(bits: Array, ends: Array, out: Array, lengths: Array) -> int:
    """Puts stuffed zeros and restart markers into a scan, EOI at its end.

    Args:
        bits: The scan without them.
        ends: Where in `bits` each segment ends; they rise.
        out: Written: as long as twice `bits` and two bytes a segment.
        lengths: Written: bytes from each segment's start to the end of the marker behind it.

    Returns:
        Bytes written.
    """
    here, filled, one = u64(0), u64(0), u64(1)
    for segment in range(len(ends)):
        begun, end = filled, u64(ends[segment])
        while here < end:
            byte = bits[here]
            here += one
            out[filled] = byte
            out[filled + one] = 0
            filled += u64(2) if byte == 0xFF else one
        out[filled] = 0xFF
        out[filled + one] = 0xD0 + (segment & 7)
        filled += u64(2)
        lengths[segment] = filled - begun
    out[filled - one] = 0xD9
    return int(filled)
