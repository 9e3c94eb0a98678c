"""The loss over slices against the plain computation of the whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from largest import Largest
from torch import Tensor

from imagenets.errors import UsageError
from imagenets.training.upsampled import CACHED, MEMORY, slices, upsampled_cross_entropy

IGNORED = 1000


def drawn(
    classes: int, grid: tuple[int, int] = (7, 5), ignored: float = 0.0
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = 4 * torch.randn(5, classes, *grid, generator=generator)
    labels = torch.randint(0, classes, (5, 56, 48), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = IGNORED
    return logits, labels


def whole(logits: Tensor, labels: Tensor) -> Tensor:
    large = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
    return F.cross_entropy(large, labels, ignore_index=IGNORED)


def check(found: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor]) -> None:
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == torch.float32
        assert (ours.double() - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def both(
    logits: Tensor, labels: Tensor, memory: int | None
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Loss and gradient: ours, and those of the whole in float64."""
    small, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    ours = upsampled_cross_entropy(small, labels, ignore_index=IGNORED, memory=memory)
    theirs = whole(exact, labels)
    ours.backward()
    theirs.backward()
    assert small.grad is not None
    assert exact.grad is not None
    return (ours.detach(), small.grad), (theirs.detach(), exact.grad)


@pytest.mark.parametrize("memory", [1, 100_000, 2_000_000, MEMORY, None])
@pytest.mark.parametrize(("classes", "ignored"), [(4, 0.0), (51, 0.3), (920, 0.0)])
def test_slices_sum_to_the_whole(classes: int, ignored: float, memory: int | None) -> None:
    check(*both(*drawn(classes, ignored=ignored), memory))


def test_the_whole_in_float32_is_further_from_the_truth() -> None:
    logits, labels = drawn(51)
    plain = logits.clone().requires_grad_()
    whole(plain, labels).backward()
    (_, ours), (_, exact) = both(logits, labels, None)
    assert plain.grad is not None
    assert (ours - exact).abs().max() < (plain.grad - exact).abs().max()


@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (56, 48), (70, 60)])
def test_any_grid(grid: tuple[int, int]) -> None:
    check(*both(*drawn(6, grid, ignored=0.1), 100_000))


def test_channels_last_logits() -> None:
    logits, labels = drawn(9)
    check(*both(logits.contiguous(memory_format=torch.channels_last), labels, None))


def test_a_batch_without_a_pixel_that_counts_is_no_loss() -> None:
    logits, labels = drawn(6)
    small = logits.requires_grad_()
    loss = upsampled_cross_entropy(small, torch.full_like(labels, -100))
    loss.backward()
    assert loss.item() == 0
    assert small.grad is not None
    assert not small.grad.any()


def test_half_precision_is_only_that_of_the_logits() -> None:
    logits, labels = drawn(51)
    half = logits.bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = upsampled_cross_entropy(half, labels)
    loss.backward()
    exact = half.detach().double().requires_grad_()
    theirs = whole(exact, labels)
    theirs.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(theirs.item(), rel=1e-6)
    assert half.grad is not None
    assert exact.grad is not None
    torch.testing.assert_close(half.grad.double(), exact.grad, rtol=0.01, atol=1e-9)


def test_parts_of_a_batch_sum_to_it() -> None:
    logits, labels = drawn(9, ignored=0.5)
    labels[:2] = IGNORED  # parts of which few pixels count weigh as little as they should
    total = (labels != IGNORED).sum()
    small = logits.clone().requires_grad_()
    losses = [
        upsampled_cross_entropy(small[part], labels[part], ignore_index=IGNORED, total=total)
        for part in (slice(0, 2), slice(2, 3), slice(3, 5))
    ]
    found = torch.stack(losses).sum()
    (2 * found).backward()
    exact = logits.double().requires_grad_()
    theirs = whole(exact, labels)
    (2 * theirs).backward()
    assert small.grad is not None
    assert exact.grad is not None
    check((found.detach(), small.grad), (theirs.detach(), exact.grad))


def test_no_gradient_is_made_where_none_is_wanted() -> None:
    logits, labels = drawn(9)
    with torch.no_grad():
        found = upsampled_cross_entropy(logits, labels)
    assert found.item() == pytest.approx(whole(logits.double(), labels).item(), rel=1e-6)
    assert not found.requires_grad


@pytest.mark.parametrize(("classes", "label"), [(4, 4), (51, 51), (51, -1), (51, -100)])
def test_a_label_without_a_class_is_refused(classes: int, label: int) -> None:
    logits, labels = drawn(classes)
    labels[0, 0, 0] = label
    with pytest.raises(UsageError, match=f"labels are 0 to {classes - 1} or {IGNORED}.*{label}"):
        upsampled_cross_entropy(logits, labels, ignore_index=IGNORED)


@pytest.mark.parametrize("memory", [1, CACHED, MEMORY])
def test_parts_cover_every_row_once_within_the_budget(memory: int) -> None:
    seen = torch.zeros(40, 112, dtype=torch.int64)
    for images, rows in slices((40, 920, 112, 112), memory):
        seen[images, rows] += 1
        height = rows.stop - rows.start
        taken = 2 * 4 * (images.stop - images.start) * 920 * height * 112
        assert taken <= memory or height == 1
    assert (seen == 1).all()


@pytest.mark.parametrize("memory", [200_000, 1_000_000])
def test_no_tensor_is_larger_than_the_budget(memory: int) -> None:
    logits, labels = drawn(51)
    small = logits.requires_grad_()
    with Largest() as largest:
        upsampled_cross_entropy(small, labels, memory=memory).backward()
    whole_size = 4 * 51 * labels.numel()
    assert largest.bytes <= memory < whole_size
