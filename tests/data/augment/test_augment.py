"""Augmentation: drawn parameters follow their formulas, applied ones follow Pillow."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage, stats

from imagenets.data import augment
from imagenets.data.augment import Params, ViewGroup, draw
from imagenets.data.augment.backends import Target, plain
from imagenets.data.augment.backends import color as colour
from imagenets.pixels.ragged import RaggedBatch


def photo(width: int = 97, height: int = 71, seed: int = 0) -> Image.Image:
    """Smooth colours with some detail, as photographs have."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8))
    fine = rng.normal(0, 12, (height, width, 3))
    pixels = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)) + fine
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def sizes(count: int, width: int = 500, height: int = 375) -> torch.Tensor:
    return torch.tensor([[width, height]]).expand(count, 2)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    first, again, other = (
        draw(sizes(8), ViewGroup(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.boxes, again.boxes)
    assert torch.equal(first.factors, again.factors)
    assert not torch.equal(first.boxes, other.boxes)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_what_is_drawn_for_all(world: int) -> None:
    every = torch.randint(60, 600, (12, 2), generator=torch.Generator().manual_seed(1))
    groups = [ViewGroup(2, 32), ViewGroup(3, 16, (0.05, 0.14))]
    whole = augment.draw_groups(every, groups, torch.Generator().manual_seed(2))
    for rank in range(world):
        generator = torch.Generator().manual_seed(2)
        parts = augment.draw_groups(every[rank::world], groups, generator, rank, world)
        for part, want in zip(parts, whole, strict=True):
            for name, value in dataclasses.asdict(want).items():
                got = getattr(part, name)
                if isinstance(value, torch.Tensor):
                    assert got.equal(value[:, rank::world]), name
                else:
                    assert got == value


DRAWS = 100_000
CLOSE = 1.95 / DRAWS**0.5
"""What the Kolmogorov-Smirnov statistic of as many draws stays under, 999 times in 1000."""


def ks(drawn: torch.Tensor, low: float, high: float) -> float:
    uniform = stats.uniform(low, high - low)
    return float(stats.kstest(drawn.double().numpy(), uniform.cdf).statistic)


def test_boxes_lie_inside_and_follow_scale_and_ratio() -> None:
    group = ViewGroup(views=1, scale=(0.05, 0.14))
    boxes = augment.draw_boxes(sizes(DRAWS, 5000, 3750), group, torch.Generator().manual_seed(0))[0]
    left, top, width, height = boxes.unbind(-1)
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width <= 5000).all()
    assert (top + height <= 3750).all()
    assert ks(width * height / (5000 * 3750), 0.05, 0.14) < CLOSE
    assert ks((width / height).log(), np.log(3 / 4), np.log(4 / 3)) < CLOSE
    for corner, room in ((left, 5000 - width), (top, 3750 - height)):
        assert ks((corner + torch.rand(DRAWS)) / (room + 1), 0, 1) < CLOSE


def tries(width: int, height: int, group: ViewGroup, count: int, seed: int) -> np.ndarray:
    """The crop's sizes by the rule as it is written: ten tries, one by one, then the centre."""
    rng = np.random.default_rng(seed)
    found = np.zeros((count, 2))
    for _ in range(10):
        area = width * height * rng.uniform(*group.scale, count)
        ratio = np.exp(rng.uniform(*np.log(group.ratio), count))
        side = np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], 1).round()
        good = (found == 0).all(1) & (side > 0).all(1) & (side <= (width, height)).all(1)
        found[good] = side[good]
    wide = min(width, round(height * group.ratio[1]))
    found[(found == 0).all(1)] = (wide, min(height, round(width / group.ratio[0])))
    return found


def test_sizes_follow_the_rule_with_its_fallback() -> None:
    """An image on which most tries fail, so that the central crop is frequent."""
    group = ViewGroup(views=1, scale=(0.3, 1.0))
    boxes = augment.draw_boxes(sizes(DRAWS, 900, 300), group, torch.Generator().manual_seed(0))[0]
    expected = tries(900, 300, group, DRAWS, 1)
    central = (boxes[:, 2:] == torch.tensor([400, 300])).all(1)
    share = (expected == (400, 300)).all(1).mean()
    assert 0.1 < share < 0.9
    assert central.double().mean().item() == pytest.approx(share, abs=0.007)
    assert (boxes[central, 0] == 250).double().mean() > 0.9  # a try may draw the same size
    assert (boxes[central, 1] == 0).all()
    for column in (0, 1):
        two = stats.ks_2samp(boxes[:, 2 + column].numpy(), expected[:, column])
        assert two.statistic < 1.95 * (2 / DRAWS) ** 0.5


