"""A dry run measures every stage, leaves nothing behind, and says what does not fit."""

from __future__ import annotations

import logging
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SMALL, job

from imagenets import ImageNetS
from imagenets.cli import train_dry_run
from imagenets.cli.main import main
from imagenets.core.log import duration, progress, watched
from imagenets.data.loader.crops import ShortSide
from imagenets.errors import UsageError
from imagenets.methods.pass_ import STAGES, dry_run
from imagenets.methods.pass_.dry_run import Estimate, _advice, _alike, _batches, _Found, _most
from imagenets.methods.pass_.presets import PRESETS, Config
from imagenets.training.usage import Peak, Steps, available, peak

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def found(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Estimate]:
    out, own = tmp_path_factory.mktemp("dry") / "run", tmp_path_factory.mktemp("temporary")
    logging.getLogger("imagenets").setLevel(logging.INFO)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tempfile, "tempdir", str(own))  # which no other process looks into
        estimates = dry_run.dry_run(job(tiny_root, out))
    assert not out.exists()
    assert not list(own.glob("imagenets-dry-run-*"))
    assert logging.getLogger("imagenets").level == logging.INFO
    return estimates


def test_every_stage_is_measured(found: list[Estimate]) -> None:
    assert [one.stage for one in found] == list(STAGES)
    for one in found:
        assert one.images_per_second is not None
        assert one.images_per_second > 0
        assert one.memory > 50e6  # what Python and torch take alone
        assert one.disk > 0
        assert one.measured == SMALL.batch
        assert one.advice == ""


def test_the_whole_run_is_worked_out(found: list[Estimate]) -> None:
    """24 images, of which 6 batches of 4 make an epoch; two epochs of pretraining."""
    by_name = {one.stage: one for one in found}
    for name, images in (("pretrain", 48), ("attention", 24), ("finetune", 24), ("predict", 12)):
        one = by_name[name]
        assert one.images_per_second is not None
        assert one.seconds == pytest.approx(images / one.images_per_second)
    assert by_name["cluster"].disk == 24 * 256 * 4  # features of half a ResNet-18, float32


def test_the_disk_is_that_of_a_real_run(found: list[Estimate], finished: Path) -> None:
    by_name = {one.stage: one.disk for one in found}
    checkpoint = (finished / "pretrain" / "checkpoint.pt").stat().st_size
    assert by_name["pretrain"] == pytest.approx(3 * checkpoint, rel=0.01)
    files = (path for path in (finished / "pseudo").rglob("*") if path.is_file())
    labels = sum(path.stat().st_size for path in files)
    assert by_name["pseudo"] == pytest.approx(labels, rel=0.25)  # the key of the ledger aside


def made(batch: int, peak: int) -> _Found:
    return _Found(batch, peaks=dict.fromkeys(STAGES, peak))


GB = 10**9
LINE = [made(16, 3 * GB), made(32, 5 * GB)]  # 1 GB, and 1/8 GB an image


@pytest.mark.parametrize(
    ("room", "accumulate", "most"),
    [(32, 1, 248), (34, 1, 256), (20, 1, 152), (20, 2, 128), (None, 1, 256)],
)
def test_what_fits_lies_on_the_line(room: int | None, accumulate: int, most: int) -> None:
    config = replace(PRESETS["pass919"], accumulate=accumulate)
    space = None if room is None else round(room * GB / dry_run.SPARE)
    assert abs(_most(config, LINE, "finetune", space) - most) <= 1  # rounded


@pytest.mark.parametrize(
    ("stage", "most", "said"),
    [
        ("pretrain", 255, "--batch-size 128 would fit"),
        ("pretrain", 100, "--batch-size 64 would fit"),
        ("finetune", 100, "--accumulate 4 would fit"),
        ("pretrain", 1, "no batch of 2 fits"),
        ("finetune", 0, "no batch fits"),
    ],
)
def test_what_would_fit_is_said(stage: str, most: int, said: str) -> None:
    assert said in _advice(PRESETS["pass919"], stage, most)


@pytest.mark.slow
def test_a_run_that_does_not_fit_is_told(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "available", lambda device: 10**6)
    monkeypatch.setattr(dry_run, "_slope", lambda trials, name: 1e6)
    config = replace(SMALL, batch=8)
    estimates = dry_run.dry_run(job(tiny_root, tmp_path, config))
    assert all("fit" in one.advice for one in estimates)
    assert all(one.measured == 4 for one in estimates)  # the whole batch is not tried
    said = train_dry_run.text(estimates, 10**6, 10**3, "cpu")
    assert len(re.findall("does not fit: \\w+ needs .* GB of memory; ", said)) == len(STAGES)
    assert "GB on the disk; choose an --out with more room" in said


@pytest.mark.parametrize(
    ("batch", "expected"), [(256, (2, 16, 32)), (32, (2, 2, 4)), (4, (2, 2, 4)), (7, (7, 7, 7))]
)
def test_the_batches_divide_the_one_asked_for(batch: int, expected: Sequence[int]) -> None:
    assert _batches(batch) == expected


def test_images_of_one_shape_are_taken(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "train", 3)
    shapes = ShortSide(32).shapes(data.sizes)
    distinct, numbers = np.unique(shapes, axis=0, return_counts=True)
    chosen = shapes[_alike(data, 32, int(numbers.max()))]
    assert (chosen == distinct[numbers.argmax()]).all()
    assert len(_alike(data, 32, 1000)) == len(data)


def test_too_few_images_are_told(tiny_root: Path, tmp_path: Path) -> None:
    config: Config = replace(SMALL, batch=32)
    with pytest.raises(UsageError, match="fewer than one batch"):
        dry_run.dry_run(job(tiny_root, tmp_path, config))


def test_the_option_prints_a_table_and_trains_nothing(
    tiny_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    found: list[Estimate],
) -> None:
    monkeypatch.setattr(dry_run, "dry_run", lambda run: found)
    out = tmp_path / "run"
    words = ["train", "--root", str(tiny_root), "--out", str(out), "--dry-run", "--device", "cpu"]
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["step", *STAGES, "all", "on"]
    assert not out.exists()


def test_ranks_are_told_to_measure_alone(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
    assert main(["train", "--root", str(tiny_root), "--dry-run", "--device", "cpu"]) == 2
    assert "start it without torchrun" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(12, "12.0 s"), (120, "2.0 min"), (6000, "1.7 h"), (200_000, "2.3 days")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_memory_of_a_block_is_found() -> None:
    with peak(CPU) as before:
        time.sleep(0.02)
    with peak(CPU) as found:
        block = np.ones(30_000_000, np.uint8)
        patience = time.monotonic() + 60  # a busy machine lets it look late
        while found.bytes < before.bytes + 25e6 and time.monotonic() < patience:
            time.sleep(0.01)
        del block
    assert isinstance(found, Peak)
    assert 25e6 < found.bytes - before.bytes < 60e6
    room = available(CPU)
    assert room is not None
    assert room > found.bytes


def test_steps_are_timed_without_the_first() -> None:
    steps = Steps(CPU)
    with watched(steps):
        for number in progress(range(4), "loop 1/1", 4):
            time.sleep(0.3 if number == 0 else 0.01)
    assert [images for images, _ in steps.found["loop 1/1"]] == [1, 1, 1, 1]
    measured = steps.seconds("loop")
    assert measured is not None
    assert 0.01 <= measured < 0.2
    assert steps.seconds("another") is None
