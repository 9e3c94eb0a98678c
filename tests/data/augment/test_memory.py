"""What ends in compiled code never reads or writes beside an image, whatever it is told."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from imagenets.data.augment import (
    ViewGroup,
    apply,
    apply_groups,
    apply_labels,
    center_crop,
    draw,
    label_crop,
    resize_crop,
    short_side,
)
from imagenets.errors import UsageError
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import (
    Window,
    nearest_crop_into,
    nearest_window_into,
    normalised_into,
    resize_crop_into,
    resize_window_into,
)

IMAGE = np.zeros((20, 30, 3), np.uint8)
OUTSIDE = [
    (-1, 0, 5, 5),
    (0, -1, 5, 5),
    (26, 0, 5, 5),
    (0, 16, 5, 5),
    (0, 0, 0, 5),
    (0, 0, 5, 0),
    (0, 0, 31, 5),
    (0, 0, 5, -3),
    (2**40, 0, 5, 5),
    (0, 0, 2**62, 2**62),
]


@pytest.mark.parametrize("box", OUTSIDE)
def test_boxes_outside_the_image_are_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(UsageError, match="is not inside an image of 30 x 20"):
        resize_crop_into(IMAGE, box, False, np.empty((8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="is not inside"):
        nearest_crop_into(IMAGE[..., 0].astype(np.int16), box, False, np.empty((8, 8), np.int16))
    with pytest.raises(UsageError, match="is not inside"):
        Window((60, 40), (30, 20), box[:2], box[2:])


@pytest.mark.parametrize(
    ("image", "out"),
    [
        (IMAGE.astype(np.float32), np.empty((8, 8, 3), np.uint8)),
        (IMAGE[..., :1], np.empty((8, 8, 3), np.uint8)),
        (IMAGE[..., 0], np.empty((8, 8, 3), np.uint8)),
        (IMAGE[:0], np.empty((8, 8, 3), np.uint8)),
        (IMAGE, np.empty((8, 8, 3), np.float32)),
        (IMAGE, np.empty((8, 8), np.uint8)),
        (IMAGE, np.empty((0, 8, 3), np.uint8)),
        (IMAGE, np.empty((16, 8, 3), np.uint8)[::2]),
    ],
)
def test_other_shapes_and_types_are_refused(image: Any, out: Any) -> None:
    with pytest.raises(UsageError):
        resize_crop_into(image, (0, 0, 5, 5), False, out)


def drawn(width: int = 30, height: int = 20) -> Any:
    sizes = torch.tensor([[width, height]] * 2)
    return draw(sizes, ViewGroup(2, 8), torch.Generator().manual_seed(0))


def images(width: int = 30, height: int = 20) -> list[torch.Tensor]:
    return [torch.zeros(3, height, width, dtype=torch.uint8) for _ in range(2)]


@pytest.mark.parametrize("ragged", [False, True])
def test_stored_parameters_on_smaller_images_are_refused(ragged: bool) -> None:
    params = drawn(300, 200)
    small: Any = RaggedBatch.from_images(images()) if ragged else images()
    with pytest.raises(UsageError, match="is not inside an image of 30 x 20"):
        apply(small, params)
    with pytest.raises(UsageError, match="is not inside an image of 30 x 20"):
        apply_labels([image[0].to(torch.int16) for image in images()], params)
    with pytest.raises(UsageError, match="parameters of 2 images, but 1 were given"):
        apply(images()[:1], drawn())


CHANGES: dict[str, dict[str, Any]] = {
    "boxes of int32": {"boxes": drawn().boxes.int()},
    "boxes of three": {"boxes": drawn().boxes[..., :3]},
    "flips of another shape": {"flips": drawn().flips[:1]},
    "order of 7": {"order": torch.full((2, 2, 4), 7)},
    "factors that are no numbers": {"factors": torch.full((2, 2, 4), torch.nan)},
    "an endless blur": {"sigmas": torch.full((2, 2), torch.inf)},
    "a negative blur": {"sigmas": torch.full((2, 2), -1.0)},
    "no size": {"size": 0},
}


@pytest.mark.parametrize("what", CHANGES)
def test_parameters_that_lie_are_refused(what: str) -> None:
    with pytest.raises(UsageError):
        apply(images(), dataclasses.replace(drawn(), **CHANGES[what]))


def room(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(*(shape or (2, 2, 3, 8, 8)), dtype=dtype)


ROOMS: dict[str, Callable[[], list[torch.Tensor]]] = {
    "none": lambda: [],
    "two for one group": lambda: [room(), room()],
    "too small": lambda: [room(2, 2, 3, 2, 2)],
    "too large": lambda: [room(2, 2, 3, 16, 16)],
    "too few views": lambda: [room(1, 2, 3, 8, 8)],
    "flat": lambda: [room(2, 2, 3 * 8 * 8)],
    "doubles": lambda: [room(dtype=torch.float64)],
    "every other column": lambda: [room(2, 2, 3, 8, 16)[..., ::2]],
    "one view in place of all": lambda: [room(1, 1, 3, 8, 8).expand(2, 2, 3, 8, 8)],
    "interleaved": lambda: [room(2, 2, 8, 8, 3).permute(0, 1, 4, 2, 3)],
}


@pytest.mark.parametrize("what", ROOMS)
def test_room_that_results_do_not_fit_into_is_refused(what: str) -> None:
    out = ROOMS[what]()
    with pytest.raises(UsageError, match="out "):
        apply_groups(images(), [drawn()], out=out)
    assert not any(tensor.any() for tensor in out)


@pytest.mark.parametrize("channels_last", [False, True])
def test_results_are_written_over(channels_last: bool) -> None:
    full = [image + 255 for image in images()]
    first = apply_groups(images(), [drawn()], channels_last=channels_last)
    before = first[0].clone()
    (again,) = apply_groups(full, [drawn()], channels_last=channels_last, out=first)
    assert again.data_ptr() == first[0].data_ptr()
    assert not torch.equal(again, before)
    assert torch.equal(again, apply(full, drawn(), channels_last=channels_last))


WINDOW = Window((30, 20), (15, 10), (2, 1), (8, 8))
THREE = np.ones(3, np.float32)


NONSENSE: dict[str, Callable[[], Any]] = {
    "a window of another image": lambda: resize_window_into(
        IMAGE[:12], (0, 0), WINDOW, np.empty((8, 8, 3), np.uint8)
    ),
    "a part beyond the image": lambda: resize_window_into(
        IMAGE, (0, 1), WINDOW, np.empty((8, 8, 3), np.uint8)
    ),
    "a window of another size": lambda: resize_window_into(
        IMAGE, (0, 0), WINDOW, np.empty((9, 8, 3), np.uint8)
    ),
    "a map of another size": lambda: nearest_window_into(
        IMAGE[:12, :, 0], WINDOW, np.empty((8, 8), np.uint8)
    ),
    "floats of another shape": lambda: normalised_into(
        IMAGE, np.empty((20, 31, 3), np.float32), THREE, THREE
    ),
    "two scales": lambda: normalised_into(
        IMAGE, np.empty((20, 30, 3), np.float32), THREE[:2], THREE
    ),
    "two means": lambda: apply(images(), drawn(), mean=(0.5, 0.5)),  # type: ignore[arg-type]
    "a deviation of 0": lambda: apply(images(), drawn(), std=(0.2, 0.0, 0.2)),
    "fewer than no threads": lambda: apply(images(), drawn(), threads=-1),
    "no images": lambda: apply([], drawn()),
    "no maps": lambda: apply_labels([], drawn()),
    "maps with channels": lambda: apply_labels(images(), drawn()),
    "a crop larger than the image": lambda: center_crop(images()[0], 21),
    "a crop of no pixel": lambda: center_crop(images()[0], 0),
    "a short side of no pixel": lambda: short_side(images()[0], 0),
    "half ids": lambda: label_crop(torch.full((20, 30), 0.5), (0, 0, 5, 5), False, 4),
    "floats": lambda: resize_crop(images()[0].float(), (0, 0, 5, 5), 4),
    "a box outside, on a device": lambda: resize_crop(images()[0].to("meta"), (20, 0, 20, 5), 4),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_refused(what: str) -> None:
    with pytest.raises(UsageError):
        NONSENSE[what]()


@pytest.mark.parametrize(
    ("offsets", "sizes"),
    [([0, 10**6], [[30, 20]] * 2), ([-1, 0], [[30, 20]] * 2), ([0, 0], [[30, 20], [3000, 2000]])],
)
def test_ragged_batches_that_lie_are_refused(offsets: list[int], sizes: list[list[int]]) -> None:
    good = RaggedBatch.from_images(images())
    bad = dataclasses.replace(good, offsets=torch.tensor(offsets), sizes=torch.tensor(sizes))
    with pytest.raises(UsageError, match="does not lie inside"):
        apply(bad, drawn(3, 2))


_FUZZ = """
import sys
import numpy as np
import torch
from imagenets.data.augment import Params, ViewGroup, apply, apply_groups, apply_labels, draw
from imagenets.errors import UsageError
from imagenets.pixels.jpeg import decode_crop, transcode
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import Window, nearest_crop_into, nearest_window_into
from imagenets.pixels.resample import resize_crop_into, resize_window_into
from dataclasses import replace
import io
from PIL import Image

