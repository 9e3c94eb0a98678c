"""Fine-tuning with a running average of its weights, which predicts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_run import SMALL, job, run_stages, take_over

from imagenets.cli.main import main
from imagenets.methods.pass_ import STAGES, trained
from imagenets.methods.pass_.trained import load_segmentation, trained_result
from imagenets.models.checkpoints import read_state
from imagenets.training.cleaning import _strip
from imagenets.training.optimizers import cosine_rate
from imagenets.training.saving import SaveEvery

BEFORE = list(STAGES)[: list(STAGES).index("finetune")]
EMA = replace(SMALL, ema=0.8)


@pytest.fixture(scope="module")
def averaged(finished: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("averaged") / "run"
    take_over(finished, out, BEFORE)
    run_stages(job(tiny_root, out, EMA), "finetune")
    return out


def test_the_average_predicts_and_training_is_as_without_it(
    averaged: Path, finished: Path, tiny_root: Path
) -> None:
    with_it, without = (
        torch.load(out / "finetune" / "checkpoint.pt") for out in (averaged, finished)
    )
    assert without.keys() == with_it.keys() - {"average"}
    weights = with_it["average"]["weights"]
    assert with_it["average"]["steps"] == 6
    for name, value in without["state_dict"].items():
        assert torch.equal(with_it["state_dict"][name], value)
    assert not torch.equal(weights["last_layer.weight"], without["state_dict"]["last_layer.weight"])
    used = load_segmentation(job(tiny_root, averaged, EMA), 3).state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in used.items())
    usual = load_segmentation(job(tiny_root, finished), 3).state_dict()
    assert all(torch.equal(value, without["state_dict"][name]) for name, value in usual.items())


def test_the_average_is_exported(averaged: Path, tmp_path: Path) -> None:
    file = tmp_path / "one.pt"
    words = ["--run", str(averaged), "--stage", "finetune", "--out", str(file)]
    assert main(["export", *words]) == 0
    weights = torch.load(averaged / "finetune" / "checkpoint.pt")["average"]["weights"]
    assert torch.equal(read_state(file)["module.last_layer.weight"], weights["last_layer.weight"])


def test_the_digest_tells_of_the_average_and_cleaning_keeps_it(
    averaged: Path, finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    found = trained_result(averaged / "finetune")
    assert found != trained_result(finished / "finetune")
    out = Path(shutil.copytree(averaged, tmp_path / "run"))
    assert _strip(out / "finetune" / "checkpoint.pt", dry_run=False) > 0
    assert "optimizer" not in torch.load(out / "finetune" / "checkpoint.pt")
    assert trained_result(out / "finetune") == found
    load_segmentation(job(tiny_root, out, EMA), 3)
    path = out / "finetune" / "checkpoint.pt"
    state = torch.load(path)
    state["average"]["weights"]["last_layer.bias"] += 1
    torch.save(state, path)
    assert trained_result(out / "finetune") != found


def test_it_goes_on_to_the_same_bits(
    averaged: Path, finished: Path, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over(finished, tmp_path, BEFORE)
    run = replace(job(tiny_root, tmp_path, EMA), save_every=SaveEvery(None, steps=1))

    def interrupted(iteration: int, iterations: int, base: float, final: float) -> float:
        if iteration == 4:
            raise KeyboardInterrupt
        return cosine_rate(iteration, iterations, base, final)

    with monkeypatch.context() as patch:
        patch.setattr(trained, "cosine_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stages(run, "finetune")
    assert torch.load(tmp_path / "finetune" / "checkpoint-4.pt")["average"]["steps"] == 4
    run_stages(run, "finetune")
    assert trained_result(tmp_path / "finetune") == trained_result(averaged / "finetune")
