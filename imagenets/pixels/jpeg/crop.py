"""A box of an image, decoded from no more of the file than it takes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import simplejpeg

from imagenets.pixels.image import DECODE_ERRORS, decoding, open_image
from imagenets.pixels.jpeg.header import OTHER, SEQUENTIAL, Layout, layout
from imagenets.pixels.jpeg.splice import Splice, splice

Bytes: TypeAlias = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, width and height in pixels."""

EXACT_MARGIN = 2
"""Pixels that smooth chroma upsampling looks beyond its own (one chroma sample)."""


class Scratch:
    """Memory that is used again from one call to the next: one for each thread.

    What a call returns lies in it and is overwritten by the next call with the same scratch.
    """

    def __init__(self) -> None:
        """Starts empty and grows with what it is used for."""
        self._file = np.empty(0, np.uint8)
        self._pixels = np.empty(0, np.uint8)

    def file(self, size: int) -> npt.NDArray[np.uint8]:
        """At least `size` bytes for a spliced file."""
        if len(self._file) < size:
            self._file = np.empty(size + size // 2, np.uint8)
        return self._file

    def pixels(self, size: int) -> npt.NDArray[np.uint8]:
        """At least `size` bytes for decoded pixels."""
        if len(self._pixels) < size:
            self._pixels = np.empty(size + size // 2, np.uint8)
        return self._pixels


def cut(
    data: Bytes,
    lengths: npt.NDArray[np.uint16],
    box: Box,
    *,
    margin: int = 0,
    scratch: Scratch | None = None,
) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
    """Cuts a box out of a file that `transcode` made, without decoding it.

    Args:
        data: The stored file.
        lengths: Its segments' lengths.
        box: Left, top, width, height in pixels, inside the image.
        margin: EXACT_MARGIN if the small file is to be decoded with smooth upsampling, else 0.
        scratch: Where the small file is put; by default somewhere new.

    Returns:
        A small JPEG file (uint8), and the (x, y) at which the box begins in it.

    Raises:
        ValueError: The box is not inside the image, or file and lengths do not belong together.
    """
    source = np.frombuffer(data, np.uint8)
    image = layout(source)
    made, file = _cut(source, lengths, image, box, margin, scratch or Scratch())
    return file, (box[0] - made.left, box[1] - made.top)


def cut_rows(
    data: Bytes, bottom: int, *, margin: int = 0, scratch: Scratch | None = None
) -> npt.NDArray[np.uint8]:
    """Makes a decoder stop early in a file without segments: below the rows that are needed.

    Args:
        data: Any file. Decoders find bytes left over behind the last row (simplejpeg:
            `strict=False`).
        bottom: The row behind the last one that is needed.
        margin: As for `cut`.
        scratch: Likewise.

    Returns:
        The file with another height in its frame header, or `data` itself where there is nothing
        to gain or to patch.
    """
    source = np.frombuffer(data, np.uint8)
    return _cut_rows(source, layout(source), bottom, margin, scratch or Scratch())


def decode_crop(
    data: Bytes,
    lengths: npt.NDArray[np.uint16] | None,
    box: Box,
    *,
    exact: bool = False,
    scratch: Scratch | None = None,
) -> npt.NDArray[np.uint8]:
    """Decodes a box of an image.

    Args:
        data: A stored file: JPEG, or whatever Pillow reads.
        lengths: Its segments' lengths if `transcode` made it, else None.
        box: Left, top, width, height in pixels, inside the image.
        exact: Whether to get the pixels that Pillow gets (accurate DCT, smooth upsampling);
            otherwise the fast ones. Files that only Pillow reads are exact in any case.
        scratch: Where the pixels are put; by default somewhere new.

    Returns:
        height x width x 3, uint8 RGB, a view of a larger array, so rows are not contiguous.

    Raises:
        ValueError: The file does not decode, the box is not inside the image, or file and lengths
            do not belong together.
    """
    scratch = scratch or Scratch()
    source = np.frombuffer(data, np.uint8)
    image = layout(source)
    if image.kind == OTHER or (lengths is None and not _ends(source)):
        return _decode_slowly(source, box)
    left, top, width, height = box
    margin = EXACT_MARGIN if exact else 0
    if lengths is None:
        _check(box, image.width, image.height)
        file = _cut_rows(source, image, top + height, margin, scratch)
        rows, columns = int(file[image.frame + 5]) << 8 | int(file[image.frame + 6]), image.width
        try:
            pixels = _decode(file, rows, columns, exact, False, scratch)
        except DECODE_ERRORS:
            return _decode_slowly(source, box)
    else:
        made, file = _cut(source, lengths, image, box, margin, scratch)
        pixels = _decode_spliced(file, made, exact, scratch)
        left, top = left - made.left, top - made.top
    return pixels[top : top + height, left : left + width]


def _decode_spliced(
    file: npt.NDArray[np.uint8], made: Splice, exact: bool, scratch: Scratch
) -> npt.NDArray[np.uint8]:
    """Decodes a file that was put together here; any word of damage is an error."""
    what = made.height, made.width, exact, made.clean, scratch
    try:
        return _decode(file, *what)
    except DECODE_ERRORS:
        if not _mend_header(file):
            raise
        return _decode(file, *what)


def _mend_header(file: npt.NDArray[np.uint8]) -> bool:
    """Gives header fields that decoders only warn of a value that they know; changes no pixel.

    A JFIF revision that is not 1, and an Adobe colour transform that is none of 0 to 2, which all
    decoders take for 1.

    Returns:
        Whether something was changed.
    """
    changed = False
    position = 2
    while position + 16 <= len(file) and file[position] == 0xFF and file[position + 1] != 0xDA:
        marker, body = int(file[position + 1]), position + 4
        if marker == 0xE0 and file[body : body + 5].tobytes() == b"JFIF\0" and file[body + 5] != 1:
            file[body + 5], changed = 1, True
        elif marker == 0xEE and file[body : body + 5].tobytes() == b"Adobe" and file[body + 11] > 2:
            file[body + 11], changed = 1, True
        position += 2 + (int(file[position + 2]) << 8) + int(file[position + 3])
    return changed


def _decode(
    file: npt.NDArray[np.uint8],
    height: int,
    width: int,
    exact: bool,
    strict: bool,
    scratch: Scratch,
) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(
        file,
        "RGB",
        fastdct=not exact,
        fastupsample=not exact,
        buffer=scratch.pixels(3 * height * width),
        strict=strict,
    )
    return pixels


def _check(box: Box, width: int, height: int) -> None:
    left, top, wide, high = box
    if left < 0 or top < 0 or wide < 1 or high < 1 or left + wide > width or top + high > height:
        raise ValueError(f"box {box} is not inside an image of {width} x {height} pixels")


def _ends(source: npt.NDArray[np.uint8]) -> bool:
    """Whether a file has an end: of one cut short, Pillow says so, simplejpeg guesses the rest."""
    return source[-1024:].tobytes().rfind(b"\xff\xd9") >= 0


def _decode_slowly(source: npt.NDArray[np.uint8], box: Box) -> npt.NDArray[np.uint8]:
    """Decodes a file that only Pillow reads, or says why it cannot."""
    left, top, width, height = box
    with decoding(), open_image(source.data) as image:
        _check(box, *image.size)
        whole = np.asarray(image.convert("RGB"))
    return whole[top : top + height, left : left + width]


def _cut(
    source: npt.NDArray[np.uint8],
    lengths: npt.NDArray[np.uint16],
    image: Layout,
    box: Box,
    margin: int,
    scratch: Scratch,
) -> tuple[Splice, npt.NDArray[np.uint8]]:
    if image.kind != SEQUENTIAL:
        raise ValueError("no file with restart markers")
    _check(box, image.width, image.height)
    out = scratch.file(len(source))
    if lengths.dtype != np.uint16 or not (lengths.flags.c_contiguous and lengths.flags.aligned):
        lengths = np.array(lengths, np.uint16)  # a map of a file may lie at odd addresses
    made = splice(source, lengths, image, *box, margin, out)
    if made.size == 0:
        raise ValueError("file and segment lengths do not belong together")
    return made, out[: made.size]


def _cut_rows(
    source: npt.NDArray[np.uint8], image: Layout, bottom: int, margin: int, scratch: Scratch
) -> npt.NDArray[np.uint8]:
    if image.kind == OTHER:
        return source
    rows = -(-(bottom + margin) // image.unit_height) * image.unit_height
    if rows >= image.height:
        return source
    file = scratch.file(len(source))[: len(source)]
    file[:] = source
    file[image.frame + 5], file[image.frame + 6] = divmod(rows, 256)
    return file
