"""Finer grids: of the predictions, of fine-tuning, of the labels."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SMALL, job, run_stages

from imagenets.data.augment import normalize
from imagenets.data.loader.crops import ShortSide
from imagenets.errors import UsageError
from imagenets.methods.pass_.foreground import FOREGROUNDS
from imagenets.methods.pass_.pseudo import Labeller
from imagenets.methods.pass_.settings import Changes, make_config
from imagenets.methods.pass_.trained import load_segmentation


@torch.inference_mode()
def test_the_grid_of_predictions(finished: Path, tiny_root: Path) -> None:
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    coarse = load_segmentation(job(tiny_root, finished), 3)(images)
    for grid, finetune_grid, step in ((8, 0, 4), (0, 16, 2), (8, 16, 4)):
        config = replace(SMALL, grid=grid, finetune_grid=finetune_grid)
        fine = load_segmentation(job(tiny_root, finished, config), 3)(images)
        assert fine.shape == (2, 4, 2 * step, 3 * step)
        assert torch.allclose(
            fine[..., ::step, ::step], coarse, atol=1e-4 * float(coarse.abs().max())
        )


@torch.inference_mode()
@pytest.mark.parametrize(("grid", "side"), [(0, 4), (16, 4), (8, 4), (4, 8)])
def test_the_grid_of_labels(finished: Path, tiny_root: Path, grid: int, side: int) -> None:
    """Features of their own, on a grid that is never coarser than the enlarged one."""
    run = job(tiny_root, finished, replace(SMALL, label_grid=grid))
    data = run.dataset("train")
    batch = next(run.batches(data, [np.array([0])], ShortSide(32), "test"))
    labeller = Labeller.of(run)
    ids, attention = labeller._grids(batch)
    assert min(ids.shape[2:]) == side
    assert ids.shape == attention.shape
    coarse = Labeller.of(job(tiny_root, finished)).network.backbone(normalize(batch.crops))
    fine = labeller.network.backbone(normalize(batch.crops))
    step = 32 // (grid or 32)
    assert torch.allclose(fine[..., ::step, ::step], coarse, atol=1e-4 * float(coarse.abs().max()))


@torch.inference_mode()
@pytest.mark.parametrize("kind", FOREGROUNDS)
def test_options_of_labels_go_together(finished: Path, tiny_root: Path, kind: str) -> None:
    config = replace(SMALL, label_grid=16, refine_labels=2, foreground=kind)
    run = job(tiny_root, finished, config)
    data = run.dataset("train")
    batch = next(run.batches(data, [np.array([0])], ShortSide(32), "test"))
    (label,) = Labeller.of(run).stored(batch, data)
    assert label.ids.shape == tuple(-(-side // 4) for side in batch.crops.shape[2:])
    assert 0 <= label.attention.min() <= label.attention.max() <= 1 + 1e-5


def test_the_steps_that_read_a_grid_are_made_anew(
    finished: Path, tiny_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Here: fine-tuning with a finer grid, which the predictions then have, too."""
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "config.json").unlink()
    config = replace(SMALL, finetune_grid=16)
    (out / "predict").rename(out / "old")
    with caplog.at_level("INFO", logger="imagenets"):
        run_stages(job(tiny_root, out, config), "pretrain", "pseudo", "finetune", "predict")
    said = caplog.text
    assert "pretrain: done" in said
    assert "pseudo: done" in said
    assert "finetune: made anew" in said
    before = torch.load(finished / "finetune" / "checkpoint.pt")["state_dict"]
    after = torch.load(out / "finetune" / "checkpoint.pt")["state_dict"]
    assert before.keys() == after.keys()
    assert not torch.equal(before["last_layer.weight"], after["last_layer.weight"])


def test_grids_are_checked() -> None:
    """Before anything is trained."""
    for given, said in (
        (("label_grid=12",), "a grid of 12 pixels: resnet18w05 can have 4, 8, 16, 32, or 0"),
        (("arch=resnet50_d16", "grid=32"), "resnet50_d16 can have 4, 8, 16, or 0"),
        (("arch=convnext_tiny", "finetune_grid=16"), "convnext_tiny is no ResNet, give 0"),
    ):
        with pytest.raises(UsageError, match=said):
            make_config("sample", Changes(assignments=given))
