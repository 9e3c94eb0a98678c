"""Augmentation: drawn parameters follow their formulas, applied ones follow Pillow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from scipy import ndimage, stats

from imagenets.data import augment
from imagenets.data.augment import ViewGroup, draw


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


def test_boxes_lie_inside_and_follow_scale_and_ratio() -> None:
    group = ViewGroup(views=1, scale=(0.05, 0.14))
    whole = sizes(50_000)
    boxes = augment.draw_boxes(whole, group, torch.Generator().manual_seed(0))[0]
    left, top, width, height = boxes.unbind(-1)
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width <= 500).all()
    assert (top + height <= 375).all()
    share = (width * height).double() / (500 * 375)
    uniform = stats.uniform(0.05, 0.09)
    assert stats.kstest(share.numpy(), uniform.cdf).statistic < 0.01
    ratio = (width.double() / height).log()
    log_uniform = stats.uniform(np.log(3 / 4), np.log(16 / 9))
    assert stats.kstest(ratio.numpy(), log_uniform.cdf).statistic < 0.02
    assert stats.kstest((left / (500 - width)).numpy(), stats.uniform.cdf).statistic < 0.02


def test_an_image_that_no_crop_fits_gives_its_central_box() -> None:
    group = ViewGroup(views=2, scale=(1.0, 1.0))
    boxes = augment.draw_boxes(sizes(3, 1000, 10), group, torch.Generator().manual_seed(0))
    assert boxes.reshape(-1, 4).unique(dim=0).tolist() == [[493, 0, 13, 10]]


def test_the_other_parameters_follow_their_probabilities() -> None:
    params = draw(sizes(50_000), ViewGroup(views=1), torch.Generator().manual_seed(0))
    for values, share in ((params.flips, 0.5), (params.jitters, 0.8), (params.greys, 0.2)):
        assert values.double().mean().item() == pytest.approx(share, abs=0.01)
    blurred = params.sigmas[params.sigmas > 0]
    assert len(blurred) / 50_000 == pytest.approx(0.5, abs=0.01)
    assert stats.kstest(blurred.numpy(), stats.uniform(0.1, 1.9).cdf).statistic < 0.02
    for column, (low, high) in enumerate([(0.2, 1.8)] * 3 + [(-0.2, 0.2)]):
        drawn = params.factors[0, :, column].numpy()
        assert stats.kstest(drawn, stats.uniform(low, high - low).cdf).statistic < 0.02
    orders = params.order[0].unique(dim=0, return_counts=True)
    assert len(orders[0]) == 24
    assert (orders[1].double() / 50_000 - 1 / 24).abs().max() < 0.005


@pytest.mark.parametrize("box", [(0, 0, 97, 71), (10, 20, 50, 40), (3, 1, 24, 60), (90, 60, 5, 7)])
def test_resized_crops_equal_pillow(box: tuple[int, int, int, int]) -> None:
    image = photo()
    ours = augment.resize_crop(tensor(image), box, 32).float()
    left, top, width, height = box
    crop = image.crop((left, top, left + width, top + height))
    theirs = tensor(crop.resize((32, 32), Image.Resampling.BILINEAR)).float()
    assert (ours - theirs).abs().mean() < 1
    assert (ours - theirs).abs().max() <= 3


@pytest.mark.parametrize("factor", [0.2, 0.7, 1.3, 1.8])
@pytest.mark.parametrize(
    ("operation", "enhance"),
    [
        (augment.BRIGHTNESS, ImageEnhance.Brightness),
        (augment.CONTRAST, ImageEnhance.Contrast),
        (augment.SATURATION, ImageEnhance.Color),
    ],
)
def test_colour_equals_pillow(operation: int, enhance: type, factor: float) -> None:
    image = photo()
    ours = _one_colour(image, operation, factor)
    theirs = tensor(enhance(image).enhance(factor)).float()
    assert (ours - theirs).abs().max() <= 2  # Pillow rounds grey and result, each by half a step
    assert (ours - theirs).abs().mean() < 1


@pytest.mark.parametrize("turns", [-0.2, -0.05, 0.1, 0.2])
def test_hue_equals_pillow(turns: float) -> None:
    image = photo()
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.asarray(hue).astype(np.int16) + round(turns * 255)
    hue = Image.fromarray((shifted % 256).astype(np.uint8))
    theirs = tensor(Image.merge("HSV", (hue, saturation, value)).convert("RGB")).float()
    # Pillow keeps hue and saturation in 8 bits: a step of hue is up to 6 steps of a channel
    assert (_one_colour(image, augment.HUE, turns) - theirs).abs().mean() < 2


def _one_colour(image: Image.Image, operation: int, factor: float) -> torch.Tensor:
    order = torch.tensor([[operation, *(i for i in range(4) if i != operation)]])
    factors = torch.tensor([[1.0, 1.0, 1.0, 0.0]])
    factors[0, operation] = factor
    x = tensor(image)[None].float() / 255
    return augment.jitter(x, torch.tensor([True]), factors, order)[0] * 255


def test_the_order_of_the_colour_operations_matters() -> None:
    x = tensor(photo())[None].float() / 255
    factors = torch.tensor([[1.6, 0.4, 1.5, 0.1]])
    on = torch.tensor([True])
    one = augment.jitter(x, on, factors, torch.tensor([[0, 1, 2, 3]]))
    other = augment.jitter(x, on, factors, torch.tensor([[1, 0, 2, 3]]))
    assert (one - other).abs().mean() > 0.01
    assert torch.equal(augment.jitter(x, ~on, factors, torch.tensor([[0, 1, 2, 3]])), x)


@pytest.mark.parametrize("sigma", [0.1, 0.8, 2.0])
def test_blur_is_the_gaussian_of_each_sigma(sigma: float) -> None:
    x = torch.stack([tensor(photo(seed=seed)).float() / 255 for seed in (0, 1, 2)])
    blurred = augment.blur(x, torch.tensor([sigma, 0.0, 1.5]))
    truth = ndimage.gaussian_filter(x[0].numpy(), (0, sigma, sigma), mode="nearest", truncate=8)
    assert np.abs(blurred[0].numpy() - truth).mean() < 1 / 255
    assert torch.equal(blurred[1], x[1])
    assert not torch.equal(blurred[2], x[2])


def test_labels_are_cut_with_the_same_box_as_pillow_nearest() -> None:
    labels = torch.arange(60 * 80).reshape(60, 80)
    box = (7, 11, 50, 33)
    ours = augment.label_crop(labels, box, True, 20)
    image = Image.fromarray(labels.numpy().astype(np.int32))
    theirs = image.resize((20, 20), Image.Resampling.NEAREST, box=(7, 11, 57, 44))
    assert np.array_equal(ours.numpy(), np.asarray(theirs)[:, ::-1])


def test_apply_replays_and_flips() -> None:
    plain = ViewGroup(views=2, size=24, jitter_probability=0, grey=0, blur=0, flip=1)
    image = tensor(photo())
    params = draw(sizes(1, 97, 71), plain, torch.Generator().manual_seed(3))
    views = augment.apply([image], params, 24)
    assert views.shape == (2, 1, 3, 24, 24)
    assert torch.equal(views, augment.apply([image], params, 24))
    straight = augment.resize_crop(image, params.boxes[1, 0].tolist(), 24).float() / 255
    torch.testing.assert_close(views[1, 0], augment.normalise(straight[None])[0].flip(-1))


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


def test_evaluation_transforms() -> None:
    image = tensor(photo(97, 71))
    small = augment.short_side(image, 32)
    assert small.shape == (3, 32, 43)
    assert augment.centre_crop(small, 28).shape == (3, 28, 28)
    assert augment.short_side(image, 71) is image
