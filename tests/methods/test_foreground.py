"""Foreground without labels: stretched attention, and a normalised cut of the features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_run import SMALL, job
from torch import Tensor

from imagenets import ImageNetS
from imagenets.data.augment import normalize
from imagenets.data.loader import Batch
from imagenets.data.loader.crops import ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.methods.pass_ import pseudo
from imagenets.methods.pass_.foreground import FOREGROUNDS, normalised_cut, stretched
from imagenets.methods.pass_.pseudo import Labeller
from imagenets.methods.pass_.trained import load_attention


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def scene(height: int, width: int, rows: slice, columns: slice) -> tuple[Tensor, Tensor]:
    """Features of a background and an object, noisy, and where the object lies."""
    inside = torch.zeros(height, width, dtype=torch.bool)
    inside[rows, columns] = True
    kinds = noise(2, 24)[inside.long()].permute(2, 0, 1)
    return (kinds + 0.3 * noise(24, height, width))[None], inside


def test_the_cut_is_the_second_eigenvector_of_the_normalised_affinities() -> None:
    features, _ = scene(6, 9, slice(2, 5), slice(3, 7))
    rows = F.normalize(features[0].flatten(1).double(), dim=0).numpy()
    affinity = (1 + rows.T @ rows) / 2
    root = affinity.sum(0) ** -0.5
    vector = root * np.linalg.eigh(root[:, None] * affinity * root)[1][:, -2]
    found = normalised_cut(features)[0].flatten().numpy()
    cosine = vector @ found / np.linalg.norm(vector) / np.linalg.norm(found)
    assert abs(cosine) > 1 - 1e-6


@pytest.mark.parametrize(
    "place",
    [
        (slice(2, 6), slice(3, 8)),
        (slice(4, 8), slice(2, 7)),  # touches a border
        (slice(1, 7), slice(1, 11)),  # most of the image
    ],
)
def test_what_lies_inside_is_foreground_whatever_it_covers(place: tuple[slice, slice]) -> None:
    features, inside = scene(8, 12, *place)
    several = torch.cat([features.flip(3), features])
    level = stretched(normalised_cut(several)[:, None])[:, 0]
    assert level[1][inside].min() > 0.5 > level[1][~inside].max()
    torch.testing.assert_close(level[0].flip(1), level[1], rtol=1e-4, atol=1e-4)


def test_images_without_an_inside_or_a_difference_give_numbers() -> None:
    for features in (noise(2, 5, 2, 2), noise(2, 5, 1, 3), torch.zeros(2, 5, 4, 4)):
        level = stretched(normalised_cut(features)[:, None])
        assert level.isfinite().all()
        assert level.min() >= 0
        assert level.max() <= 1


def test_attention_is_stretched_in_each_image_and_keeps_its_order() -> None:
    values = 0.5 + 0.01 * noise(3, 1, 4, 5)
    values[2] = 0.5
    found = stretched(values)
    assert found[:2].amin((1, 2, 3)).tolist() == [0, 0]
    assert found[:2].amax((1, 2, 3)).tolist() == [1, 1]
    assert not found[2].any()
    assert found[0].flatten().argsort().equal(values[0].flatten().argsort())


@torch.inference_mode()
def test_labels_differ_in_their_foreground_alone(finished: Path, tiny_root: Path) -> None:
    network, data = load_attention(job(tiny_root, finished)), ImageNetS(tiny_root, "train", 3)
    crop = ShortSide(SMALL.side)
    batch = next(iter(batches(finished, tiny_root, data, crop)))
    found = {}
    for kind in FOREGROUNDS:
        run = job(tiny_root, finished, replace(SMALL, foreground=kind))
        found[kind] = Labeller.of(run).stored(batch, data)
    _, _, attention = network.gated(normalize(batch.crops))
    expected = attention.mean(1)
    for i, label in enumerate(found["attention"]):
        assert np.array_equal(label.attention, expected[i].numpy())  # as before, bit by bit
        sharp, salient = (found[kind][i] for kind in ("sharpened", "saliency"))
        assert np.array_equal(sharp.ids, label.ids)
        assert np.array_equal(salient.ids, label.ids)
        assert np.array_equal(sharp.attention, stretched(expected[i][None, None])[0, 0].numpy())
        assert salient.attention.shape == label.attention.shape
        assert (salient.attention.min(), salient.attention.max()) == (0, 1)
        assert np.abs(salient.attention - sharp.attention).max() > 0.1


@torch.inference_mode()
def test_the_saliency_is_of_the_layer_that_was_asked_for(finished: Path, tiny_root: Path) -> None:
    network, data = load_attention(job(tiny_root, finished)), ImageNetS(tiny_root, "train", 3)
    batch = next(iter(batches(finished, tiny_root, data, ShortSide(SMALL.side))))
    for layer in (1, 4):
        config = replace(SMALL, foreground="saliency", saliency_layer=layer)
        labels = Labeller.of(job(tiny_root, finished, config)).stored(batch, data)
        features = network.backbone.maps(normalize(batch.crops), (layer - 1,))[0]
        cut = normalised_cut(features)[:, None]
        expected = stretched(F.interpolate(cut, labels[0].attention.shape, mode="bilinear"))
        found = torch.stack([torch.from_numpy(label.attention) for label in labels])
        torch.testing.assert_close(found, expected[:, 0], rtol=1e-4, atol=1e-4)


def batches(finished: Path, root: Path, data: ImageNetS, crop: ShortSide) -> list[Batch]:
    run = job(root, finished)
    return list(run.batches(data, by_shape(crop.shapes(data.sizes), 4), crop, "labels"))


def test_a_saliency_that_finds_nothing_is_told_with_what_to_try(
    finished: Path, tiny_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The images of the tiny set are noise: nothing finds their objects."""
    for kind, advice in (("saliency", "--set saliency_layer=N"), ("sharpened", "--epochs")):
        caplog.clear()
        run = job(tiny_root, finished, replace(SMALL, foreground=kind))
        pseudo._measure_attention(run, finished / "pseudo")
        what = "saliency" if kind == "saliency" else "attention"
        assert f"pseudo: the {what} hardly finds the objects" in caplog.text
        assert advice in caplog.text
