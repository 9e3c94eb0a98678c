"""Rows of the log, who is given them, and a collapse that is told and ends a run."""

from __future__ import annotations

import json
import logging
import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from small_run import SMALL, job, run_stages
from torch import Tensor, nn

from imagenets.cli.main import main
from imagenets.data.loader import Batch
from imagenets.errors import TrainingError
from imagenets.methods.pass_.losses import nearest_counts
from imagenets.training import loop, watch
from imagenets.training.loop import Training, train
from imagenets.training.run import Run
from imagenets.training.watch import COUNTS, MEASURED, Swav, Watch, means, timed

FLAT = math.log(8)
SWAV = Swav("i2i", 8, "a lower rate")


def training(run: Run[Any], losses: list[float], counts: list[float], epochs: int = 8) -> Training:
    """Six steps an epoch; each epoch has its loss, in steps that differ around it."""

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        epoch, place = divmod(iteration, 6)
        value = losses[min(epoch, len(losses) - 1)] + 0.001 * (place - 2.5)
        return {"i2i": torch.tensor(value), COUNTS: torch.tensor(counts)}

    network = nn.Linear(1, 1)
    return Training(
        name="pretrain",
        epochs=epochs,
        loader=run.training_loader(run.dataset("train")),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 1.0),
        schedule=lambda iteration, iterations: 1.0 - iteration / iterations,
        step=step,
        swav=SWAV,
    )


def rows(out: Path, stage: str = "pretrain") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / stage / "log.jsonl").read_text().splitlines()]


def test_a_row_says_all_that_is_to_be_watched(tiny_root: Path, tmp_path: Path) -> None:
    run = job(tiny_root, tmp_path)
    last = train(run, training(run, [2.0, 1.0], [3.0, 1.0, 0, 0, 0, 0, 0, 0], epochs=2))
    assert last == {"i2i": pytest.approx(1.0)}
    one, two = rows(tmp_path)
    assert (one["stage"], one["epoch"], one["step"]) == ("pretrain", 1, 6)
    assert (two["epoch"], two["step"]) == (2, 12)
    assert one["i2i"] == pytest.approx(2.0)
    assert one["ln_M"] == pytest.approx(FLAT)
    assert one["rate"] == pytest.approx(1 - 5 / 12)
    assert one["used"] == 0.25
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert one["entropy"] == pytest.approx(entropy, rel=1e-6)
    assert one["images_per_second"] == pytest.approx(24 / one["seconds"])
    assert 0 < one["waiting"] < 1
    assert 50e6 < one["memory"] < 1e12


def test_prototypes_are_counted_by_who_is_nearest() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.3, 0.9, 0.2], [0.9, 0.1, 0.2]])
    assert nearest_counts(scores.bfloat16()).tolist() == [1.0, 2.0, 0.0]
    even = means({COUNTS: torch.full((8,), 5.0)}, 1, SWAV)
    assert even["entropy"] == pytest.approx(even["ln_M"])


