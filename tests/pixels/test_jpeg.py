"""Restart markers lose nothing; what is cut out of a file decodes as it does in the file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import photographs
import pytest
import simplejpeg
from beside import SHARED, needs_shared
from PIL import Image

from imagenets.pixels import jpeg

Pixels = npt.NDArray[np.uint8]
PLAIN = photographs.plain()
ODD = photographs.odd()


def by_pillow(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def fast(data: bytes) -> Pixels:
    pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=True)
    return pixels


def layout(data: bytes) -> jpeg.Layout:
    return jpeg.layout(np.frombuffer(data, np.uint8))


def random_box(rng: np.random.Generator, width: int, height: int) -> jpeg.Box:
    """Any box; often one that touches an edge or is tiny."""
    wide, high = rng.integers(1, width + 1), rng.integers(1, height + 1)
    wide, high = ((wide, high), (width, high), (wide, height), (1, 1))[
        rng.choice(4, p=(0.7, 0.1, 0.1, 0.1))
    ]
    left, top = rng.integers(0, width - wide + 1), rng.integers(0, height - high + 1)
    left = (left, 0, width - wide)[rng.choice(3, p=(0.8, 0.1, 0.1))]
    return int(left), int(top), int(wide), int(high)


def check_boxes(file: bytes, lengths: npt.NDArray[np.uint16] | None, boxes: list[jpeg.Box]) -> None:
    """Fast and exact decoding of each box against the crop of the whole image."""
    scratch = jpeg.Scratch()
    for exact, decode in ((False, fast), (True, by_pillow)):
        whole = decode(file)
        for left, top, wide, high in boxes:
            got = jpeg.decode_crop(
                file, lengths, (left, top, wide, high), exact=exact, scratch=scratch
            )
            expected = whole[top : top + high, left : left + wide]
            assert np.array_equal(got, expected), (exact, left, top, wide, high)


@pytest.mark.parametrize("name", PLAIN)
def test_markers_lose_nothing(name: str) -> None:
    file = PLAIN[name]
    before, reference = layout(file), by_pillow(file)
    for interval in (None, 1, 4, 7):
        made = jpeg.transcode(file, interval)
        assert made is not None
        after = layout(made.data)
        assert after.interval == made.interval
        assert after[:8] == before[:8]  # all that says how it decodes
        assert np.array_equal(by_pillow(made.data), reference)
        assert np.array_equal(fast(made.data), fast(file))
        mcus = after.columns * after.rows
        assert len(made.lengths) == -(-mcus // made.interval)
        ends = after.scan + np.cumsum(made.lengths.astype(np.int64))
        assert ends[-1] == len(made.data)
        markers = [made.data[end - 2 : end] for end in ends]
        assert markers[:-1] == [bytes((0xFF, 0xD0 + index % 8)) for index in range(len(ends) - 1)]
        assert markers[-1] == b"\xff\xd9"


@pytest.mark.parametrize("name", ["4:2:0 163x122", "4:4:4 75x100", "grey 200x151"])
def test_markers_come_off_again(name: str) -> None:
    """The way back gives the bits of the original scan: they are the same codes throughout."""
    file = PLAIN[name]
    there = jpeg.transcode(file, 3)
    assert there is not None
    mcus = layout(file).columns * layout(file).rows
    back = jpeg.transcode(there.data, mcus)
    assert back is not None
    assert back.data[layout(back.data).scan :] == file[layout(file).scan :]


def test_a_table_without_the_needed_code_is_renewed() -> None:
    """Optimised tables know only the differences that the original had."""
    flat = Image.fromarray(np.full((64, 256), 200, np.uint8))  # one difference, then zeros
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None].repeat(64, 0))
    for image, renewed in ((flat, 0), (ramp, 1), (ramp.convert("RGB"), 2)):
        file = photographs.save(image, optimize=True, quality=90)
        made = jpeg.transcode(file, 1)
        assert made is not None
        assert np.array_equal(by_pillow(made.data), by_pillow(file))
        assert made.data.count(b"\xff\xc4") - file.count(b"\xff\xc4") == renewed
        check_boxes(made.data, made.lengths, [(100, 10, 50, 40), (0, 0, 8, 8)])


def test_kept_are_colours_dropped_is_the_rest() -> None:
    made = jpeg.transcode(PLAIN["EXIF, comment, ICC 163x122"])
    assert made is not None
    info = Image.open(io.BytesIO(made.data)).info
    assert "icc_profile" in info
    assert "jfif" in info
    assert not {"exif", "comment"} & set(info)
    adobe = jpeg.transcode(PLAIN["RGB 163x122"])
    assert adobe is not None
    assert Image.open(io.BytesIO(adobe.data)).info["adobe_transform"] == 0
    small, _ = jpeg.cut(made.data, made.lengths, (0, 0, 9, 9))
    assert len(small) < 3000  # the profile is in no crop


def test_intervals() -> None:
    with pytest.raises(ValueError, match="interval must be from 1 to 65535, not 0"):
        jpeg.transcode(PLAIN["4:2:0 163x122"], 0)
    # a segment beyond 65,535 bytes has no length in the index
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
    file = photographs.save(Image.fromarray(noise), quality=100, subsampling=0)
    assert jpeg.transcode(file, 4096) is None
    assert jpeg.transcode(file) is not None


@pytest.mark.parametrize("name", PLAIN)
def test_crops_of_plain_files(name: str) -> None:
    rng = np.random.default_rng(7)
    file = PLAIN[name]
    image = layout(file)
    boxes = [random_box(rng, image.width, image.height) for _ in range(20)]
    check_boxes(file, None, boxes[:6])
    for interval in (None, 2, 3, 4, 5, 64):
        made = jpeg.transcode(file, interval)
        assert made is not None
        check_boxes(made.data, made.lengths, boxes)


@pytest.mark.parametrize("name", ODD)
def test_files_that_stay_as_they_are(name: str) -> None:
    file = ODD[name]
    assert jpeg.transcode(file) is None
    rng = np.random.default_rng(8)
    whole = (
        by_pillow(file)
        if "paletted" not in name
        else np.asarray(Image.open(io.BytesIO(file)).convert("RGBA").convert("RGB"))
    )
    height, width, _ = whole.shape
    for _ in range(10):
        left, top, wide, high = box = random_box(rng, width, height)
        got = jpeg.decode_crop(file, None, box, exact=True)
        assert np.array_equal(got, whole[top : top + high, left : left + wide])
        if name.startswith("progressive"):
            got = jpeg.decode_crop(file, None, box)
            assert np.array_equal(got, fast(file)[top : top + high, left : left + wide])


@pytest.mark.parametrize("kind", ["4:2:0 163x122", "progressive"])
def test_what_does_not_decode_says_so(kind: str) -> None:
    for name, data in photographs.broken((PLAIN | ODD)[kind]).items():
        assert jpeg.transcode(data) is None, name
        if name != "without its end":  # Pillow takes that
            with pytest.raises(ValueError, match=r"does not decode: \w+|not an image"):
                jpeg.decode_crop(data, None, (0, 0, 5, 5))


def test_wrong_use_says_so() -> None:
    file = PLAIN["4:2:0 163x122"]
    made = jpeg.transcode(file)
    assert made is not None
    for box in ((-1, 0, 5, 5), (0, 0, 0, 5), (0, 0, 5, 0), (160, 0, 4, 5), (0, 120, 5, 3)):
        for data, lengths in ((made.data, made.lengths), (file, None), (ODD["PNG"], None)):
            with pytest.raises(ValueError, match="is not inside an image of 163 x 122 pixels"):
                jpeg.decode_crop(data, lengths, box)
    wrong = made.lengths.copy()
    wrong[0] += 1
    for lengths in (wrong, made.lengths[:-1], np.append(made.lengths, np.uint16(0))):
        with pytest.raises(ValueError, match="do not belong together"):
            jpeg.cut(made.data, lengths, (0, 0, 5, 5))
    with pytest.raises(ValueError, match="do not belong together"):
        jpeg.cut(file, made.lengths, (0, 0, 5, 5))
    with pytest.raises(ValueError, match="no file with restart markers"):
        jpeg.cut(ODD["progressive"], made.lengths, (0, 0, 5, 5))


def test_a_cut_is_small_and_of_its_own() -> None:
    file = PLAIN["4:4:4 200x151"]
    made = jpeg.transcode(file, 1)
    assert made is not None
    small, (x, y) = jpeg.cut(made.data, made.lengths, (70, 50, 20, 30))
    assert (x, y) == (70 % 8, 50 % 8)
    image = Image.open(io.BytesIO(small.tobytes()))
    assert image.size == (32, 32)
    scan = len(small) - layout(small.tobytes()).scan
    assert scan < 0.06 * len(made.data)  # 16 of 475 MCUs
    scratch = jpeg.Scratch()
    first, _ = jpeg.cut(made.data, made.lengths, (0, 0, 20, 30), scratch=scratch)
    second, _ = jpeg.cut(made.data, made.lengths, (0, 0, 20, 30), scratch=scratch)
    assert np.shares_memory(first, second)


@pytest.mark.parametrize("give", [bytes, bytearray, memoryview, lambda it: np.frombuffer(it, "u1")])
def test_bytes_of_any_kind(give: Callable[[bytes], jpeg.Bytes], tmp_path: Path) -> None:
    made = jpeg.transcode(give(PLAIN["4:2:0 163x122"]))
    assert made is not None
    box = (30, 40, 50, 60)
    reference = jpeg.decode_crop(made.data, made.lengths, box)
    got = jpeg.decode_crop(give(made.data), made.lengths, box)
    assert np.array_equal(got, reference)
    # lengths in a mapped file, at an odd address
    (tmp_path / "lengths").write_bytes(b"x" + made.lengths.tobytes())
    mapped = np.memmap(tmp_path / "lengths", np.uint16, "r", 1)
    assert not mapped.flags.aligned
    assert np.array_equal(jpeg.decode_crop(give(made.data), mapped, box), reference)


def test_rows_below_a_crop_are_not_decoded() -> None:
    file = PLAIN["4:2:0 163x122"]
    assert layout(jpeg.cut_rows(file, 17).tobytes()).height == 32
    assert layout(jpeg.cut_rows(file, 31, margin=2).tobytes()).height == 48
    for rows in (113, 122):
        assert jpeg.cut_rows(file, rows).tobytes() == file
    assert jpeg.cut_rows(ODD["PNG"], 3).tobytes() == ODD["PNG"]


@needs_shared
def test_real_photographs() -> None:
    rng = np.random.default_rng(11)
    for path in sorted((SHARED / "data" / "photos").iterdir())[::5]:
        file = path.read_bytes()
        made = jpeg.transcode(file)
        assert made is not None, path.name
        assert np.array_equal(by_pillow(made.data), by_pillow(file))
        width, height = Image.open(io.BytesIO(file)).size
        boxes = [random_box(rng, width, height) for _ in range(8)]
        check_boxes(made.data, made.lengths, boxes)
        check_boxes(file, None, boxes[:3])
