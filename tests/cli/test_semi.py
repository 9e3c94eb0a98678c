"""`imagenets semi`: from weights to scores, to a submission, and what it refuses."""

from __future__ import annotations

import json
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import jpeg

from imagenets import masks
from imagenets.cli import main
from imagenets.models.registry import make_backbone

SMALL = "--epochs 2 --warmup 0 --batch-size 3 --crop 32 --side 32 --device cpu --workers 0"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    state = make_backbone("resnet18w05").state_dict() | {"fc.weight": torch.zeros(2, 3)}
    torch.save({"state_dict": state}, path)
    return path


def run(root: Path, out: Path, *words: object) -> int:
    line = ["semi", "--root", root, "--out", out, *words, *SMALL.split()]
    return main.main([str(word) for word in line])


def test_from_weights_to_scores_and_a_submission(
    tiny_root: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "resnet18w05", "--weights", weights)
    assert run(tiny_root, tmp_path / "run", *words) == 0
    said = capsys.readouterr()
    assert "mIoU" in said.out
    assert "1 unused (fc: 1)" in said.err
    assert "2 missing (head.weight, head.bias)" in said.err
    archive = tmp_path / "my.zip"
    assert run(tiny_root, tmp_path / "run", *words, "--submit", archive) == 0
    said = capsys.readouterr()
    assert "train: done" in said.err
    assert "a valid submission of 6 masks" in said.out
    assert "semi-supervised" in said.out
    with zipfile.ZipFile(archive) as file:
        assert "match.json" not in file.namelist()
        method = file.read("method.txt").decode()
    assert "fine-tuned resnet18w05" in method
    assert "2 epochs" in method
    assert run(tiny_root, tmp_path / "run", *words, "--subset", "test") == 0
    assert "imagenets submit" in capsys.readouterr().out


def test_the_verbs_that_use_a_run_know_it(
    tiny_root: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, photos = tmp_path / "run", tmp_path / "photos"
    assert run(tiny_root, out, "--model", "resnet18w05", "--weights", weights) == 0
    place = ["--root", str(tiny_root), "--run", str(out)]
    device = ["--device", "cpu", "--workers", "1"]
    scored = (out / "scores.json").read_bytes()
    assert main.main(["score", *place]) == 0
    assert (out / "scores.json").read_bytes() == scored
    assert main.main(["predict", *place, *device]) == 0
    assert len(list((out / "predict-test" / "test").rglob("*.png"))) == 6
    archive = tmp_path / "run.zip"
    words = ["submit", *place, *device, "--out", str(archive)]
    assert main.main([*words, "--protocol", "unsupervised"]) == 2
    assert "a run of semi is entered for semi" in capsys.readouterr().err
    assert main.main(words) == 0
    with zipfile.ZipFile(archive) as file:
        assert "train-semi, with labels" in file.read("method.txt").decode()
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg(3, (60, 50)))
    words = ["predict", *place, *device, "--images", str(photos), "--out", str(tmp_path / "out")]
    assert main.main(words) == 0
    assert masks.load(tmp_path / "out" / "masks" / "a.png").shape == (50, 60)
    names = json.loads((tmp_path / "out" / "ids.json").read_text())
    assert list(names) == ["0", "1", "2", "3"]
    assert names == {str(i): name for i, name in enumerate(json.loads(scored)["names"])}


