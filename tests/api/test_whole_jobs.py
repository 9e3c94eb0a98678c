"""Whole jobs from Python: what the command line does, with its options, as exceptions."""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from made_run import make_run
from tiny import tiny

import imagenets
from imagenets.api.prepare import Asked, prepare
from imagenets.api.score import score
from imagenets.api.train import train
from imagenets.api.training import assignments_of, epochs_of
from imagenets.cli import prepare_options
from imagenets.cli.main import main
from imagenets.cli.predict import VERB as PREDICT
from imagenets.cli.prepare import VERB
from imagenets.cli.report import VERB as REPORT
from imagenets.cli.train import VERB as TRAIN
from imagenets.data.raw import synthetic
from imagenets.data.shards import Manifest
from imagenets.errors import CorruptError, MissingError, UsageError


def test_a_set_is_prepared_as_the_command_line_prepares_it(tiny_root: Path, tmp_path: Path) -> None:
    world = tiny(train=8, val=4)
    raw, index = world.folders(tmp_path / "raw"), world.index(tmp_path / "index")
    archive, root = world.archive(tmp_path), tmp_path / "root"
    more = {"index": index, "annotations": str(archive), "workers": 1}
    (report,) = imagenets.prepare(3, str(raw), root, **more)
    assert report.splits["validation"] == {"images": 12, "masks": 12, "missing": 0}
    ours, theirs = (Manifest.load(place / "ImageNetS3.shards") for place in (root, tiny_root))
    assert [shard.sha256 for shard in ours.shards] == [shard.sha256 for shard in theirs.shards]
    (again,) = imagenets.prepare("3", raw, root, **more)
    assert again.done_before
    assert again.splits == report.splits


