"""PASS on backbones from elsewhere: its steps, its sizes, and what a run knows of the weights."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_run import SMALL, job
from torch import Tensor, nn

from imagenets.cli.main import main
from imagenets.data.augment import normalize
from imagenets.errors import UsageError
from imagenets.methods.pass_ import ALL_STAGES
from imagenets.methods.pass_.attending import OwnAttention
from imagenets.methods.pass_.cleaning import leftovers_of
from imagenets.methods.pass_.dry_run import dry_run
from imagenets.methods.pass_.features import features_of
from imagenets.methods.pass_.given import PassRun, stages_of, with_backbone
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.sizes import central, fitted, random_crop, whole
from imagenets.methods.pass_.work import work
from imagenets.models.backbone import Wrapped
from imagenets.models.registry import make_backbone
from imagenets.training import checkpoints
from imagenets.training.cleaning import clean
from imagenets.training.overall import Overall
from imagenets.training.provenance import provenance
from imagenets.training.stage import Stages

PATCH = 8


class Patches(nn.Module):
    """A small network of patches; notes which sizes it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 12, PATCH, PATCH)
        self.norm = nn.BatchNorm2d(12)
        self.drop = nn.Dropout(0.1)
        self.seen: set[tuple[int, int]] = set()

    def forward(self, images: Tensor) -> Tensor:
        self.seen.add((images.shape[2], images.shape[3]))
        out: Tensor = self.drop(self.norm(self.embed(images)).relu())
        return out

    def looks(self, images: Tensor) -> Tensor:
        return self.embed(images).square().mean(1)


def backbone(attends: bool = True, size: int | None = None, seed: int = 0) -> Wrapped:
    torch.manual_seed(seed)
    network = Patches()
    looks = network.looks if attends else None
    mean = (0.5, 0.4, 0.3)
    return Wrapped(network, attention=looks, name="mine", patch=PATCH, mean=mean, size=size)


def given(root: Path, out: Path, mine: Wrapped, config: Config = SMALL) -> PassRun:
    config = with_backbone(config, mine)
    return PassRun(root, "3", out, config, torch.device("cpu"), backbone=mine)


def run_all(run: PassRun) -> None:
    Stages(ALL_STAGES, run).run(stages_of(run.config))