def test_protocols_go_by_what_is_said_of_the_weights(
    tiny_root: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def verdicts() -> list[bool | None]:
        found = json.loads((tmp_path / "run" / "scores.json").read_text())
        assert len(found["used"]["weights"]) == 64
        assert found["used"]["tier"] == "3"
        return [verdict["valid"] for verdict in found["valid_for"].values()]

    words = ("--model", "resnet18w05", "--weights", weights)
    assert run(tiny_root, tmp_path / "run", *words) == 0
    assert "semi-supervised     unknown  --pretrained-on and" in capsys.readouterr().out
    assert verdicts() == [False, False, None, True]
    said = ("--pretrained-on", "3", "--supervision", "none")
    assert run(tiny_root, tmp_path / "run", *words, *said) == 0
    assert "semi-supervised     yes      pretrained on 3" in capsys.readouterr().out
    assert run(tiny_root, tmp_path / "run", *words) == 0  # what was said before stays
    assert verdicts() == [False, False, True, True]
    said = ("--pretrained-on", "imagenet-1k", "--supervision", "labels")
    assert run(tiny_root, tmp_path / "run", *words, *said) == 0
    assert verdicts() == [False, False, False, True]
    submit = ["submit", "--root", tiny_root, "--run", tmp_path / "run", "--device", "cpu"]
    submit = [*map(str, submit), "--out", str(tmp_path / "my.zip")]
    capsys.readouterr()
    assert main.main(submit) == 2
    refused = capsys.readouterr().err
    assert "not valid for the protocol semi-supervised: the weights were pretrained" in refused
    assert run(tiny_root, tmp_path / "run", *words, "--submit", tmp_path / "my.zip") == 2
    assert main.main([*submit, "--protocol", "free"]) == 0
    with zipfile.ZipFile(tmp_path / "my.zip") as file:
        assert b"pretrained on imagenet-1k, supervision: labels" in file.read("method.txt")
    capsys.readouterr()
    (tmp_path / "run" / "pretraining.json").write_text('{"date": 3}')
    assert main.main(submit) == 1
    assert "pretraining.json: says no `data`" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--random-weights --pretrained-on 3 --supervision none", "--random-weights: leave"),
        ("--weights w.pt --pretrained-on 3", "--supervision together"),
        ("--weights w.pt --supervision none", "--supervision together"),
    ],
)
def test_half_of_what_is_said_of_weights_is_refused(
    words: str,
    said: str,
    tiny_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": make_backbone("resnet18w05").state_dict()}, "w.pt")
    assert run(tiny_root, tmp_path / "run", "--model", "resnet18w05", *words.split()) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_report_shows_a_run_and_cleaning_leaves_it_as_it_is(
    tiny_root: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ("--model", "resnet18w05", "--weights", weights, "--evaluate-every", "1")
    place = ["--root", str(tiny_root), "--run", str(out)]
    assert main.main(["clean", "--run", str(out)]) == 2
    assert run(tiny_root, out, *words) == 0
    assert main.main(["report", *place]) == 0
    page = (out / "report.html").read_text()
    scores = json.loads((out / "scores.json").read_text())
    assert "semi-supervised fine-tuning" in page
    assert f"{scores['mIoU']:.2f}" in page
    assert "--pretrained-on and --supervision did not say" in page
    (out / "train" / "checkpoint-1.pt").write_bytes(bytes(2000))
    before = torch.load(out / "train" / "checkpoint.pt", weights_only=True)["state_dict"]
    capsys.readouterr()
    assert main.main(["clean", "--run", str(out), "--json"]) == 0
    kinds = {kind["what"]: kind["bytes"] for kind in json.loads(capsys.readouterr().out)["kinds"]}
    assert kinds["checkpoints on the way"] == 2000
    assert kinds["optimisers and queues in checkpoints"] > 2 * weights.stat().st_size * 0.9
    after = torch.load(out / "train" / "checkpoint.pt", weights_only=True)
    assert set(after) == {"state_dict", "history", "epoch"}
    assert all(torch.equal(after["state_dict"][name], value) for name, value in before.items())
    assert run(tiny_root, out, *words) == 0
    assert "train: done" in capsys.readouterr().err
    assert json.loads((out / "scores.json").read_text()) == scores


def test_an_unfinished_run_is_not_cleaned_and_has_no_report(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"tier": "3", "model": "resnet18w05"}')
    assert main.main(["clean", "--run", str(tmp_path)]) == 2
    assert "not finished (train)" in (said := capsys.readouterr().err)
    assert "Finish it first: imagenets semi" in said
    place = ["--root", str(tiny_root), "--run", str(tmp_path)]
    assert main.main(["report", *place]) == 1
    assert "score` on this run first" in capsys.readouterr().err


def test_settings_come_from_a_file_and_from_set(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["config", "--preset", "mae-vit-base", "--set", "drop_path=0.2"]) == 0
    printed = capsys.readouterr().out
    assert tomllib.loads(printed)["decays"] == [0.6]
    assert "drop_path = 0.2" in printed
    assert "weights" not in printed
    file = tmp_path / "my.toml"
    file.write_text('model = "resnet18w05"\nblr = 0.002\nmultipliers = [2.0]\nbatch = 5\n')
    out = tmp_path / "run"
    words = ("--random-weights", "--config", file, "--set", "seed=3", "--set", "decays=[0.5, 0.9]")
    assert run(tiny_root, out, *words) == 0
    kept = json.loads((out / "config.json").read_text())
    assert (kept["model"], kept["blr"], kept["multipliers"]) == ("resnet18w05", 0.002, [2.0])
    assert (kept["seed"], kept["decays"]) == (3, [0.5, 0.9])
    assert kept["batch"] == 3  # an option comes after the file
    capsys.readouterr()
    assert main.main(["config", "--run", str(out)]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown == {name: kept[name] for name in shown}
    file.write_text(f'weights = "{"a" * 64}"')
    model = ("--model", "resnet18w05", "--random-weights")
    for more, said in (
        (("--config", file), "weights follows from --weights"),
        (("--set", "search=a"), "--set search=a: search follows from --search"),
        (("--set", "decay=0.5"), "there is no setting 'decay'. Did you mean decays"),
        (("--set", "scale=[0.5, 0.1]"), "scale is (0.5, 0.1): give a range"),
        (("--set", "multipliers=[0.0]"), "multipliers is (0.0,)"),
        (("--set", "jitter=[1, 1, -1, 0]"), "jitter is"),
        (("--set", "final_rate=-1.0"), "final_rate is -1.0"),
        (("--set", "search_epochs=0"), "search_epochs is 0"),
        (("--set", "crop=8.5"), "--set crop=8.5: crop is a whole number"),
    ):
        assert run(tiny_root, tmp_path / "no", *model, *more) == 2, said
        assert said in capsys.readouterr().err


def test_tensorboard_is_given_what_the_log_holds(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, object]] = []
    folders: list[Path] = []

    def fake(folder: Path) -> Callable[[dict[str, object]], None]:
        folders.append(folder)
        return told.append

    monkeypatch.setattr("imagenets.training.watch.tensorboard", fake)
    words = ("--model", "resnet18w05", "--random-weights", "--tensorboard")
    assert run(tiny_root, tmp_path / "run", *words) == 0
    assert folders == [tmp_path / "run" / "tensorboard"]
    rows = (tmp_path / "run" / "train" / "log.jsonl").read_text().splitlines()
    assert told == [json.loads(row) for row in rows]


def test_where_weights_come_from_must_be_said(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(tiny_root, tmp_path, "--model", "resnet18w05")
    assert "one of the arguments --weights --pretrained --random-weights" in capsys.readouterr().err


def test_other_weights_are_another_run(
    tiny_root: Path, tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", "resnet18w05")
    assert run(tiny_root, tmp_path / "run", *words, "--random-weights") == 0
    assert run(tiny_root, tmp_path / "run", *words, "--weights", weights) == 2
    assert "made with other settings (weights)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--model resnet18w05 --pretrained", 2, "resnet18w05: no weights come with it"),
        ("--model vit_small_patch16 --pretrained", 2, "no weights come with it"),
        ("--random-weights", 2, "--model"),
        ("--model vgg16 --random-weights", 2, "no backbone 'vgg16'"),
        ("--model resnet18w05 --weights nowhere.pt", 1, "nowhere.pt: not there"),
        ("--model resnet18w05 --random-weights --decay a", 2, "--decay a"),
        ("--model resnet18w05 --random-weights --evaluate-every -1", 2, "--evaluate-every -1"),
        ("--model resnet18w05 --random-weights --submit no/my.zip", 1, "there is no folder no"),
    ],
)
def test_what_is_refused(
    words: str,
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_root: Path,
) -> None:
    assert run(tiny_root, tmp_path / "run", *words.split()) == code
    assert said in capsys.readouterr().err