def test_an_image_that_no_crop_fits_gives_its_central_box() -> None:
    group = ViewGroup(views=2, scale=(1.0, 1.0))
    boxes = augment.draw_boxes(sizes(3, 1000, 10), group, torch.Generator().manual_seed(0))
    assert boxes.reshape(-1, 4).unique(dim=0).tolist() == [[493, 0, 13, 10]]


def test_the_other_parameters_follow_their_probabilities() -> None:
    group = ViewGroup(views=1, solarize_probability=0.3)
    params = draw(sizes(DRAWS), group, torch.Generator().manual_seed(0))
    for values, share in (
        (params.flips, 0.5),
        (params.jitters, 0.8),
        (params.greys, 0.2),
        (params.solarises, 0.3),
        (params.sigmas > 0, 0.5),
    ):
        assert values.double().mean().item() == pytest.approx(share, abs=0.006)
    assert ks(params.sigmas[params.sigmas > 0], 0.1, 2.0) < CLOSE * 2**0.5
    for column, (low, high) in enumerate([(0.2, 1.8)] * 3 + [(-0.2, 0.2)]):
        assert ks(params.factors[0, :, column], low, high) < CLOSE
    orders = params.order[0].unique(dim=0, return_counts=True)
    assert len(orders[0]) == 24
    assert (orders[1].double() / DRAWS - 1 / 24).abs().max() < 0.003


@pytest.mark.parametrize("box", [(0, 0, 97, 71), (10, 20, 50, 40), (3, 1, 24, 60), (90, 60, 5, 7)])
def test_resized_crops_equal_pillow(box: tuple[int, int, int, int]) -> None:
    image = photo()
    ours = augment.resize_crop(tensor(image), box, 32).float()
    left, top, width, height = box
    corners = (left, top, left + width, top + height)
    theirs = tensor(image.resize((32, 32), Image.Resampling.BILINEAR, corners)).float()
    assert (ours - theirs).abs().max() <= 1  # equal, but for the order of passes in Pillow 13
    flipped = augment.resize_crop(tensor(image), box, 32, flip=True).float()
    assert torch.equal(flipped, ours.flip(-1))


def plain_view(**changes: Any) -> Params:
    """One view of one image of `photo()`'s size, 97 x 71 pixels made 64 x 64, not changed."""
    one = {
        "boxes": torch.tensor([[[0, 0, 97, 71]]]),
        "flips": torch.tensor([[False]]),
        "jitters": torch.tensor([[False]]),
        "factors": torch.tensor([[[1.0, 1.0, 1.0, 0.0]]]),
        "order": torch.tensor([[[0, 1, 2, 3]]]),
        "greys": torch.tensor([[False]]),
        "solarises": torch.tensor([[False]]),
        "sigmas": torch.tensor([[0.0]]),
    }
    return Params(**(one | changes), size=64)


