"""One decoder for every image that Pillow reads, however odd, and one error for all others."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagenets.data.prepare.inspect import check_decodes, inspect
from imagenets.errors import CorruptError
from imagenets.pixels.image import DECODE_ERRORS, DecodeError, decode, decode_into, decoding, size
from imagenets.pixels.jpeg import decode_crop, transcode


def jpeg(width: int = 16, height: int = 32, **settings: object) -> bytes:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(buffer, "JPEG", **settings)
    return buffer.getvalue()


def sampled_1x4() -> bytes:
    """A JPEG whose brightness is sampled 1 x 4: its units have the blocks of 2 x 2."""
    data = bytearray(jpeg(subsampling=2))
    frame = data.index(b"\xff\xc0")
    assert data[frame + 11] == 0x22
    data[frame + 11] = 0x14
    return bytes(data)


def jfif(revision: int, width: int = 64, height: int = 64) -> bytes:
    data = bytearray(jpeg(width, height))
    assert data[6:11] == b"JFIF\0"
    data[11] = revision
    return bytes(data)


def adobe(transform: int) -> bytes:
    """A JPEG with an Adobe marker and a colour transform that decoders may not know."""
    data = jpeg(64, 64)
    marker = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])
    return data[:2] + marker + data[2:]


ODD = {
    "sampled 1x4": sampled_1x4(),
    "JFIF 2.01": jfif(2),
    "JFIF 0.01": jfif(0),
    "Adobe transform 7": adobe(7),
}


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ODD)
def test_odd_files_give_pillows_pixels(name: str) -> None:
    data = ODD[name]
    expected = by_pillow(data)
    assert size(data) == expected.shape[1::-1]
    assert (decode(data) == expected).all()
    out = np.empty_like(expected)
    decode_into(data, out)
    assert (out == expected).all()
    high, wide = expected.shape[:2]
    box = (2, 3, wide - 4, high - 5)
    cut = expected[3 : high - 2, 2 : wide - 2]
    assert (decode_crop(data, None, box, exact=True) == cut).all()
    check_decodes(data, name)
    assert inspect(data, name).width == wide


@pytest.mark.parametrize("name", ["JFIF 2.01", "JFIF 0.01", "Adobe transform 7"])
def test_odd_headers_are_no_damage_where_segments_are_indexed(name: str) -> None:
    made = transcode(ODD[name])
    assert made is not None
    expected = by_pillow(ODD[name])
    assert (by_pillow(made.data) == expected).all()
    cut = decode_crop(made.data, made.lengths, (5, 9, 20, 30), exact=True)
    assert (cut == expected[9:39, 5:25]).all()


def test_damage_in_a_segment_is_still_told() -> None:
    made = transcode(jfif(2, 256, 256))
    assert made is not None
    data = bytearray(made.data)
    scan = data.index(b"\xff\xda")
    data[scan + 40 : scan + 42] = b"\xff\xd9"  # an end in the middle
    with pytest.raises(ValueError, match=r"\w"):
        decode_crop(bytes(data), made.lengths, (0, 0, 256, 40), exact=True)


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"GIF89a", jpeg()[:200], b"\x89PNG\r\n\x1a\n"]
)
def test_what_is_no_image_is_one_error(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DecodeError):
        decode(data)
    with pytest.raises(DecodeError):
        decode_into(data, np.empty((32, 16, 3), np.uint8))
    with pytest.raises(CorruptError, match=r"x: .*Replace it"):
        check_decodes(data, "x")
    path = tmp_path / "file"
    path.write_bytes(data[:20])
    with pytest.raises(DecodeError):
        size(path)


@pytest.mark.parametrize("error", DECODE_ERRORS)
def test_whatever_a_decoder_raises_becomes_one_error(error: type[Exception]) -> None:
    with pytest.raises(DecodeError, match=r"does not decode: (odd|'odd')"), decoding():
        raise error("odd")


def test_another_size_than_recorded_is_an_error() -> None:
    with pytest.raises(DecodeError, match="16 x 32 pixels, its record says 8 x 8"):
        decode_into(jpeg(), np.empty((8, 8, 3), np.uint8))
