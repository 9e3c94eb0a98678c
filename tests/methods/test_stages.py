"""What the stages left is what they are said to compute, worked out once more from their files."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from small_run import SMALL, job
from torch import Tensor

from imagenets import ImageNetS, masks
from imagenets.data.augment import normalize, short_side
from imagenets.data.loader import Batch
from imagenets.data.loader.crops import RandomResizedCrop, ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.methods.pass_ import finetune as step5
from imagenets.methods.pass_.finetune import finetune
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.label_files import key_of, label_path, open_labels
from imagenets.methods.pass_.label_format import Label, write_labels
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.pseudo import Labeller
from imagenets.methods.pass_.trained import load_attention, load_segmentation
from imagenets.training.run import Run

AGREE = 0.995  # of the pixels: in batches of other sizes, float32 rounds otherwise


def resized(image: Tensor) -> Tensor:
    return normalize(short_side(image, 32)[None].float() / 255)


def history(finished: Path, stage: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = torch.load(finished / stage / "checkpoint.pt")["history"]
    return rows


def test_the_loss_of_pretraining_is_that_of_its_parts(finished: Path) -> None:
    rows = history(finished, "pretrain")
    assert len(rows) == 2
    for row in rows:
        assert row["loss"] == pytest.approx((row["i2i"] + row["d2s"]) / 2 + row["p2p"], rel=1e-5)


def test_the_first_epochs_have_the_recorded_losses(finished: Path) -> None:
    """Float32 on other processors is some way off after six steps: the bounds allow for it."""
    first = history(finished, "pretrain")[0]
    assert first["i2i"] == pytest.approx(2.437, rel=0.02)
    assert first["d2s"] == pytest.approx(2.338, rel=0.02)
    assert first["p2p"] == pytest.approx(0.0195, abs=0.005)
    assert history(finished, "attention")[0]["loss"] == pytest.approx(2.27, rel=0.05)
    assert history(finished, "finetune")[0]["loss"] == pytest.approx(22, rel=0.3)


@torch.inference_mode()
def test_labels_are_the_nearest_centroids_where_attention_reaches_the_threshold(
    finished: Path, tiny_root: Path
) -> None:
    run = job(tiny_root, finished)
    network = load_attention(run)
    centroids = F.normalize(torch.from_numpy(np.load(finished / "cluster" / "centroids.npy")))
    threshold = json.loads((finished / "pseudo" / "threshold.json").read_text())["best"]
    data = ImageNetS(tiny_root, "train", 3)
    crop = ShortSide(run.config.side)
    batches = run.batches(data, by_shape(crop.shapes(data.sizes), 4), crop, "labels")
    labelled = [found for batch in batches for found in Labeller.of(run)(batch, data)]
    assert len(labelled) == len(data)
    labels = data.with_masks(open_labels(finished, data))
    equal = stored = pixels = 0
    for name, ids, _ in labelled:
        image = data[data.names.index(name)]["image"]
        features, _, gate = network.gated(resized(image))
        cosine = (F.normalize(features)[0].flatten(1).t() @ centroids.t()).argmax(1) + 1
        maps = torch.stack([cosine.view(features.shape[2:]).float(), gate.mean(1)[0]])[None]
        expected = F.interpolate(maps[:, :1], image.shape[1:])[0, 0]
        reached = F.interpolate(maps[:, 1:], image.shape[1:], mode="bilinear")[0, 0] >= threshold
        equal, pixels = equal + int((ids == expected).sum()), pixels + ids.numel()
        found = labels.mask(data.names.index(name))
        stored += int((found == (expected * reached).numpy()).sum())
    assert equal / pixels > AGREE
    assert stored / pixels > AGREE


@torch.inference_mode()
def test_predictions_are_the_largest_logits(finished: Path, tiny_root: Path) -> None:
    network = load_segmentation(job(tiny_root, finished), 3)
    data = ImageNetS(tiny_root, "validation", 3)
    equal = pixels = 0
    for index in range(len(data)):
        sample = data[index]
        logits = network(resized(sample["image"]))
        scaled = F.interpolate(logits, sample["image"].shape[1:], mode="bilinear")
        found = masks.decode(finished / "predict" / "validation" / f"{sample['name']}.png")
        equal, pixels = (
            equal + int((found == scaled[0].argmax(0).numpy()).sum()),
            pixels + found.size,
        )
    assert equal / pixels > AGREE


def attention(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.float32]:
    """Values on both sides of every threshold."""
    return rng.integers(0, 2, (height, width)).astype(np.float32)


class SeenError(Exception):
    """The labels of the first step are known."""


def test_fine_tuning_learns_labels_of_half_the_size(
    finished: Path, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("finetune"))
    run = job(tiny_root, out)
    rng = np.random.default_rng(0)
    images = run.dataset("train")
    labels = [
        Label(row, name, (w, h), rng.integers(1, 4, (h, w)).astype(np.uint16), attention(rng, h, w))
        for row, (name, (w, h)) in enumerate(zip(images.names, images.sizes.tolist(), strict=True))
    ]
    write_labels(label_path(out / "pseudo", "train", 0), labels, key_of(out))
    found: list[Tensor] = []

    def look(logits: Tensor, labels: Tensor) -> Tensor:
        assert labels.shape[1:] == (16, 16)
        found.append(labels)
        raise SeenError

    monkeypatch.setattr(step5, "upsampled_cross_entropy", look)
    with pytest.raises(SeenError):
        finetune(run)
    data = images.with_masks(open_labels(out, images))
    loader = run.training_loader(data, RandomResizedCrop(run.config.crop))
    loader.set_epoch(0)
    whole = next(iter(loader)).masks
    assert isinstance(whole, Tensor)
    assert found[0].equal(F.interpolate(whole[:, None].float(), scale_factor=0.5)[:, 0].long())


def gradients(run: Run[Config], network: SegmentationNet, batch: Batch) -> tuple[float, Tensor]:
    network.zero_grad()
    loss = step5.backward(run, network, batch)
    slopes = [value.grad.flatten() for value in network.parameters() if value.grad is not None]
    return loss.item(), torch.cat(slopes).double()


def test_a_step_of_fine_tuning_in_parts(finished: Path, tiny_root: Path) -> None:
    """Gradients sum exactly; batch norm, in training mode, sees the parts."""
    run = job(tiny_root, finished)
    parts = job(tiny_root, finished, replace(run.config, accumulate=2))
    images = run.dataset("train")
    data = images.with_masks(open_labels(finished, images))
    loader = run.training_loader(data, RandomResizedCrop(run.config.crop))
    batch = next(iter(loader)).clone()
    network = load_segmentation(run, 3)
    whole, taken = gradients(run, network, batch), gradients(parts, network, batch)
    assert taken[0] == pytest.approx(whole[0], rel=1e-6)
    assert (taken[1] - whole[1]).norm() <= 1e-5 * whole[1].norm()
    network.train()
    halves = [
        gradients(run, network, replace(batch, images=images, masks=masks, indices=indices))
        for images, masks, indices in zip(
            batch.crops.split(2), batch.crop_masks.split(2), batch.indices.split(2), strict=True
        )
    ]
    taken = gradients(parts, network, batch)
    assert taken[0] == pytest.approx(np.mean([loss for loss, _ in halves]), rel=1e-6)
    mean = (halves[0][1] + halves[1][1]) / 2
    assert (taken[1] - mean).norm() <= 1e-5 * mean.norm()
    assert (taken[1] - gradients(run, network, batch)[1]).norm() > 1e-2 * mean.norm()


def test_the_rows_say_how_prototypes_are_used(finished: Path) -> None:
    for stage in ("pretrain", "attention"):
        row = history(finished, stage)[-1]
        assert row["stage"] == stage
        assert row["ln_M"] == pytest.approx(math.log(SMALL.prototypes))
        assert 0 <= row["entropy"] <= row["ln_M"]
        assert 1 / SMALL.prototypes <= row["used"] <= 1
        assert row["rate"] >= getattr(SMALL, stage).final_rate
    assert not {"ln_M", "entropy", "used"} & set(history(finished, "finetune")[-1])