def test_rows_are_given_when_they_are_made(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOOK", 2)
    found: list[dict[str, Any]] = []
    run = replace(job(tiny_root, tmp_path), watch=Watch(found.append))
    train(run, training(run, [2.0, 1.0], [1.0] * 8, epochs=2))
    assert [row["step"] for row in found] == [2, 4, 6, 8, 10, 12]
    assert [row for row in found if "epoch" in row] == rows(tmp_path)
    within = found[1]
    assert within.keys() == rows(tmp_path)[0].keys() - {"epoch"}
    assert within["i2i"] == pytest.approx(2.0, abs=2e-5)  # the mean of steps 3 and 4 alone
    assert found[0]["i2i"] == pytest.approx(2.0 - 0.002, abs=2e-5)
    assert within["images_per_second"] > 0


def test_a_number_that_is_none_is_told_within_the_epoch(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LOOK", 2)
    run = job(tiny_root, tmp_path)
    bad = replace(training(run, [math.nan], [1.0] * 8), advice="a lower rate (--set x=1)")
    with pytest.raises(TrainingError, match=r"at epoch 1, step 2.*try a lower rate \(--set x=1\)"):
        train(run, bad)


def test_a_loss_at_ln_m_is_told_and_ends_the_run(
    tiny_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = job(tiny_root, tmp_path)
    flat = [FLAT, 1.0, FLAT, FLAT * 0.997, FLAT * 1.003, FLAT, FLAT, 1.0]
    with pytest.raises(TrainingError) as ended:
        train(run, training(run, flat, [1.0] * 8))
    said = str(ended.value)
    assert "pretrain: collapse: in epoch 7 the SwAV loss i2i 2.079 is at ln M = 2.079" in said
    assert "share the 8 prototypes alike" in said
    assert "Try a lower rate." in said
    assert "for 5 epochs" in said
    assert "--ignore-collapse" in said
    assert len(rows(tmp_path)) == 7
    told = [record for record in caplog.records if "collapse" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.WARNING] * 4  # epochs 3 to 6
    on = replace(run, watch=Watch(ignore_collapse=True))
    assert train(on, training(on, flat, [1.0] * 8)) == {"i2i": pytest.approx(1.0)}


def test_the_first_epoch_and_the_end_stop_nothing(
    tiny_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = job(tiny_root, tmp_path / "a")
    train(run, training(run, [FLAT, 1.0], [1.0] * 8, epochs=2))
    assert "collapse" not in caplog.text
    run = job(tiny_root, tmp_path / "b")
    train(run, training(run, [1.0, FLAT], [1.0] * 8, epochs=6))
    assert caplog.text.count("is at ln M") == 5


def test_prototypes_that_nothing_is_near_are_told(
    tiny_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, counts = job(tiny_root, tmp_path), [1.0, *[0.0] * 23]
    one = replace(training(run, [1.0], counts, epochs=2), swav=replace(SWAV, prototypes=24))
    train(run, one)
    (record,) = [one for one in caplog.records if "collapse" in one.getMessage()]
    assert "in epoch 2 only 4.2 % of 24 prototypes were the nearest" in record.getMessage()
    assert record.levelno == logging.WARNING


def test_one_rank_tells_of_a_collapse(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    history = [{"i2i": FLAT, "used": 1.0}] * 2
    few = [{"i2i": 1.0, "used": 0.05}] * 2
    for first in (False, True):
        monkeypatch.setattr(watch, "is_first", lambda first=first: first)
        for one in (history, few):
            watch.look_for_collapse("pretrain", SWAV, one, 24, stops=True)
        assert caplog.text.count("collapse") == 2 * first


def test_what_to_try_names_settings_that_there_are(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imagenets.core.settings import names
    from imagenets.methods.pass_ import pretrain

    asked: list[Training] = []
    monkeypatch.setattr(pretrain, "train", lambda run, made: asked.append(made) or {})
    pretrain.pretrain(job(tiny_root, tmp_path))
    (made,) = asked
    assert made.swav is not None
    assert made.swav.loss == "i2i"
    for name in ("pretrain.epsilon", "pretrain.freeze", "pretrain.base_rate", "prototypes"):
        assert f"--set {name}=" in made.swav.advice
        assert name in list(names(SMALL))
    assert "--set pretrain.base_rate=0.3" in made.advice


def test_waiting_is_measured() -> None:
    waited: list[float] = []
    assert list(timed(iter("abc"), waited.append)) == ["a", "b", "c"]
    assert len(waited) == 4
    assert min(waited) >= 0


def test_tensorboard_gets_each_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            said.append((name, value, step))

        def flush(self) -> None:
            said.append(("flushed", 0.0, 0))

    stand_in = ModuleType("torch.utils.tensorboard")
    stand_in.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", stand_in)
    monkeypatch.setattr(watch, "find_spec", lambda name: name)
    write = watch.tensorboard(tmp_path)
    write({"stage": "pretrain", "step": 6, "loss": 1.5})
    write({"stage": "pretrain", "step": 12, "loss": 1.25})
    assert said[::2] == [("pretrain/loss", 1.5, 6), ("pretrain/loss", 1.25, 12)]


def test_without_tensorboard_the_option_says_what_to_install(
    tiny_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "find_spec", lambda name: None)
    call = ["train", "--root", str(tiny_root), "--out", str(tmp_path), "--tensorboard"]
    assert main([*call, "--device", "cpu"]) == 1
    assert "pip install 'imagenets[tensorboard]'" in capsys.readouterr().err


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")  # the library's own
def test_a_run_writes_files_of_tensorboard(tiny_root: Path, tmp_path: Path) -> None:
    assert find_spec("tensorboard"), "pip install 'imagenets[extras]'"
    run = replace(
        job(tiny_root, tmp_path), watch=Watch(watch.tensorboard(tmp_path / "tensorboard"))
    )
    run_stages(run, "pretrain")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    found = [(event.step, event.value) for event in read.Scalars("pretrain/i2i")]
    assert found == [(row["step"], pytest.approx(row["i2i"])) for row in rows(tmp_path)]
    assert {f"pretrain/{name}" for name in MEASURED} <= set(read.Tags()["scalars"])
