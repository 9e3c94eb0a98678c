"""A JPEG file into the same with restart markers every few MCUs, and the length of each segment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from imagenets.pixels.jpeg import entropy, recode
from imagenets.pixels.jpeg.header import APP0, COM, DHT, DRI, SEQUENTIAL, SOS, Layout, layout

Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]

# Bits, values of T.81's tables K.3: the typical luminance DC table, which has every size.
_ALL_SIZES = bytes((0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)) + bytes(range(12))

# Application segments that decoding depends on, or that a colour-managed reader wants.
_KEPT = {APP0: b"JFIF\0", APP0 + 2: b"ICC_PROFILE\0", APP0 + 14: b"Adobe"}


@dataclass(frozen=True, slots=True)
class Restarted:
    """A JPEG file with restart markers.

    Attributes:
        data: The file: any reader decodes it to the original's pixels.
        lengths: uint16, bytes of each segment with the marker behind it. They end where the file
            ends, so the first segment starts at `len(data) - lengths.sum()`.
        interval: MCUs in a segment; the last may have fewer.
    """

    data: bytes
    lengths: npt.NDArray[np.uint16]
    interval: int


def transcode(data: Bytes, interval: int | None = None) -> Restarted | None:
    """Puts restart markers into a JPEG file; every quantised coefficient stays as it is.

    Kept are the tables and the segments that colours depend on (JFIF, Adobe, ICC profile); other
    application segments (EXIF among them, which readers of ImageNet ignore), comments and what
    follows the image are dropped.

    Args:
        data: The file; any bytes will do.
        interval: MCUs between markers; by default what `choose_interval` chooses.

    Returns:
        The new file, or None where it cannot be had (no JPEG, progressive, arithmetic or
        hierarchical coding, 12 bits, 2 or 4 components, several scans, broken or cut short).
    """
    source = np.frombuffer(data, np.uint8)
    old = layout(source)
    if old.kind != SEQUENTIAL:
        return None
    new = choose_interval(old) if interval is None else interval
    if not 1 <= new <= 0xFFFF:
        raise ValueError(f"interval must be from 1 to 65535, not {new}")
    try:
        scan = _Scan(source, old)
    except ValueError:
        return None
    made = scan.recode(new) or scan.recode(new, renewed=True)
    if made is None:
        return None
    header, body, lengths = made
    if int(lengths.sum(dtype=np.int64)) != len(body):  # a segment beyond 65,535 bytes
        return None
    return Restarted(b"".join((header, body.data)), lengths, new)


def choose_interval(image: Layout) -> int:
    """MCUs between markers such that crops are small and the markers few.

    Markers cost 2 % of the bytes at 2 with 4:2:0 and 4 to 6 % with 4:4:4, and inversely less at
    larger intervals; but crops are cut wider, most of all where the interval does not divide the
    MCUs of a row (docs/jpeg.md has the figures).
    """
    narrow = image.unit_width == 8
    if image.columns % 3 == 0 and (narrow or image.columns % 2):
        return 3
    return 4 if narrow and image.columns % 4 == 0 else 2


class _Scan:
    """The scan of a file, taken apart."""

    def __init__(self, source: npt.NDArray[np.uint8], old: Layout) -> None:
        """Raises ValueError for what is not sound, or not of the kind we can handle."""
        self.source, self.layout = source, old
        self.mcus = old.columns * old.rows
        self.blocks = _blocks(source, old)
        if 2 * len(self.blocks) * self.mcus > 8 * len(source):  # a block takes 2 bits or more
            raise ValueError("a scan too short for the image's size")
        self.old = old.interval or self.mcus
        parts = -(-self.mcus // self.old)
        size = len(source) - old.scan + recode.PADDING
        bits = np.empty(size + -size % 8, np.uint8)
        self.starts = np.empty(parts + 1, np.int64)
        stops = np.flatnonzero(source[old.scan : -1] == 0xFF) + old.scan
        if entropy.unstuff(source, old.scan, stops, bits, self.starts) != parts:
            raise ValueError("no EOI after the last part")
        end = int(self.starts[-1])
        bits[end:] = 0
        self.words = bits.view(">u8").astype(np.uint64)
        self.tables = _tables(source, old)

    def recode(
        self, new: int, renewed: bool = False
    ) -> tuple[bytes, npt.NDArray[np.uint8], npt.NDArray[np.uint16]] | None:
        """Header, scan and lengths; None if the scan is broken or a DC code is lacking."""
        count = self.layout.components
        offsets = sorted(set(self.tables))
        looks = np.empty((len(offsets), entropy.ROW), np.uint16)
        firsts = np.empty(len(offsets), np.uint64)
        for row, at in enumerate(offsets):
            first = entropy.fill_table(self.source, at, at in self.tables[count:], looks[row])
            if first < 0:
                return None
            firsts[row] = first
        rows = np.array([offsets.index(at) for at in self.tables])
        codes = np.zeros((count, entropy.DC_SIZES), np.uint32)
        for component in range(count):
            at = self.tables[component]
            table = np.frombuffer(_ALL_SIZES, np.uint8) if renewed else self.source[at:]
            _fill_codes(table, codes[component])
        ends = np.empty(-(-self.mcus // new), np.int64)
        copy = np.empty(4 * len(self.words) + 8 * len(ends) + recode.MCU_ROOM, np.uint32)
        state = recode.recode(
            self.words,
            self.starts,
            self.old,
            self.mcus,
            looks.reshape(-1),
            firsts,
            rows,
            self.blocks,
            count,
            codes,
            np.full(count, renewed, np.int64),
            new,
            copy,
            ends,
        )
        if state != recode.DONE:
            return None
        copy = copy[: -(-int(ends[-1]) // 4)].astype(">u4")
        out = np.empty(2 * (int(ends[-1]) + len(ends)), np.uint8)
        lengths = np.empty(len(ends), np.uint16)
        size = entropy.stuff(copy.view(np.uint8), ends, out, lengths)
        return _header(self.source, self.layout, new, renewed), out[:size], lengths


def _segments(source: npt.NDArray[np.uint8], end: int) -> Iterator[tuple[int, int, int]]:
    """Marker, offset and end of each segment before `end`; `layout` has checked the lengths."""
    here = 2
    while here < end:
        marker = int(source[here + 1])
        if marker == 0xFF:  # a fill byte
            here += 1
            continue
        after = here + 2 + int.from_bytes(source[here + 2 : here + 4].tobytes(), "big")
        yield marker, here, after
        here = after


def _header(source: npt.NDArray[np.uint8], old: Layout, new: int, renewed: bool) -> bytes:
    parts = [b"\xff\xd8"]
    for marker, here, after in _segments(source, old.scan):
        segment = source[here:after].tobytes()
        if marker == SOS:
            parts.append(b"\xff\xdd\0\4" + new.to_bytes(2, "big"))
            if renewed:  # defined last, so they hold
                used = sorted({it >> 4 for it in segment[6 : 6 + 2 * old.components : 2]})
                parts += (b"\xff\xc4\0\x1f" + bytes((table,)) + _ALL_SIZES for table in used)
        if marker in (DRI, COM) or (marker & 0xF0 == APP0 and not _kept(marker, segment)):
            continue
        parts.append(segment)
    return b"".join(parts)


def _kept(marker: int, segment: bytes) -> bool:
    name = _KEPT.get(marker)
    return name is not None and segment.startswith(name, 4)


def _tables(source: npt.NDArray[np.uint8], old: Layout) -> list[int]:
    """Offsets of the counts of each component's DC tables, then of its AC tables."""
    defined: dict[tuple[int, int], int] = {}
    scan = 0
    for marker, here, end in _segments(source, old.scan):
        if marker == SOS:
            scan = here
        at = here + 4
        while marker == DHT and at < end:
            after = at + 17 + int(source[at + 1 : at + 17].sum(dtype=np.int64))
            if after > min(end, at + 17 + 256):
                raise ValueError("a Huffman table is cut short")
            defined[int(source[at]) >> 4, int(source[at]) & 15] = at + 1
            at = after
    chosen = source[scan + 6 : scan + 6 + 2 * old.components : 2].tolist()
    try:
        return [defined[0, it >> 4] for it in chosen] + [defined[1, it & 15] for it in chosen]
    except KeyError as error:
        raise ValueError("a Huffman table is missing") from error


def _blocks(source: npt.NDArray[np.uint8], old: Layout) -> npt.NDArray[np.int64]:
    """The component of each block of an MCU, in their order."""
    if old.components == 1:
        return np.zeros(1, np.int64)
    factors = source[old.frame + 11 : old.frame + 11 + 3 * old.components : 3]
    return np.repeat(np.arange(old.components), (factors >> 4).astype(np.int64) * (factors & 15))


def _fill_codes(table: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint32]) -> None:
    """`code << 8 | bits` of each size of DC difference, from a table's counts and symbols."""
    counts, symbols = table[:16].tolist(), iter(table[16 : 16 + 256].tolist())
    code = 0
    for length, count in enumerate(counts, 1):
        for size in islice(symbols, count):
            if size < len(codes):
                codes[size] = code << 8 | length
            code += 1
        code <<= 1