def both(params: Params, image: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
    """The view as bytes, on the CPU and in plain torch."""
    by_cpu = augment.apply([tensor(image)], params, mean=(0, 0, 0), std=(1, 1, 1))
    batch = RaggedBatch.from_images([tensor(image)])
    (by_torch,) = plain.views(batch, [params], Target(torch.ones(3) / 255, torch.zeros(3)))
    return by_cpu[0, 0] * 255, by_torch[0, 0] * 255


def equal_pillow(params: Params, theirs: Image.Image, image: Image.Image) -> None:
    """Bytes compared with bytes: both ways equal Pillow's."""
    for ours in both(params, image):
        assert torch.equal(ours.round().byte(), tensor(theirs))


@pytest.mark.parametrize("factor", [0.2, 0.7, 1.0, 1.3, 1.8])
@pytest.mark.parametrize(
    ("operation", "enhance"),
    [
        (augment.BRIGHTNESS, ImageEnhance.Brightness),
        (augment.CONTRAST, ImageEnhance.Contrast),
        (augment.SATURATION, ImageEnhance.Color),
    ],
)
def test_colours_equal_pillow(operation: int, enhance: type, factor: float) -> None:
    image = photo()
    small = resized(image)
    factors = torch.tensor([[[1.0, 1.0, 1.0, 0.0]]])
    factors[..., operation] = factor
    # the last operation is hue: a shift of zero still goes through 8-bit HSV, as in the recipe
    theirs = turned(enhance(small).enhance(factor), 0)
    equal_pillow(plain_view(factors=factors, jitters=torch.tensor([[True]])), theirs, image)


def resized(image: Image.Image) -> Image.Image:
    """64 x 64, rows first."""
    return Image.fromarray(
        augment.resize_crop(tensor(image), (0, 0, *image.size), 64).permute(1, 2, 0).numpy()
    )


def turned(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = (np.asarray(hue).astype(np.int16) + int(turns * 255)) % 256
    hue = Image.fromarray(shifted.astype(np.uint8))
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


@pytest.mark.parametrize("turns", [-0.2, -0.05, 0.0, 0.1, 0.2])
def test_hue_equals_pillow(turns: float) -> None:
    image = photo()
    factors = torch.tensor([[[1.0, 1.0, 1.0, turns]]])
    params = plain_view(factors=factors, jitters=torch.tensor([[True]]))
    equal_pillow(params, turned(resized(image), turns), image)


def test_hue_equals_pillow_for_every_chroma() -> None:
    """All colours of one value with a channel at 0 or at any other level, in all six orders."""
    middle, low = (x.ravel() for x in np.meshgrid(np.arange(256), np.arange(256)))
    keep = middle >= low
    levels = np.stack([np.full(keep.sum(), 255), middle[keep], low[keep]]).astype(np.uint8)
    every = np.concatenate([levels[list(order)] for order in itertools.permutations(range(3))], 1)
    image = Image.fromarray(np.ascontiguousarray(every.T)[None])
    for shift in (0, 1, 77, 204):
        planes = every.copy()
        colour.turn_hue(planes, np.float32(shift))
        theirs = np.asarray(turned(image, shift / 255 + 1e-6))[0].T
        assert np.array_equal(planes, theirs)


def test_grey_and_solarise_equal_pillow() -> None:
    image = photo()
    small = resized(image)
    grey = plain_view(greys=torch.tensor([[True]]))
    equal_pillow(grey, small.convert("L").convert("RGB"), image)
    solarised = plain_view(solarises=torch.tensor([[True]]))
    equal_pillow(solarised, ImageOps.solarize(small, 128), image)


@pytest.mark.parametrize("seed", range(6))
def test_a_whole_view_without_blur_equals_the_recipe_in_pillow(seed: int) -> None:
    image = photo()
    group = ViewGroup(1, 64, blur_probability=0, solarize_probability=0.5, flip_probability=1)
    params = draw(sizes(1, *image.size), group, torch.Generator().manual_seed(seed))
    left, top, width, height = params.boxes[0, 0].tolist()
    out = augment.resize_crop(tensor(image), (left, top, width, height), 64)
    view = ImageOps.mirror(Image.fromarray(out.permute(1, 2, 0).numpy()))
    factors = params.factors[0, 0].tolist()
    for operation in params.order[0, 0].tolist() if params.jitters.item() else []:
        if operation == augment.HUE:
            view = turned(view, factors[operation])
        else:
            kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
            view = kinds[operation](view).enhance(factors[operation])
    view = view.convert("L").convert("RGB") if params.greys.item() else view
    view = ImageOps.solarize(view, 128) if params.solarises.item() else view
    equal_pillow(params, view, image)


def test_the_order_of_the_colour_operations_matters() -> None:
    factors, on = torch.tensor([[[1.6, 0.4, 1.5, 0.1]]]), torch.tensor([[True]])
    one, other = (
        both(plain_view(factors=factors, jitters=on, order=torch.tensor([[order]])), photo())[0]
        for order in ([0, 1, 2, 3], [1, 0, 2, 3])
    )
    assert (one - other).abs().mean() > 2
    off = plain_view(factors=factors)
    equal_pillow(off, resized(photo()), photo())


@pytest.mark.parametrize("sigma", [0.1, 0.5, 0.8, 1.4, 2.0])
def test_blur_is_the_true_gaussian(sigma: float) -> None:
    image = photo()
    sharp = np.asarray(resized(image)).transpose(2, 0, 1).astype(float)
    truth = ndimage.gaussian_filter(sharp, (0, sigma, sigma), mode="nearest", truncate=8)
    for ours in both(plain_view(sigmas=torch.tensor([[sigma]])), image):
        error = np.abs(ours.numpy() - truth)
        assert error.mean() < 0.6  # two roundings to bytes
        assert error.max() < 3
    assert (np.abs(sharp - truth).mean() > 1) == (sigma > 0.4)


def test_labels_are_cut_with_the_same_box_as_pillow_nearest() -> None:
    labels = torch.arange(60 * 80).reshape(60, 80)
    box = (7, 11, 50, 33)
    ours = augment.label_crop(labels, box, True, 20)
    image = Image.fromarray(labels.numpy().astype(np.int32))
    theirs = image.resize((20, 20), Image.Resampling.NEAREST, box=(7, 11, 57, 44))
    assert np.array_equal(ours.numpy(), np.asarray(theirs)[:, ::-1])


def test_labels_of_all_views() -> None:
    masks = [torch.arange(60 * 80).view(60, 80).short(), torch.arange(35).view(5, 7).short()]
    params = draw(sizes_of(masks), ViewGroup(3, 20), torch.Generator().manual_seed(0))
    for given in (masks, RaggedBatch.from_images(masks)):
        labels = augment.apply_labels(given, params)
        assert labels.shape == (3, 2, 20, 20)
        for view, index in itertools.product(range(3), range(2)):
            box, flip = params.boxes[view, index].tolist(), bool(params.flips[view, index])
            alone = augment.label_crop(masks[index], box, flip, 20)
            assert torch.equal(labels[view, index], alone)


def sizes_of(images: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.tensor([[image.shape[-1], image.shape[-2]] for image in images])


def test_apply_replays_and_flips() -> None:
    plain = ViewGroup(
        views=2,
        size=24,
        jitter_probability=0,
        gray_probability=0,
        blur_probability=0,
        flip_probability=1,
    )
    image = tensor(photo())
    params = draw(sizes(1, 97, 71), plain, torch.Generator().manual_seed(3))
    views = augment.apply([image], params)
    assert views.shape == (2, 1, 3, 24, 24)
    assert torch.equal(views, augment.apply([image], params))
    straight = augment.resize_crop(image, params.boxes[1, 0].tolist(), 24).float() / 255
    torch.testing.assert_close(views[1, 0], augment.normalize(straight[None])[0].flip(-1))


GROUPS = (
    ViewGroup(2, 40, solarize_probability=0.3),
    ViewGroup(3, 17, (0.05, 0.14), mode="bicubic"),
)


def some_batch() -> tuple[list[torch.Tensor], list[Params]]:
    """Five images of as many sizes, one smaller than any block; all operations occur."""
    shapes = ((97, 71), (40, 60), (5, 9), (64, 64), (200, 30))
    images = [tensor(photo(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
    params = augment.draw_groups(sizes_of(images), GROUPS, torch.Generator().manual_seed(5))
    return images, params


def test_parameters_can_be_stored_and_replayed(tmp_path: Path) -> None:
    images, params = some_batch()
    torch.save([dataclasses.asdict(group) for group in params], tmp_path / "params.pt")
    stored = [Params(**held) for held in torch.load(tmp_path / "params.pt", weights_only=True)]
    for first, again in zip(
        augment.apply_groups(images, params), augment.apply_groups(images, stored), strict=True
    ):
        assert torch.equal(first, again)


def test_several_groups_ragged_or_not_by_one_thread_or_many() -> None:
    images, params = some_batch()
    together = augment.apply_groups(RaggedBatch.from_images(images), params, threads=3)
    for group, drawn, made in zip(GROUPS, params, together, strict=True):
        assert made.shape == (group.views, 5, 3, group.size, group.size)
        assert torch.equal(made, augment.apply(images, drawn, threads=1))
    same = torch.stack([images[0], images[0].flip(-1)])
    params = [augment.draw(sizes_of(same), GROUPS[0], torch.Generator().manual_seed(1))]
    (made,) = augment.apply_groups(same, params)
    assert torch.equal(made, augment.apply(list(same), params[0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_channels_last(dtype: torch.dtype) -> None:
    images, params = some_batch()
    full = augment.apply(images, params[0])
    half = augment.apply(images, params[0], dtype=dtype, channels_last=True)
    assert half.dtype == dtype
    assert half.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(half, full.to(dtype))


def test_plain_torch_makes_the_same_views() -> None:
    images, params = some_batch()
    ones = torch.ones(3) / 255
    ours = augment.apply_groups(images, params, mean=(0, 0, 0), std=(1, 1, 1))
    theirs = plain.views(
        RaggedBatch.from_images(images), params, Target(ones, torch.zeros(3), channels_last=True)
    )
    for one, other in zip(ours, theirs, strict=True):
        off = ((one - other) * 255).abs()
        assert off.max() < 1.01  # where a blur falls between two bytes
        assert (off > 0.5).float().mean() < 0.001


def test_parameters_of_other_images_are_refused() -> None:
    images, params = some_batch()
    with pytest.raises(ValueError, match="parameters of 5 images, but 4"):
        augment.apply_groups(images[:4], params)


def test_grids_point_at_the_same_pixels_of_both_views() -> None:
    ramp = torch.stack(torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="xy"))
    boxes = torch.tensor([[[4, 6, 40, 40]], [[14, 16, 40, 40]]])
    flips = torch.tensor([[False], [True]])
    q, k = augment.overlap_grids(boxes[0], flips[0], boxes[1], flips[1], 7)
    seen = []
    for (left, top, width, height), flip, grid in zip(
        boxes[:, 0].tolist(), flips[:, 0].tolist(), (q, k), strict=True
    ):
        view = ramp[None, :, top : top + height, left : left + width]
        view = view.flip(-1) if flip else view
        # inner points only: the outermost lie on the edge, where sampling fades into zero
        seen.append(torch.nn.functional.grid_sample(view, grid, align_corners=False))
    inner = slice(1, -1)
    torch.testing.assert_close(
        seen[0][:, :, inner, inner], seen[1][:, :, inner, inner], atol=1e-3, rtol=0
    )


def test_views_that_do_not_overlap_sample_nothing() -> None:
    a, b = torch.tensor([[0, 0, 30, 30]]), torch.tensor([[100, 100, 40, 40]])
    flips = torch.tensor([False])
    q, k = augment.overlap_grids(a, flips, b, flips, 7)
    assert (q == -2).all()
    assert (k == -2).all()


@pytest.mark.parametrize("shape", [(10, 3), (3, 3), (3, 10), (1, 3)])
def test_results_three_pixels_wide_equal_pillow(shape: tuple[int, int]) -> None:
    image = photo(97, 71)
    ours = augment.resize_crop(tensor(image), (0, 0, 97, 71), shape)
    assert ours.is_contiguous()
    theirs = tensor(image.resize(shape[::-1], Image.Resampling.BILINEAR))
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_evaluation_transforms() -> None:
    image = tensor(photo(97, 71))
    small = augment.short_side(image, 32)
    assert small.shape == (3, 32, 43)
    assert augment.center_crop(small, 28).shape == (3, 28, 28)
    assert augment.short_side(image, 71) is image
    theirs = photo(97, 71).resize((43, 32), Image.Resampling.BILINEAR)
    assert (small.float() - tensor(theirs).float()).abs().max() <= 1


def test_bytes_are_normalised_as_floats_are() -> None:
    image = torch.randint(0, 256, (2, 3, 5, 4), dtype=torch.uint8)
    kept = image.clone()
    floats = image.float() / 255
    found = augment.normalize(image)
    assert torch.equal(found, augment.normalize(floats))
    assert torch.equal(image, kept)
    assert torch.equal(floats, image.float() / 255)  # what is given stays
    expected = (floats[:, 1] - 0.456) / 0.224
    torch.testing.assert_close(found[:, 1], expected)
