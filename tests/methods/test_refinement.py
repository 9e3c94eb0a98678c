"""Pixel-adaptive refinement of predictions and of labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SMALL, job
from torch import Tensor

from imagenets.data.loader.crops import ShortSide
from imagenets.errors import UsageError
from imagenets.methods.pass_ import predict
from imagenets.methods.pass_.pseudo import Labeller
from imagenets.methods.pass_.refinement import LABEL_STRIDE, refine, refined_labels
from imagenets.methods.pass_.settings import Changes, make_config


def written_out(image: Tensor, maps: Tensor, rates: tuple[int, ...]) -> Tensor:
    """One step, pixel by pixel, as the equations read."""
    height, width = image.shape[1:]
    result = torch.empty_like(maps)
    for y in range(height):
        for x in range(width):
            places = [
                (min(max(y + r * dy, 0), height - 1), min(max(x + r * dx, 0), width - 1))
                for r in rates
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if (dy, dx) != (0, 0)
            ]
            around = torch.stack([image[:, i, j] for i, j in places])
            own = image[:, y, x]
            spread = torch.cat([own[None], around]).var(0, correction=0)
            alike = -((own - around).abs() / (spread + 1e-6)).mean(1)
            weights = alike.softmax(0)
            result[:, y, x] = sum(
                w * maps[:, i, j] for w, (i, j) in zip(weights, places, strict=True)
            )
    return result


def test_it_follows_the_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    image, maps = (torch.rand(3, 6, 7, generator=generator, dtype=torch.float64) for _ in "ab")
    rates = (1, 3)
    expected = maps
    for steps in (1, 2):
        expected = written_out(image, expected, rates)
        assert torch.allclose(refine(image, maps, steps, rates), expected, atol=1e-9)
    assert torch.equal(refine(image, maps, 0, rates), maps)


def edge(height: int = 32, width: int = 40, at: int = 23) -> tuple[Tensor, Tensor]:
    """A noisy image of two colours, and which pixels are of the second."""
    right = torch.arange(width).expand(height, width) >= at
    image = torch.where(right, 0.8, 0.2).expand(3, height, width).clone()
    return image + 0.02 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0)), right


def test_masks_move_to_the_edge() -> None:
    image, right = edge()
    rough = torch.stack(
        [torch.arange(40).expand(32, 40) < 18, torch.arange(40).expand(32, 40) >= 18]
    )
    before = (rough.float().argmax(0) != right).float().mean()
    after = (refine(image, rough.float(), 10).argmax(0) != right).float().mean()
    assert after < 0.25 * before
    flat = refine(torch.full((3, 8, 8), 0.5), torch.rand(2, 8, 8), 3)
    assert bool(torch.isfinite(flat).all())


def test_labels_get_a_finer_grid_and_follow_the_edge() -> None:
    image, _ = edge(64, 96, 40)
    ids = torch.full((8, 12), 7)
    ids[:, 6:] = 3  # the edge is at 40 of 96 pixels, not at 48
    attention = (ids == 3).float()
    found, level = refined_labels((image * 255).to(torch.uint8), ids, attention, 10)
    assert found.shape == level.shape == (16, 24)
    assert set(found.unique().tolist()) == {3, 7}
    expected = torch.arange(24).expand(16, 24) * LABEL_STRIDE >= 40
    assert ((found == 3) == expected).float().mean() > 0.97
    assert ((level > 0.5) == expected).float().mean() > 0.97
    assert float(level.min()) >= 0
    assert float(level.max()) <= 1 + 1e-5


def test_only_classes_that_are_there_are_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 920 maps those alone that are the largest somewhere, and ids are those of the classes."""
    image, right = edge()
    scores = np.full((4, 5, 920), 1e-4, np.float32)
    scores[:, :2, 900], scores[:, 2:, 17] = 0.9, 0.9
    seen = []

    def refined(image: Tensor, maps: Tensor, steps: int) -> Tensor:
        seen.append((tuple(maps.shape), steps))
        return refine(image, maps, steps)

    monkeypatch.setattr(predict, "refine", refined)
    pixels = (image * 255).to(torch.uint8)
    ids = predict._by_scores(replace(SMALL, refine=10), pixels, scores, (80, 64))
    assert seen == [((2, 32, 40), 10)]
    assert ids.shape == (64, 80)
    assert set(np.unique(ids)) == {17, 900}
    expected = right.repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()
    rough = predict._by_scores(SMALL, pixels, scores, (80, 64))
    assert ((ids == 17) != expected).mean() < 0.5 * ((rough == 17) != expected).mean()
    assert len(seen) == 1  # off: not called


@torch.inference_mode()
def test_the_labels_of_a_run(finished: Path, tiny_root: Path) -> None:
    run = job(tiny_root, finished, replace(SMALL, refine_labels=3))
    data = run.dataset("train")
    plain, refined = Labeller.of(job(tiny_root, finished)), Labeller.of(run)
    batch = next(run.batches(data, [np.array([0])], ShortSide(SMALL.side), "test"))
    (before,), (after,) = plain.stored(batch, data), refined.stored(batch, data)
    height, width = batch.crops.shape[2:]
    assert after.ids.shape == (-(-height // 4), -(-width // 4))
    assert after.attention.shape == after.ids.shape
    assert set(np.unique(after.ids)) <= set(np.unique(before.ids))
    assert (after.ids.dtype, after.attention.dtype) == (np.uint16, np.float32)


def test_steps_are_checked() -> None:
    with pytest.raises(UsageError, match="refine_labels is 0 or more"):
        make_config("sample", Changes(assignments=("refine_labels=-1",)))
