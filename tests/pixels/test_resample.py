"""The CPU resampler equals Pillow's, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from imagenets.errors import UsageError
from imagenets.pixels import resample
from imagenets.pixels.resample import Box, Mode

PILLOW: dict[Mode, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth colours, some detail, and black and white edges that overshoot."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    pixels = (smooth + rng.normal(0, 12, smooth.shape)).clip(0, 255).astype(np.uint8)
    pixels[: height // 3, : width // 3] = 255
    pixels[height // 2 :, : width // 4] = 0
    return pixels


def pillow(
    image: NDArray[np.uint8], box: Box, size: tuple[int, int], mode: Mode
) -> NDArray[np.uint8]:
    """Rows first, then columns, whichever order this release of Pillow would choose."""
    left, top, width, height = box
    rows = image.shape[0]
    across = Image.fromarray(image).resize(
        (size[0], rows), PILLOW[mode], (left, 0, left + width, rows)
    )
    return np.asarray(across.resize(size, PILLOW[mode], (0, top, size[0], top + height)))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(224, 224), (96, 96), (33, 17)])
def test_crops_equal_pillow_bit_by_bit(mode: Mode, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    for seed, (width, height) in enumerate([(500, 375), (97, 71), (40, 33), (18, 200), (6, 16)]):
        image = photo(width, height, seed)
        for _ in range(8):
            left, top = rng.integers(0, width), rng.integers(0, height)
            box = (left, top, rng.integers(1, width - left + 1), rng.integers(1, height - top + 1))
            truth = pillow(image, box, size, mode)
            flat = np.empty((size[1], size[0], 3), np.uint8)
            resample.resize_crop_into(image, box, False, flat, mode)
            assert np.array_equal(flat, truth), (width, height, box)
            planes = np.empty((3, size[1], size[0]), np.uint8)
            resample.resize_crop_into(image, box, True, planes, mode)
            assert np.array_equal(planes.transpose(1, 2, 0)[:, ::-1], truth), (width, height, box)


def test_the_whole_call_of_pillow_differs_by_one_step_at_most() -> None:
    """Pillow 13 takes columns first where an image is high: bytes between are rounded anew."""
    for width, height in ((500, 375), (333, 500)):
        image = photo(width, height)
        out = np.empty((224, 224, 3), np.uint8)
        resample.resize_crop_into(image, (20, 30, 300, 320), False, out)
        whole = Image.fromarray(image).resize(
            (224, 224), Image.Resampling.BILINEAR, (20, 30, 320, 350), reducing_gap=None
        )
        assert np.abs(out.astype(int) - np.asarray(whole)).max() <= 1


@pytest.mark.parametrize("size", [(5, 3), (15, 40), (40, 5), (1, 1), (16, 5)])
def test_images_smaller_than_a_block(size: tuple[int, int]) -> None:
    image = photo(*size)
    out = np.empty((20, 31, 3), np.uint8)
    resample.resize_crop_into(image, (0, 0, *size), False, out)
    assert np.array_equal(out, pillow(image, (0, 0, *size), (31, 20), "bilinear"))


def test_a_view_is_a_crop_that_was_cut_off_first() -> None:
    image = photo(120, 90)
    view = image[10:80, 20:90]
    out, copied = np.empty((32, 32, 3), np.uint8), np.empty((32, 32, 3), np.uint8)
    resample.resize_crop_into(view, (0, 0, 70, 70), False, out)
    resample.resize_crop_into(view.copy(), (0, 0, 70, 70), False, copied)
    assert np.array_equal(out, copied)
    resample.resize_crop_into(image, (20, 10, 70, 70), False, copied)
    inner = (slice(1, -1), slice(1, -1))
    assert np.array_equal(out[inner], copied[inner])  # only the edge sees what lies beyond
    assert not np.array_equal(out, copied)


def test_nothing_is_written_beyond_the_result() -> None:
    image = photo(60, 50)
    held = np.full((3, 20, 17, 3), 77, np.uint8)
    resample.resize_crop_into(image, (0, 0, 60, 50), False, held[1])
    assert (held[[0, 2]] == 77).all()


def test_plain_bilinear_takes_two_pixels_a_side() -> None:
    image = photo(64, 64)
    out = np.empty((16, 16, 3), np.uint8)
    resample.resize_crop_into(image, (0, 0, 64, 64), False, out, antialias=False)
    corners = [image[1 + y :: 4, 1 + x :: 4].astype(float) for y in (0, 1) for x in (0, 1)]
    assert np.abs(out - np.mean(corners, 0)).max() <= 1
    antialiased = out.copy()
    resample.resize_crop_into(image, (0, 0, 64, 64), False, antialiased)
    assert not np.array_equal(out, antialiased)
    resample.resize_crop_into(image, (3, 4, 9, 9), False, out, antialias=False)
    resample.resize_crop_into(image, (3, 4, 9, 9), False, antialiased)
    assert np.array_equal(out, antialiased)  # nothing to filter where an image grows


@pytest.mark.parametrize("planes", [False, True])
def test_normalised_crops(planes: bool) -> None:
    shape = (3, 24, 20) if planes else (24, 20, 3)
    crop = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    out = np.empty(shape, np.float32)
    scale = np.array([0.5, 2, 3], np.float32)
    bias = np.array([1, -2, 0.25], np.float32)
    resample.normalised_into(crop, out, scale, bias)
    each = (3, 1, 1) if planes else (3,)
    np.testing.assert_allclose(out, crop * scale.reshape(each) + bias.reshape(each), rtol=1e-6)


@pytest.mark.parametrize("kind", [np.int16, np.int64])
def test_masks_equal_pillow_nearest(kind: type) -> None:
    rng = np.random.default_rng(0)
    for width, height in ((80, 60), (500, 375), (7, 9)):
        mask = rng.integers(0, 1001, (height, width)).astype(kind)
        for size in (112, 20, 3):
            left, top = rng.integers(0, width), rng.integers(0, height)
            box = (left, top, rng.integers(1, width - left + 1), rng.integers(1, height - top + 1))
            out = np.empty((size, size), kind)
            resample.nearest_crop_into(mask, box, True, out)
            whole = Image.fromarray(mask.astype(np.int32))
            corners = (left, top, left + box[2], top + box[3])
            truth = np.asarray(whole.resize((size, size), Image.Resampling.NEAREST, corners))
            assert np.array_equal(out, truth[:, ::-1])


def test_there_is_no_bicubic_without_antialiasing() -> None:
    with pytest.raises(UsageError, match=r"mode='bicubic' with antialias=False"):
        resample.filter_code("bicubic", antialias=False)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_window_is_pillows_resize_and_then_its_crop(mode: Mode) -> None:
    rng = np.random.default_rng(5)
    for seed, (width, height) in enumerate([(500, 375), (97, 71), (33, 40), (18, 200), (6, 16)]):
        image = photo(width, height, seed)
        for round_ in range(8):
            full = (int(rng.integers(1, 300)), int(rng.integers(1, 300)))
            full = (width, height) if round_ == 0 else full
            corner = (int(rng.integers(0, full[0])), int(rng.integers(0, full[1])))
            size = (
                int(rng.integers(1, full[0] - corner[0] + 1)),
                int(rng.integers(1, full[1] - corner[1] + 1)),
            )
            window = resample.Window((width, height), full, corner, size)
            inside = np.s_[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]]
            expected = pillow(image, (0, 0, width, height), full, mode)[inside]
            left, top, wide, high = window.needs(mode)
            part = image[top : top + high, left : left + wide]
            out = np.empty((*size[::-1], 3), np.uint8)
            resample.resize_window_into(part, (left, top), window, out, mode)
            assert np.array_equal(out, expected), window
            ids = rng.integers(0, 1001, (height, width)).astype(np.uint16)
            near = Image.fromarray(ids.astype(np.int32)).resize(full, Image.Resampling.NEAREST)
            labels = np.empty(size[::-1], np.uint16)
            resample.nearest_window_into(ids, window, labels)
            assert np.array_equal(labels, np.asarray(near)[inside]), window


def test_a_window_needs_its_part_of_the_image() -> None:
    image = photo(60, 50)
    window = resample.Window((60, 50), (30, 25), (10, 5), (8, 8))
    left, top, wide, high = window.needs()
    assert (left, top, wide, high) != (0, 0, 60, 50)
    out = np.empty((8, 8, 3), np.uint8)
    short = image[top : top + high, left + 1 : left + wide]
    with pytest.raises(UsageError, match="is not inside an image of"):
        resample.resize_window_into(short, (left + 1, top), window, out)
    with pytest.raises(UsageError, match="do not fit"):
        resample.resize_window_into(image, (1, 0), window, out)
    with pytest.raises(UsageError, match="do not fit"):
        resample.nearest_window_into(image[..., 0], window, np.empty((8, 9), np.uint8))
    with pytest.raises(UsageError, match=r"box \(25, 5, 8, 8\)"):
        resample.Window((60, 50), (30, 25), (25, 5), (8, 8))