def state(out: Path, stage: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = checkpoints.load(
        out / stage / "checkpoint.pt", torch.device("cpu"), stage
    )["state_dict"]
    return found


ODD = replace(SMALL, side=36, crop=31)


def test_a_backbone_with_an_attention_goes_without_the_steps_that_train_one(
    tiny_root: Path, tmp_path: Path
) -> None:
    mine = backbone()
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    run = given(tiny_root, tmp_path, mine, ODD)
    assert stages_of(run.config) == ("pretrain", "cluster", "pseudo", "finetune", "predict")
    run_all(run)
    assert not (tmp_path / "attention").exists()
    assert len(list((tmp_path / "predict").rglob("*.png"))) == 12
    kept = state(tmp_path, "pretrain")
    assert all(torch.equal(kept[f"backbone.{name}"], value) for name, value in before.items())
    trained = state(tmp_path, "finetune")["backbone.backbone.embed.weight"]
    assert not torch.equal(trained, before["backbone.embed.weight"])
    network = mine.backbone
    assert isinstance(network, Patches)
    assert all(side % PATCH == 0 for shape in network.seen for side in shape)
    assert (24, 24) in network.seen  # crops of 31, rounded down
    found = provenance(tmp_path, "predict")["settings"]
    assert (found["arch"], found["attend"]) == ("mine", "backbone")
    assert found["init"]["pretrain"] == checkpoints.digest(before)
    place = ["--root", str(tiny_root), "--run", str(tmp_path)]
    assert main(["score", *place]) == 0
    scores = json.loads((tmp_path / "scores.json").read_bytes())
    assert scores["used"]["weights"] == checkpoints.digest(before)
    assert scores["valid_for"]["unsupervised"]["valid"] is None  # nobody said what they saw
    assert main(["report", *place]) == 0
    assert [one.what for one in clean(tmp_path, leftovers_of(tmp_path), dry_run=True)]
    assert set(work(run, ["cluster", "finetune"])) == {
        *("cluster: features", "cluster: k-means", "finetune")
    }


def test_without_an_attention_the_head_is_trained_on_the_frozen_backbone(
    tiny_root: Path, tmp_path: Path
) -> None:
    mine = backbone(attends=False)
    before = {name: value.clone() for name, value in mine.state_dict().items()}
    run = given(tiny_root, tmp_path, mine)
    names = ("pretrain", "attention")
    with Overall(partial(work, run, names)).shown():  # which asks what is to be done
        Stages(ALL_STAGES, run).run(names)
    assert all(value.grad is None for value in mine.parameters())
    Stages(ALL_STAGES, run).run(["cluster"])
    found = state(tmp_path, "attention")
    assert torch.equal(found["backbone.backbone.embed.weight"], before["backbone.embed.weight"])
    assert not torch.equal(found["fbg.threshold"], torch.zeros_like(found["fbg.threshold"]))
    assert np.load(tmp_path / "cluster" / "centroids.npy").shape == (3, 12)


def test_features_are_pooled_under_the_backbones_own_attention() -> None:
    mine = backbone()
    network = OwnAttention(mine).eval()
    crops = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    with torch.inference_mode():
        found = features_of(network, crops)
        images = normalize(crops, (0.5, 0.4, 0.3))
        maps = F.interpolate(mine(images), scale_factor=4.0, mode="bilinear")
        assert isinstance(mine.backbone, Patches)
        looks = mine.backbone.looks(images)
        scaled = looks / looks.flatten(1).max(1).values[:, None, None]
        weights = F.interpolate(scaled[:, None], scale_factor=4.0, mode="bilinear")
        expected = F.normalize((maps * weights).mean((2, 3)))
        torch.testing.assert_close(found, expected)
        assert network.gated(images)[2].max() <= 1


def test_other_weights_or_another_backbone_are_refused(tiny_root: Path, tmp_path: Path) -> None:
    run = given(tiny_root, tmp_path, backbone())
    Stages(ALL_STAGES, run).run(["pretrain", "cluster"])
    with pytest.raises(UsageError, match=r"other settings \(init.pretrain: [0-9a-f]+\.\.\., now"):
        run_all(given(tiny_root, tmp_path, backbone(seed=1)))
    with pytest.raises(UsageError, match=r"\(arch: mine, now resnet18w05, attend, init\)"):
        Stages(ALL_STAGES, job(tiny_root, tmp_path)).run(["cluster"])
    alone = PassRun(tiny_root, "3", tmp_path, run.config, torch.device("cpu"))
    with pytest.raises(UsageError, match="mine was given from Python"):
        Stages(ALL_STAGES, alone).run(["finetune", "pseudo"])
    with pytest.raises(UsageError, match="has an attention itself"):
        Stages(ALL_STAGES, run).run(["attention"])
    changed = backbone()
    later = given(tiny_root, tmp_path / "new", changed)
    torch.nn.init.zeros_(changed.get_parameter("backbone.embed.weight"))
    with pytest.raises(UsageError, match="are not those that the settings of this run name"):
        run_all(later)


def test_a_network_of_one_size_gets_that_in_every_step(tiny_root: Path, tmp_path: Path) -> None:
    mine = backbone(size=40)
    network = mine.backbone
    assert isinstance(network, Patches)
    run_all(given(tiny_root, tmp_path, mine))
    assert network.seen == {(40, 40)}
    sizes = np.array([[60, 50], [50, 60]])
    assert central(mine, replace(SMALL, side=64, crop=32))[0].side == 80
    assert random_crop(mine, SMALL).size == fitted(mine, SMALL.views)[0].size == 40
    assert [len(rows) for rows in whole(mine, SMALL, sizes)[1]] == [2]


def test_an_attention_of_another_shape_is_named() -> None:
    network = nn.Conv2d(3, 4, PATCH, PATCH)
    mine = Wrapped(network, attention=lambda images: images[:, 0], patch=PATCH)
    with pytest.raises(UsageError, match="not one number for each position"):
        mine.attended(torch.zeros(1, 3, 16, 16))


def test_weights_without_a_backbone_are_refused(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["train", "--root", str(tiny_root), "--out", str(tmp_path)]
    assert main([*place, "--random-weights"]) == 2
    assert "name the network with --backbone" in capsys.readouterr().err
    assert main([*place, "--backbone", "resnet18w05"]) == 2
    assert "say where its weights are from" in capsys.readouterr().err
    both = ["--backbone", "resnet18w05", "--random-weights", "--set", "attend=backbone"]
    assert main([*place, *both]) == 2
    assert "has no attention itself" in capsys.readouterr().err


def test_settings_that_a_backbone_cannot_have_are_refused() -> None:
    with pytest.raises(UsageError, match="a grid of 8 pixels: mine is no ResNet"):
        with_backbone(replace(SMALL, grid=8), backbone())
    with pytest.raises(UsageError, match="takes images of 32 pixels alone"):
        with_backbone(replace(SMALL, scales=(0.5, 1.0)), backbone(size=32))


def test_a_dry_run_leaves_the_backbone_as_it_was(tiny_root: Path, tmp_path: Path) -> None:
    mine = backbone()
    before = checkpoints.digest(mine.state_dict())
    found = dry_run(given(tiny_root, tmp_path / "run", mine))
    assert [one.stage for one in found] == ["cluster", "pseudo", "finetune", "predict"]
    assert checkpoints.digest(mine.state_dict()) == before
    assert not (tmp_path / "run").exists()


SMALLER = (
    *("--preset", "sample", "--batch-size", "4", "--epochs", "1", "--device", "cpu"),
    *("--set", "side=32", "--set", "crop=32", "--set", "restarts=2"),
)


def test_our_network_takes_weights_of_a_file_from_the_command_line(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(5)
    network = make_backbone("resnet18w05")
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    place = ["train", "--root", str(tiny_root), "--out", str(tmp_path / "run"), *SMALLER]
    ours = ["--backbone", "resnet18w05", "--weights", str(tmp_path / "weights.pth")]
    assert main([*place, *ours, "--stages", "attention"]) == 0
    kept = state(tmp_path / "run", "attention")
    for name, value in network.named_parameters():
        assert torch.equal(kept[f"backbone.{name}"], value)
    assert main([*place, "--set", "attend=backbone"]) == 2
    assert "name the network with --backbone" in capsys.readouterr().err


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # the library's own
def test_a_model_of_timm_goes_through_from_the_command_line(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["train", "--root", str(tiny_root), "--out", str(tmp_path), *SMALLER]
    theirs = ["--backbone", "timm:vit_tiny_patch16_224", "--random-weights"]
    assert main([*place, *theirs, "--stages", "cluster,pseudo,finetune,predict"]) == 0
    assert "imagenets-baseline score" in capsys.readouterr().out
    settings = json.loads((tmp_path / "config.json").read_bytes())
    assert (settings["arch"], settings["attend"]) == ("timm:vit_tiny_patch16_224", "backbone")
    assert np.load(tmp_path / "cluster" / "centroids.npy").shape == (3, 192)
    assert main([*place, *theirs, "--stages", "cluster"]) == 0  # nothing is left to do
    assert main([*place, *theirs, "--seed", "5", "--stages", "cluster"]) == 2
    assert "init.pretrain" in capsys.readouterr().err
    photographs = ["predict", "--run", str(tmp_path), "--root", str(tiny_root)]
    assert main([*photographs, "--subset", "test", "--device", "cpu"]) == 0
