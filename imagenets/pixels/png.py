"""The PNGs that masks are: 8-bit RGB, read and written without a detour over pixels of RGB.

Several times faster than a general decoder: zlib-ng inflates, compiled loops undo the row filters
straight into ids. Whatever is unusual is left to Pillow, which then decides.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt
from zlib_ng import zlib_ng

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_HEADER = struct.Struct(">IIBBBBB")
_PLAIN = (8, 2, 0, 0, 0)  # bits, colour type RGB, deflate, adaptive filters, not interlaced
_HARMLESS = {b"sRGB": 1, b"gAMA": 4, b"pHYs": 9}  # chunks that change no pixel, and their sizes
_LEVEL = 2  # masks: half the bytes of level 1 and no slower; 6 takes twice as long for a third less


def header(data: bytes | memoryview) -> tuple[int, int, int] | None:
    """Width, height and bits a channel as the header claims them; None if there is no header."""
    if len(data) < 33 or bytes(data[:8]) != SIGNATURE or bytes(data[12:16]) != b"IHDR":
        return None
    width, height, bits, *_ = _HEADER.unpack_from(data, 16)
    return width, height, bits


def decode(data: bytes | memoryview) -> npt.NDArray[np.uint16] | None:
    """Decodes a plain RGB PNG; never unpacks more bytes than its header claims.

    Returns:
        H x W of R + 256 * G, or None for anything but a sound PNG of this kind.

    Raises:
        ValueError: A chunk's checksum is wrong.
    """
    found = _packed_rows(data)
    if found is None:
        return None
    width, height, packed = found
    size = height * (1 + 3 * width)
    inflate = zlib_ng.decompressobj()
    try:
        rows = inflate.decompress(packed, size + 1)  # + 1: room to reach the end and its checksum
    except zlib_ng.error:  # type: ignore[misc]  # its types call the class an instance
        return None
    if len(rows) != size or not inflate.eof or inflate.unused_data:
        return None
    filtered = np.frombuffer(rows, np.uint8).reshape(height, -1)
    if not filtered[:, 0].any():  # as `encode` writes them: R and G lie there as 16 bits already
        used = np.bitwise_or.reduce(filtered, axis=0)
        if used.tobytes()[3::3].strip(b"\0"):  # some B is not 0: no mask
            return None
        return np.ndarray((height, width), "<u2", rows, 1, (1 + 3 * width, 3)).astype(np.uint16)
    from imagenets.pixels.png_filters import (
        unfilter,  # Numba: a second and 130 MB, so not before it is used
    )

    ids = np.empty((height, width), np.uint16)
    return ids if unfilter(filtered, ids) else None


def encode(ids: npt.NDArray[np.integer]) -> bytes:
    """Encodes H x W ids as R + 256 * G, B = 0, without row filters.

    Masks are flat areas: unfiltered rows decode fastest, and are the smallest, too (docs/prepare.md
    has the figures).
    """
    from imagenets.pixels.png_filters import pack_rows

    height, width = ids.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    pack_rows(np.ascontiguousarray(ids, np.uint16), rows)
    chunks = (
        (b"IHDR", _HEADER.pack(width, height, *_PLAIN)),
        (b"IDAT", zlib_ng.compress(rows, _LEVEL)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(name, body) for name, body in chunks)


def encode_gray(pixels: npt.NDArray[np.uint8 | np.uint16]) -> bytes:
    """Encodes H x W pixels as a PNG of one channel, of 8 or 16 bits, without row filters."""
    height, width = pixels.shape
    size = pixels.dtype.itemsize
    rows = np.zeros((height, 1 + size * width), np.uint8)
    rows[:, 1:] = pixels.astype(f">u{size}").view(np.uint8).reshape(height, -1)
    chunks = (
        (b"IHDR", _HEADER.pack(width, height, 8 * size, 0, 0, 0, 0)),
        (b"IDAT", zlib_ng.compress(rows, _LEVEL)),
        (b"IEND", b""),
    )
    return SIGNATURE + b"".join(_chunk(name, body) for name, body in chunks)


def _packed_rows(data: bytes | memoryview) -> tuple[int, int, bytes] | None:
    """Width, height and the deflated rows of a plain PNG; raises like `decode`."""
    view = memoryview(data)
    if bytes(view[:8]) != SIGNATURE:
        return None
    names: list[bytes] = []
    packed: list[bytes] = []
    start = len(SIGNATURE)
    while start + 12 <= len(view):
        size, name = struct.unpack_from(">I4s", view, start)
        end = start + 12 + size
        if end > len(view):
            return None
        if zlib_ng.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", view, end - 4)[0]:
            raise ValueError(f"the checksum of its {name.decode('latin1')} chunk is wrong")
        names.append(name)
        if name == b"IDAT":
            packed.append(bytes(view[start + 8 : end - 4]))
        elif name == b"IEND":
            break
        elif name != b"IHDR" and (packed or _HARMLESS.get(name) != size):
            return None
        start = end
    ordered = [name for name in names if name not in _HARMLESS]
    if ordered != [b"IHDR", *[b"IDAT"] * len(packed), b"IEND"] or names[0] != b"IHDR":
        return None
    width, height, *form = _HEADER.unpack_from(view, 16)
    if tuple(form) != _PLAIN or not width or not height or bytes(view[8:12]) != b"\0\0\0\r":
        return None
    return width, height, b"".join(packed)


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