rng = np.random.default_rng(int(sys.argv[1]))
buffer = io.BytesIO()
Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(buffer, "JPEG")
marked = transcode(buffer.getvalue())
edge = [-(2**62), -(2**31), -7, -1, 0, 1, 2, 19, 20, 21, 30, 31, 1000, 2**31, 2**62]
refused = done = 0
for _ in range(1500):
    near = rng.integers(-3, 35, 4)
    box = tuple(np.where(rng.random(4) < 0.3, rng.choice(edge, 4), near).tolist())
    image = rng.integers(0, 256, (int(rng.integers(1, 40)), int(rng.integers(1, 40)), 3), np.uint8)
    out = np.empty((*rng.integers(0, 20, 2), int(rng.choice([1, 3, 3, 3]))), np.uint8)
    labels, cut = image[..., 0].astype(np.int16), int(rng.integers(len(marked.data)))
    lengths = marked.lengths.copy()
    lengths[rng.integers(len(lengths))] = rng.integers(0, 65536)
    params = draw(torch.tensor([[40, 40]]), ViewGroup(2, 6), torch.Generator().manual_seed(1))
    params = replace(params, boxes=torch.tensor(box).expand(2, 1, 4))
    ragged = RaggedBatch(
        torch.zeros(int(rng.integers(0, 4000)), dtype=torch.uint8),
        torch.tensor([int(rng.choice(edge))]),
        torch.from_numpy(rng.choice(edge, (1, 2))),
    )
    side = int(rng.choice([1, 5, 6, 6, 7]))
    fitting = draw(torch.tensor([image.shape[1::-1]]), ViewGroup(2, 6), torch.Generator())
    rooms = [torch.empty(2, 1, 3, side, 6)] * int(rng.choice([0, 1, 1, 1, 2]))
    full = tuple(np.where(rng.random(2) < 0.1, rng.choice(edge, 2), near[:2] + 8).tolist())
    window = lambda: Window(image.shape[1::-1], full, box[:2], out.shape[1::-1])
    calls = (
        lambda: resize_window_into(image, (0, 0), window(), out),
        lambda: resize_window_into(image[1:, 2:], (2, 1), window(), out, "bicubic"),
        lambda: resize_window_into(image, box[2:], window(), out),
        lambda: nearest_window_into(labels, window(), out[..., 0].astype(np.int16)),
        lambda: resize_crop_into(image, box, bool(rng.random() < 0.5), out),
        lambda: nearest_crop_into(labels, box, False, out[..., 0].astype(np.int16)),
        lambda: apply([torch.from_numpy(image).permute(2, 0, 1)], params),
        lambda: apply(ragged, params),
        lambda: apply_labels([torch.from_numpy(labels)], params),
        lambda: apply_groups([torch.from_numpy(image).permute(2, 0, 1)], [fitting], out=rooms),
        lambda: decode_crop(marked.data, marked.lengths, box),
        lambda: decode_crop(marked.data, lengths, (3, 3, 60, 50)),
        lambda: decode_crop(marked.data[:cut], marked.lengths, (3, 3, 60, 50)),
    )
    for call in calls:
        try:
            call()
            done += 1
        except (UsageError, ValueError):
            refused += 1
print(done, refused)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_lies_never_end_the_process(seed: int) -> None:
    call = [sys.executable, "-c", _FUZZ, str(seed)]
    ended = subprocess.run(call, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    done, refused = map(int, ended.stdout.split())
    assert done > 300
    assert refused > 3000
