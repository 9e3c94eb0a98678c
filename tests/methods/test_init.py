"""Trained networks under the published names, and checkpoints in the place of a step."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from small_run import SMALL
from torch import Tensor

from imagenets.cli.main import main
from imagenets.errors import CorruptError, DependencyError, UsageError
from imagenets.methods.pass_ import ALL_STAGES
from imagenets.methods.pass_.given import PassRun, stage_of, stages_of, taken_over, with_files
from imagenets.methods.pass_.score import used_by
from imagenets.models import exporting
from imagenets.models.checkpoints import read_state
from imagenets.protocols import Pretraining, judge
from imagenets.training import checkpoints
from imagenets.training.provenance import declare
from imagenets.training.stage import Stages

CPU = torch.device("cpu")


def export(run: Path, stage: str, out: Path) -> Path:
    assert main(["export", "--run", str(run), "--stage", stage, "--out", str(out)]) == 0
    return out


def state(out: Path, stage: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = checkpoints.load(out / stage / "checkpoint.pt", CPU, stage)[
        "state_dict"
    ]
    return found


def made(root: Path, out: Path, init: dict[str, Path], start: dict[str, Path]) -> PassRun:
    config = with_files(SMALL, init, start)
    return PassRun(root, "3", out, config, CPU, init=init, start=start)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_an_exported_step_in_a_new_run_gives_the_same_bits_of_the_later_ones(
    finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    file = export(finished, "pretrain", tmp_path / "pretrain.pt")
    run = made(tiny_root, tmp_path / "run", {"pretrain": file}, {})
    Stages(ALL_STAGES, run).run(stages_of(run.config))
    for stage in ("pretrain", "attention", "finetune"):
        assert same(state(run.out, stage), state(finished, stage)), stage
    names = ("cluster/centroids.npy", "pseudo/threshold.json")
    for name in (*names, *(f.relative_to(finished) for f in finished.glob("predict/**/*.png"))):
        assert (run.out / name).read_bytes() == (finished / name).read_bytes(), name


def test_every_step_can_be_given(finished: Path, tiny_root: Path, tmp_path: Path) -> None:
    init = {
        stage: export(finished, stage, tmp_path / f"{stage}.pth")
        for stage in ("pretrain", "attention", "finetune")
    }
    assert {name: stage_of(file) for name, file in init.items()} == {name: name for name in init}
    run = made(tiny_root, tmp_path / "run", init, {})
    assert taken_over(run.config) == tuple(init)
    assert stages_of(run.config) == ("finetune", "predict")
    Stages(ALL_STAGES, run).run([*init, "cluster", "predict"])
    assert same(state(run.out, "attention"), state(finished, "attention"))
    for path in finished.glob("predict/**/*.png"):
        assert (run.out / path.relative_to(finished)).read_bytes() == path.read_bytes()
    alone = PassRun(tiny_root, "3", run.out, run.config, CPU)
    Stages(ALL_STAGES, alone).run([*init, "predict"])  # done: the files are no longer needed
    shutil.rmtree(run.out / "attention")
    with pytest.raises(UsageError, match="takes its weights from a file that is not given now"):
        Stages(ALL_STAGES, alone).run(["attention"])


def test_a_step_starts_from_a_checkpoint(finished: Path, tiny_root: Path, tmp_path: Path) -> None:
    file = export(finished, "pretrain", tmp_path / "pretrain.pt")
    run = made(tiny_root, tmp_path / "run", {}, {"pretrain": file})
    Stages(ALL_STAGES, run).run(["pretrain"])
    begun, ended, first = state(finished, "pretrain"), state(run.out, "pretrain"), "backbone.conv1"
    assert not torch.equal(ended[f"{first}.weight"], begun[f"{first}.weight"])
    near = (ended[f"{first}.weight"] - begun[f"{first}.weight"]).norm()
    assert near < 0.1 * begun[f"{first}.weight"].norm()  # a random start is farther away
    with pytest.raises(UsageError, match=r"start\.pretrain|start"):
        Stages(ALL_STAGES, made(tiny_root, run.out, {}, {})).run(["pretrain"])


def test_files_are_as_published(finished: Path, tmp_path: Path) -> None:
    file = export(finished, "attention", tmp_path / "pass.pth.tar")
    content = torch.load(file, weights_only=True)
    assert list(content) == ["state_dict"]
    names = list(content["state_dict"])
    assert all(name.startswith("module.") and "backbone." not in name for name in names)
    assert {"module.conv1.weight", "module.fbg.threshold", "module.prototypes.weight"} < set(names)
    kept, name = state(finished, "attention"), "layer4.1.conv2.weight"
    assert torch.equal(content["state_dict"][f"module.{name}"], kept[f"backbone.{name}"])


def test_what_is_no_weights_of_the_step_is_refused(
    finished: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrain = export(finished, "pretrain", tmp_path / "pretrain.pt")
    finetune = export(finished, "finetune", tmp_path / "finetune.pt")
    run = made(tiny_root, tmp_path / "a", {"attention": pretrain}, {})
    with pytest.raises(UsageError, match=r"no fbg.threshold of \(1, 256, 1, 1\)"):
        Stages(ALL_STAGES, run).run(["attention"])
    content = torch.load(finetune, weights_only=True)
    more = {"module.last_layer.weight": torch.zeros(9, 256, 1, 1)}
    torch.save({"state_dict": content["state_dict"] | more}, finetune)
    run = made(tiny_root, tmp_path / "b", {"finetune": finetune}, {})
    with pytest.raises(UsageError, match=r"no last_layer.weight of \(4, 256, 1, 1\)"):
        Stages(ALL_STAGES, run).run(["finetune"])
    del content["state_dict"]["module.conv1.weight"]
    torch.save(content, pretrain)
    run = made(tiny_root, tmp_path / "c", {"pretrain": pretrain}, {})
    with pytest.raises(UsageError, match="1 weights of the backbone are missing"):
        Stages(ALL_STAGES, run).run(["pretrain"])
    place = ["train", "--root", str(tiny_root), "--out", str(tmp_path / "d"), "--preset", "sample"]
    for words, said in (
        (["--init", f"cluster={pretrain}"], "there is no step 'cluster'"),
        (["--init", str(tmp_path / "nowhere.pt")], "not there"),
        (["--init", f"pretrain={pretrain}", "--start", f"pretrain={pretrain}"], "both are given"),
        (["--init", f"pretrain={pretrain}", "--init", f"pretrain={finetune}"], "two files"),
        (["--pretrained-on", "50", "--supervision", "none"], "no weights are given"),
    ):
        assert main([*place, *words]) in (1, 2)
        assert said in capsys.readouterr().err


def test_the_command_line_takes_a_file_and_what_is_said_of_it(
    finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    file = export(finished, "pretrain", tmp_path / "pretrain.pt")
    out = tmp_path / "run"
    words = ["train", "--root", str(tiny_root), "--out", str(out), "--preset", "sample"]
    words += ["--init", str(file), "--batch-size", "4", "--epochs", "1", "--device", "cpu"]
    said = ["--pretrained-on", "3", "--supervision", "none"]
    assert main([*words, *said, "--stages", "pretrain"]) == 0
    assert same(
        {n: v for n, v in state(out, "pretrain").items() if n.startswith("backbone.")},
        {n: v for n, v in state(finished, "pretrain").items() if n.startswith("backbone.")},
    )
    settings = json.loads((out / "config.json").read_bytes())
    assert settings["init"]["pretrain"] == checkpoints.digest(read_state(file))
    assert judge(used_by(out, settings))["unsupervised"].valid is True
    declare(out, Pretraining("imagenet-1k", "labels"))
    assert judge(used_by(out, settings))["unsupervised"].valid is False
    (out / "pretraining.json").unlink()
    assert judge(used_by(out, settings))["unsupervised"].valid is None


def test_names_that_cannot_be_written_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"must end in one of \.pt"):
        exporting.check_name(tmp_path / "weights.bin")
    with pytest.raises(UsageError, match="another weight is called conv1"):
        exporting.published_state({"conv1": torch.ones(1), "backbone.conv1": torch.ones(1)})
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(DependencyError, match="pip install 'imagenets\\[safetensors\\]'"):
        exporting.check_name(tmp_path / "weights.safetensors")


@pytest.mark.extras
def test_safetensors_hold_the_same(finished: Path, tmp_path: Path) -> None:
    assert importlib.util.find_spec("safetensors")
    file = export(finished, "finetune", tmp_path / "one.safetensors")
    other = export(finished, "finetune", tmp_path / "one.pt")
    bare = {name.removeprefix("module."): value for name, value in read_state(other).items()}
    assert same(read_state(file), bare)
    assert stage_of(file) == "finetune"
    file.write_bytes(b"")
    with pytest.raises(CorruptError):
        stage_of(file)
