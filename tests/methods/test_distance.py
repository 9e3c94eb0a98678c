"""Distance matching from a prepared set to masks, scores and a submission."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ranks import run_ranks
from torch import Tensor, nn

from imagenets import ImageNetS, masks
from imagenets.cli.main import main
from imagenets.core import distributed, lock
from imagenets.data.augment import normalize
from imagenets.data.augment.evaluation import short_side
from imagenets.errors import BusyError, CorruptError, MissingError, UsageError
from imagenets.methods.distance import Matching, Settings
from imagenets.models.backbone import Wrapped
from imagenets.models.checkpoints import plain_state
from imagenets.models.registry import make_backbone

Call = Callable[..., tuple[int, str, str]]

SMALL = Settings(k=3, side=32, batch=4)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 8, 8), nn.ReLU(), nn.Conv2d(12, 8, 1))


def matching(root: Path, out: Path, settings: Settings = SMALL) -> Matching:
    texts: Any = (str(root), str(out))  # which will do
    own = Matching(Wrapped(network(), name="tiny"), texts[0], "3", texts[1], settings)
    assert (own.root, own.out) == (root, out)
    return own


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: object) -> tuple[int, str, str]:
        code = main(["distance", *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, said.out, said.err

    return run


@torch.inference_mode()
def plain(root: Path, subset: str) -> dict[str, Tensor]:
    """The protocol as it is worded, one image at a time, over files that are read anew."""
    net = network().eval()

    def large(image: Tensor) -> Tensor:
        small = net(normalize(short_side(image, 32)[None].float() / 255))
        return F.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)[0]

    vectors, ids = [], []
    for sample in ImageNetS(root, "train-semi", "3"):
        features = large(sample["image"])
        mask = F.interpolate(sample["mask"][None, None].float(), features.shape[1:])[0, 0]
        for number in sorted(set(mask.flatten().tolist()) - {1000.0}):
            vectors.append((features * (mask == number)).mean((1, 2)))
            ids.append(int(number))
    references = F.normalize(torch.stack(vectors))
    found = {}
    for sample in ImageNetS(root, subset, "3", masks=False):
        rows = F.normalize(large(sample["image"]), dim=0)
        cosines = torch.einsum("rf,fhw->rhw", references, rows)
        votes = torch.zeros(4, *rows.shape[1:])
        top, where = cosines.topk(3, dim=0)
        for one, place in zip(top, where, strict=True):
            votes.scatter_add_(0, torch.tensor(ids)[place][None], torch.exp(one / 0.07)[None])
        whole = F.interpolate(votes.argmax(0)[None, None].float(), sample["image"].shape[1:])
        found[sample["name"]] = whole[0, 0].long()
    return found


@pytest.mark.parametrize("subset", ["validation", "test"])
def test_masks_are_those_of_a_plain_reading(tiny_root: Path, tmp_path: Path, subset: str) -> None:
    folder = matching(tiny_root, tmp_path).predict(subset)
    expected = plain(tiny_root, subset)
    assert {str(p.relative_to(folder))[:-4] for p in folder.rglob("*.png")} == set(expected)
    for name, ids in expected.items():
        found = masks.load(folder / f"{name}.png").astype(np.int64)
        assert torch.equal(torch.from_numpy(found), ids), name
    assert len(torch.unique(torch.cat([ids.flatten() for ids in expected.values()]))) > 2


def test_masks_that_are_there_stay(tiny_root: Path, tmp_path: Path) -> None:
    job = matching(tiny_root, tmp_path)
    paths = sorted(job.predict().rglob("*.png"))
    before = {path: path.read_bytes() for path in paths}
    times = {path: path.stat().st_mtime_ns for path in [*paths, tmp_path / "references.pt"]}
    paths[0].unlink()
    matching(tiny_root, tmp_path).predict()
    assert {path: path.read_bytes() for path in paths} == before
    kept = [path for path in times if path.stat().st_mtime_ns == times[path]]
    assert tmp_path / "references.pt" in kept
    assert len(times) - SMALL.batch <= len(kept) < len(times)
    matching(
        tiny_root, tmp_path, Settings(k=3, side=32, batch=1)
    ).predict()  # batch decides nothing


def test_a_folder_holds_what_is_of_one_making(tiny_root: Path, tmp_path: Path) -> None:
    matching(tiny_root, tmp_path).predict()
    with pytest.raises(UsageError, match="made with another k, temperature"):
        matching(tiny_root, tmp_path, Settings(k=2, temperature=1, side=32)).predict()
    other = matching(tiny_root, tmp_path)
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1)
    with pytest.raises(UsageError, match=r"another weights\. Give the same"):
        other.predict()
    with lock.hold(tmp_path / ".lock", tmp_path), pytest.raises(BusyError):
        matching(tiny_root, tmp_path).predict()
    (tmp_path / "distance.json").write_text("{")
    with pytest.raises(CorruptError, match=r"distance\.json: not readable"):
        matching(tiny_root, tmp_path).predict()


def test_scores_need_masks(tiny_root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="Predict the validation images first"):
        matching(tiny_root, tmp_path).score()


def test_references_are_stored_with_their_ids(tiny_root: Path, tmp_path: Path) -> None:
    job = matching(tiny_root, tmp_path)
    job.predict()
    references = job.references()
    torch.testing.assert_close(references.vectors.norm(dim=1), torch.ones(len(references.ids)))
    images = len(ImageNetS(tiny_root, "train-semi", "3"))
    assert torch.bincount(references.ids).tolist() == [images, 2, 2, 2]


def _on_a_rank(root: Path, out: Path) -> int:
    return len(list(matching(root, out).predict().rglob("*.png")))


@pytest.mark.slow
def test_ranks_share_the_images(tiny_root: Path, tmp_path: Path) -> None:
    alone = matching(tiny_root, tmp_path / "alone").predict()
    counts = run_ranks(2, tmp_path, _on_a_rank, tiny_root, tmp_path / "both")
    paths = sorted(alone.rglob("*.png"))
    assert counts == [len(paths)] * 2
    for path in paths:
        other = tmp_path / "both" / "validation" / path.relative_to(alone)
        assert other.read_bytes() == path.read_bytes()
    assert distributed.world() == 1


def test_the_command_scores_validation(tiny_root: Path, tmp_path: Path, call: Call) -> None:
    torch.manual_seed(1)
    file = tmp_path / "weights.pt"
    trained = make_backbone("resnet18w05")
    torch.save({"state_dict": {f"module.{n}": v for n, v in plain_state(trained).items()}}, file)
    words = ["--root", tiny_root, "--backbone", "resnet18w05", "--weights", file, "--side", 64]
    code, out, err = call(*words, "--out", tmp_path / "out", "--k", 3, "--device", "cpu", "--json")
    assert code == 0, err
    scores = json.loads(out)
    assert scores == json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["distance"]["k"] == 3
    assert scores["distance"]["backbone"] == "resnet18w05"
    assert scores["used"]["weights"] == scores["distance"]["weights"]
    valid = {name: found["valid"] for name, found in scores["valid_for"].items()}
    assert valid == {"unsupervised": False, "distance": None, "semi": False, "free": True}
    assert 0 <= scores["mIoU"] <= 100
    assert f"{file}: {len(trained.state_dict())} weights taken over" in err
    code, out, err = call(*words, "--out", tmp_path / "out", "--k", 3, "--device", "cpu")
    assert code == 0, err
    assert f"{scores['mIoU']:.1f}" in out
    code, _, err = call(*words, "--out", tmp_path / "out", "--k", 4, "--device", "cpu")
    assert code == 2
    assert "another k" in err


def test_the_command_packs_test(tiny_root: Path, tmp_path: Path, call: Call) -> None:
    words = ["--root", tiny_root, "--backbone", "resnet18w05", "--random-weights", "--side", 64]
    words += ["--subset", "test", "--out", tmp_path / "out", "--device", "cpu"]
    code, _, err = call(*words)
    assert code == 2
    assert "--protocol" in err
    code, out, err = call(*words, "--protocol", "distance", "--method-name", "Mine")
    assert code == 0, err
    images = len(ImageNetS(tiny_root, "test", "3", masks=False))
    assert f"a valid submission of {images} masks" in out
    assert "Protocol: distance matching" in out
    assert "whether this is valid" not in err  # random weights have seen nothing
    with zipfile.ZipFile(tmp_path / "out" / "submission.zip") as archive:
        names = archive.namelist()
        assert b"Method name: Mine" in archive.read("method.txt")
    assert len(names) == images + 1


def test_weights_with_supervision_are_free(tiny_root: Path, tmp_path: Path, call: Call) -> None:
    file = tmp_path / "weights.pt"
    torch.save(make_backbone("resnet18w05").state_dict(), file)
    words = ["--root", tiny_root, "--backbone", "resnet18w05", "--weights", file, "--side", 64]
    words += ["--subset", "test", "--out", tmp_path / "out", "--device", "cpu"]
    said = ["--pretrained-on", "imagenet-1k", "--supervision", "labels"]
    code, _, err = call(*words, *said, "--protocol", "distance")
    assert code == 2
    assert "not valid for the protocol distance matching: the weights were pretrained with" in err
    assert call(*words, "--protocol", "free")[0] == 0


def test_the_command_names_what_is_wrong(tiny_root: Path, tmp_path: Path, call: Call) -> None:
    words = ["--root", tiny_root, "--out", tmp_path / "out", "--device", "cpu"]
    code, _, err = call(*words, "--backbone", "resnet18w05", "--weights", tmp_path / "no.pt")
    assert code == 1
    assert "no.pt: not there" in err
    code, _, err = call(*words, "--backbone", "resnet18w05", "--pretrained")
    assert code == 2
    assert "Give a file of weights" in err
    other = tmp_path / "other.pt"
    torch.save(plain_state(make_backbone("resnet18")), other)
    code, _, err = call(*words, "--backbone", "resnet18w05", "--weights", other)
    assert code == 2
    assert "another shape" in err
    assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    code, _, err = call(*words, "--backbone", "resnet18w05", "--random-weights", "--k", 99)
    assert code == 2
    assert "fewer than k = 99" in err
