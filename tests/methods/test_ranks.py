"""Two and three ranks compute what one does: real processes, a global batch of 24."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import run_ranks
from small_run import SMALL, job, run_stages

from imagenets.errors import RankError, UsageError
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.presets import TRAINED, Config, Schedule

STEPS = 10  # of one epoch each: the tiny set has 24 training images
RATE = 0.01  # at the published rates so small a network multiplies rounding by ten in a step
CONFIG: Config = replace(
    SMALL,
    batch=24,
    pretrain=Schedule(STEPS, RATE, queue=72, queue_from=2, freeze=3),
    attention=Schedule(STEPS, RATE, queue=48),
    finetune=Schedule(STEPS, RATE),
)


def run_one(out: Path, stage: str) -> None:
    run_stages(job(Path(out.parent, "root").resolve(), out, CONFIG), stage)


def work(folder: Path) -> bool:
    for stage in TRAINED:
        run_one(folder / stage, stage)
    return True


def begun(one: Path, folder: Path, stage: str) -> Path:
    """A copy of a run as it was before a stage."""
    out = folder / stage
    out.mkdir()
    shutil.copy(one / "ledger.json", out)
    for earlier in list(STAGES)[: list(STAGES).index(stage)]:
        shutil.copytree(one / earlier, out / earlier)
    return out


@pytest.fixture(scope="module")
def one(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one rank leaves."""
    out = tmp_path_factory.mktemp("one") / "run"
    (out.parent / "root").symlink_to(tiny_root)
    for stage in STAGES:
        run_one(out, stage)
    return out


@pytest.fixture(scope="module", params=[2, 3])
def several(
    request: pytest.FixtureRequest, one: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder for each stage, which several ranks have run, all before it as one rank left it."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "root").symlink_to((one.parent / "root").resolve())
    for stage in TRAINED:
        begun(one, folder, stage)
    assert all(run_ranks(request.param, folder, work, folder))
    return folder


def history(out: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / stage / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("stage", TRAINED)
def test_the_losses_are_those_of_one_rank(stage: str, one: Path, several: Path) -> None:
    expected, found = history(one, stage), history(several / stage, stage)
    assert len(found) == len(expected) == STEPS
    for number, (want, got) in enumerate(zip(expected, found, strict=True)):
        assert got.keys() == want.keys()
        for name in got.keys() - {"seconds"}:
            assert got[name] == pytest.approx(want[name], rel=1e-5, abs=1e-5), (number, name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", TRAINED)
def test_a_checkpoint_is_that_of_one_rank(stage: str, one: Path, several: Path) -> None:
    want, got = (torch.load(out / stage / "checkpoint.pt") for out in (one, several / stage))
    assert got["state_dict"].keys() == want["state_dict"].keys()
    for name, value in want["state_dict"].items():
        torch.testing.assert_close(got["state_dict"][name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert got["memory"].keys() == want["memory"].keys() == memories(stage)
    for name, rows in want["memory"].items():
        assert rows.any(2).all()
        torch.testing.assert_close(got["memory"][name], rows, rtol=1e-3, atol=1e-4)


def memories(stage: str) -> set[str]:
    return {"queue"} if stage in ("pretrain", "attention") else set()


def uneven(root: Path, out: Path) -> str:
    with pytest.raises((UsageError, RankError)) as caught:
        run_stages(job(root, out, replace(CONFIG, batch=9)), "pretrain")
    return str(caught.value)


@pytest.mark.slow
def test_a_batch_that_ranks_cannot_share_is_refused(tiny_root: Path, tmp_path: Path) -> None:
    said = run_ranks(2, tmp_path, uneven, tiny_root, tmp_path / "run")
    for text in said:
        assert "a batch of 9 images cannot be shared by 2 ranks: start a number" in text
