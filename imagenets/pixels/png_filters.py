"""Rows of RGB PNGs: ids into rows without a filter, and filtered rows straight into ids."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imagenets.core.jit import compiled

_LOW, _HIGH = np.uint16(0x7F7F), np.uint16(0x8080)  # of both bytes: all bits but the highest; it
_RED, _GREEN, _BYTE = np.uint16(0x00FF), np.uint16(0xFF00), np.uint16(8)


@compiled
def pack_rows(ids: npt.NDArray[np.uint16], rows: npt.NDArray[np.uint8]) -> None:
    """Writes H x W ids as H x (1 + 3 W) bytes: filter type 0, then R, G, 0 of each pixel."""
    height, width = ids.shape
    for y in range(height):
        for x in range(width):
            rows[y, 1 + 3 * x] = ids[y, x] & 255
            rows[y, 2 + 3 * x] = ids[y, x] >> 8


@compiled
def count_strange(ids: npt.NDArray[np.uint16], most: int, other: int) -> int:
    """Counts the ids above `most` that are not `other`."""
    strange = 0
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            strange += (ids[y, x] > most) & (ids[y, x] != other)
    return strange


@compiled
def unfilter(rows: npt.NDArray[np.uint8], ids: npt.NDArray[np.uint16]) -> bool:
    """Undoes the row filters of an 8-bit RGB PNG (PNG specification, section 9) into ids.

    An id is R + 256 * G, so a pixel is a pair of bytes that are added without a carry from one to
    the other; B is 0 in a mask, and filtered zeros are zeros.

    Args:
        rows: H x (1 + 3 W), each row a filter type and filtered R, G, B bytes.
        ids: H x W, written.

    Returns:
        Whether all filter types are those of the standard, 0 to 4, and every B is 0.
    """
    height, width = ids.shape
    above = np.zeros(width, np.uint16)
    for y in range(height):
        kind, row, here = rows[y, 0], rows[y, 1:], ids[y]
        if kind > 4:
            return False
        blue = np.uint8(0)
        for x in range(width):
            here[x] = np.uint16(row[3 * x]) | (np.uint16(row[3 * x + 1]) << _BYTE)
            blue |= row[3 * x + 2]
        if blue:
            return False
        if kind == 1:
            _add_left(here)
        elif kind == 2:
            _add_above(here, above)
        elif kind == 3:
            _add_mean(here, above)
        elif kind == 4:
            _add_paeth(here, above)
        above = here
    return True


@compiled
def _sum(a: np.uint16, b: np.uint16) -> np.uint16:
    """Adds two pairs of bytes, each modulo 256."""
    return np.uint16(((a & _LOW) + (b & _LOW)) ^ ((a ^ b) & _HIGH))


@compiled
def _add_left(here: npt.NDArray[np.uint16]) -> None:
    red = green = np.uint16(0)
    for x in range(len(here)):
        red = np.uint16(red + (here[x] & _RED))
        green = np.uint16(green + (here[x] & _GREEN))
        here[x] = (red & _RED) | green


@compiled
def _add_above(here: npt.NDArray[np.uint16], above: npt.NDArray[np.uint16]) -> None:
    for x in range(len(here)):
        here[x] = _sum(here[x], above[x])


@compiled
def _add_mean(here: npt.NDArray[np.uint16], above: npt.NDArray[np.uint16]) -> None:
    red = green = np.int64(0)
    for x in range(len(here)):
        red = ((red + np.int64(above[x] & _RED)) // 2 + np.int64(here[x])) & 255
        green = ((green + np.int64(above[x] >> _BYTE)) // 2 + np.int64(here[x] >> _BYTE)) & 255
        here[x] = np.uint16(red | green << 8)


@compiled
def _add_paeth(here: npt.NDArray[np.uint16], above: npt.NDArray[np.uint16]) -> None:
    left = corner = np.uint16(0)
    for x in range(len(here)):
        top = above[x]
        guess = left
        if top != corner:  # else left it is, as nearly everywhere in a mask
            red = _paeth(left & _RED, top & _RED, corner & _RED)
            guess = red | (_paeth(left >> _BYTE, top >> _BYTE, corner >> _BYTE) << _BYTE)
        left = here[x] = _sum(here[x], guess)
        corner = top


@compiled
def _paeth(left: np.uint16, top: np.uint16, corner: np.uint16) -> np.uint16:
    """The byte nearest to left + top - corner; of equally near ones left, then top."""
    to_left = abs(np.int64(top) - np.int64(corner))
    to_top = abs(np.int64(left) - np.int64(corner))
    to_corner = abs(np.int64(left) + np.int64(top) - 2 * np.int64(corner))
    if to_left <= to_top and to_left <= to_corner:
        return np.uint16(left)
    return np.uint16(top if to_top <= to_corner else corner)