def test_what_is_wrong_is_said_in_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGENET_DIR", raising=False)
    with pytest.raises(UsageError, match="no raw ImageNet is given"):
        prepare(50, root=tmp_path)
    for options, message in (
        ({"layout": "tar"}, "--layout tar: choose one of shards, tree, both"),
        ({"backend": "mpi"}, "--backend mpi: choose one of loky, dask"),
        ({"subsets": "validation"}, r"give a list of splits, such as \['validation'\]"),
        ({"subsets": ["val"]}, "--subsets val: choose among"),
        ({"quality": 80}, "--quality is for --resize"),
        ({"workers": 0}, "--workers 0"),
    ):
        with pytest.raises(UsageError, match=message):
            prepare(50, tmp_path, tmp_path / "root", **options)  # type: ignore[arg-type]  # wrong ones
    with pytest.raises(UsageError, match="51"):
        prepare(51, tmp_path, tmp_path / "root")
    with pytest.raises(MissingError, match="nowhere"):
        prepare(50, tmp_path / "nowhere", tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_preparing_has_the_options_of_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    VERB.add_arguments(parser)
    words = ["--split", "50", "--imagenet", "x"]
    given = vars(parser.parse_args(words))
    instead = {"dry_run", "download_only", "verify", "repair", "sample"}
    beside = {"split", "imagenet", "root", "json"} | instead
    named = inspect.signature(prepare).parameters
    assert given.keys() - beside == {field.name for field in fields(Asked)}
    assert named.keys() - beside == {field.name for field in fields(Asked)}
    empty = prepare_options.asked(parser.parse_args(words))
    for field in fields(Asked):
        assert named[field.name].default == field.default
        assert getattr(empty, field.name) in (field.default, list(field.default or ()))


def test_masks_that_are_not_named_are_none(tmp_path: Path) -> None:
    for none in (None, (), []):
        assert Asked(annotations=none).config(tmp_path, tmp_path).origin.annotations == ()


def test_a_run_is_scored_as_the_command_line_scores_it(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tiny_root, tmp_path / "run")
    before = json.loads((run / "scores.json").read_bytes())
    found = imagenets.score(tiny_root, out=run, workers=1)
    assert found.metrics["mIoU"] == before["mIoU"] > 0
    assert found.file == run / "scores.json"
    assert found.document["protocol"] == "optimistic"
    words = ["score", "--root", str(tiny_root), "--out", str(run), "--workers", "1"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"{found}\n"
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == found.document


def test_arguments_that_mean_nothing_are_said_in_an_exception(tmp_path: Path) -> None:
    wrong: list[Any] = [1.5, "two", {"pretrain": "1"}, {"pretrain": 0.5}]
    for epochs in wrong:
        with pytest.raises(UsageError, match="--epochs"):
            epochs_of(epochs)
    kind: Any = "gif"
    assert assignments_of({"regions": tmp_path}) == (f"regions={tmp_path}",)
    with pytest.raises(UsageError, match="overlays 'gif'"):
        imagenets.predict(tmp_path, images=tmp_path, out="x", overlays=kind)


def test_a_score_that_cannot_be_is_said_in_an_exception(tiny_root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no run of training was begun"):
        score(tiny_root, split=3, out=tmp_path)
    with pytest.raises(UsageError, match="'train'"):
        score(tiny_root, out=tmp_path, subset="train")  # type: ignore[arg-type]  # a wrong one
    with pytest.raises(UsageError, match="never released"):
        score(tiny_root, out=tmp_path, subset="test")
    with pytest.raises(MissingError, match="no prepared set there"):
        score(tmp_path)
    (tmp_path / "config.json").write_text('{"tier": "50"}')
    with pytest.raises(UsageError, match="is of tier 50, not 3"):
        score(tiny_root, split="3", out=tmp_path)


def test_a_page_is_written_as_the_command_line_writes_it(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, other = make_run(tiny_root, tmp_path / "run"), make_run(tiny_root, tmp_path / "b", shift=2)
    page = imagenets.report(tiny_root, out=run, workers=1)
    assert page == run / "report.html"
    before = page.read_bytes()
    assert main(["report", "--root", str(tiny_root), "--out", str(run), "--workers", "1"]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    assert page.read_bytes() == before
    both = imagenets.report(tiny_root, compare=[run, str(other)], workers=1)
    assert both == other / "comparison.html"
    assert both.is_file()
    (tmp_path / "two" / "ImageNetS50").mkdir(parents=True)  # the tier is that of the runs
    (tmp_path / "two" / "ImageNetS3.shards").symlink_to(tiny_root / "ImageNetS3.shards")
    assert imagenets.report(tmp_path / "two", compare=[run, other], workers=1) == both
    scores = json.loads((other / "scores.json").read_text())
    (other / "scores.json").write_text(json.dumps(scores | {"mIoU": None}).replace("mIoU", "old"))
    with pytest.raises(CorruptError, match=r"scores\.json: lacks mIoU"):
        imagenets.report(tiny_root, compare=[run, other])
    with pytest.raises(UsageError, match="give two runs, not 1"):
        imagenets.report(tiny_root, compare=[run])
    wrong: list[Any] = [run, "ab"]
    for one in wrong:
        with pytest.raises(UsageError, match="give two runs, not 1"):
            imagenets.report(tiny_root, compare=one)
    with pytest.raises(UsageError, match="give one of them"):
        imagenets.report(tiny_root, out=run, compare=[run, other])
    with pytest.raises(MissingError, match="there is no folder"):
        imagenets.report(tiny_root, out=run, page=tmp_path / "nowhere" / "page.html")


def test_the_sample_is_prepared_as_the_command_line_prepares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, count in (("TRAIN", 2), ("SEMI", 1), ("VALIDATION", 1), ("TEST", 1)):
        monkeypatch.setattr(synthetic, name, count)
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    report = imagenets.prepare_sample(ours, workers=1)
    assert report.splits["train-semi"] == {"images": 6, "masks": 6, "missing": 0}
    assert imagenets.prepare_sample(str(ours), workers=1).done_before
    assert main(["sample", "--root", str(theirs), "--workers", "1", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["tiers"]
    assert told["splits"] == report.splits
    shards = [Manifest.load(place / "ImageNetS6.shards").shards for place in (ours, theirs)]
    assert [one.sha256 for one in shards[0]] == [one.sha256 for one in shards[1]]
    with pytest.raises(UsageError, match="--layout tar: choose one of"):
        imagenets.prepare_sample(tmp_path / "no", layout="tar")  # type: ignore[arg-type]  # a wrong one
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "photos"}, "images and out go together"),
        ({"out": "masks"}, "images and out go together"),
        ({"images": "photos", "out": "photos"}, "is the folder of the photographs"),
        ({"images": "photos", "out": "masks", "subset": "test"}, "not both"),
        ({"set": "flip=true"}, "--set flip=true: give a list"),
    ],
)
def test_predicting_that_cannot_be_is_said_in_an_exception(
    options: dict[str, Any], message: str, tiny_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        imagenets.predict(tiny_root, run=tmp_path, **options)


def test_predicting_and_the_page_have_the_options_of_the_command_line() -> None:
    for verb, function in ((PREDICT, imagenets.predict), (REPORT, imagenets.report)):
        parser = argparse.ArgumentParser()
        verb.add_arguments(parser)
        given = vars(parser.parse_args([]))
        named = inspect.signature(function).parameters
        assert {"run" if name == "run_folder" else name for name in given} == set(named)


def test_messages_are_shown_without_logging_set_up_and_nothing_heavy_is_imported(
    tiny_root: Path, tmp_path: Path
) -> None:
    code = (
        "import sys, imagenets\n"
        "imagenets.prepare, imagenets.score, imagenets.train, imagenets.predict\n"
        "imagenets.prepare_sample, imagenets.report\n"
        "print({'torch', 'h5py', 'scipy', 'numba', 'pandas'} & set(sys.modules))\n"
        f"try: imagenets.score({str(tiny_root)!r}, out={str(tmp_path)!r})\n"
        "except imagenets.ImageNetSError as error: print(type(error).__name__)\n"
        "import logging\n"
        "print(logging.getLogger('imagenets').level == logging.INFO)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == ["set()", "MissingError", "True", ""]


def test_a_run_is_trained_as_the_command_line_trains_it(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, alike = tmp_path / "run", tmp_path / "alike"
    settings = {"pretrain.base_rate": 0.3, "views.0.size": 32}
    more = {"preset": "sample", "batch_size": 4, "device": "cpu", "workers": 0}
    trained = imagenets.train(
        tiny_root, out=out, stages=["pretrain"], epochs={"pretrain": 0}, set=settings, **more
    )
    assert (trained.out, trained.tier, trained.done) == (out, "3", ("pretrain",))
    assert trained.left[0] == "attention"
    assert "pretrain" not in trained.left
    words = ["train", "--root", str(tiny_root), "--out", str(alike), "--preset", "sample"]
    words += ["--epochs", "pretrain=0", "--batch-size", "4", "--device", "cpu", "--workers", "0"]
    words += ["--stages", "pretrain", "--set", "pretrain.base_rate=0.3", "--set", "views.0.size=32"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"done: pretrain. Everything lies in {alike}\nnext: the same command")
    ours, theirs = (json.loads((run / "config.json").read_bytes()) for run in (out, alike))
    assert ours == theirs
    assert ours["pretrain"]["base_rate"] == 0.3
    ours, theirs = (json.loads((run / "ledger.json").read_bytes()) for run in (out, alike))
    assert ours["pretrain"]["result"] == theirs["pretrain"]["result"]


def test_training_has_the_options_of_the_command_line() -> None:
    parser = argparse.ArgumentParser()
    TRAIN.add_arguments(parser)
    alone = {"seeds", "dry_run", "weights", "pretrained", "random_weights"}
    named = inspect.signature(train).parameters
    given = vars(parser.parse_args([]))
    assert given.keys() - alone == set(named)
    for name in ("save_every", "device", "stages", "seed", "png", "allow_partial"):
        assert named[name].default == given[name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": "many"}, "--epochs many"),
        ({"epochs": {"cluster": 1}}, "'cluster' has no epochs"),
        ({"set": "seed=1"}, "--set seed=1: give a list"),
        ({"set": {"sead": 1}}, "sead"),
        ({"preset": "pass7"}, "no preset 'pass7'"),
        ({"pretrained_on": "919"}, "give --pretrained-on and --supervision together"),
        ({"pretrained_on": "919", "supervision": "some"}, "--supervision some: choose one of"),
        ({"pretrained_on": "919", "supervision": "labels"}, "no weights are given"),
        ({"device": "tpu9"}, "--device tpu9"),
        ({"workers": -1}, "--workers -1"),
        ({"save_every": "soon"}, "soon"),
        ({"stages": ["paint"]}, "paint"),
        ({"stages": "cluster, paint"}, "no step paint"),
        ({"stages": []}, "no step is named"),
        ({"stages": ""}, "no step is named"),
    ],
)
def test_training_that_cannot_be_is_said_in_an_exception(
    options: dict[str, Any], message: str, tiny_root: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        train(tiny_root, out=tmp_path, **{"preset": "sample", "device": "cpu", **options})
