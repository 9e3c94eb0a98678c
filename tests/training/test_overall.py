"""The one line of progress: how far all stages are, and what is left."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import pytest
import torch
from small_run import SMALL, job, run_stages

from imagenets.core import log
from imagenets.core.log import progress, watched
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.work import work
from imagenets.training import overall
from imagenets.training.overall import Overall

WORK = {"pretrain": 600.0, "cluster: features": 100.0, "cluster: k-means": 0.0, "finetune": 300.0}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of day, to be set."""
    now = [0.0]
    monkeypatch.setattr(overall.time, "monotonic", lambda: now[0])
    return now


def test_share_and_time_left_follow_from_the_pace(clock: list[float]) -> None:
    whole = Overall(lambda: WORK)
    whole.begin("pretrain 1/2", 10, 0)
    assert whole.share == 0.0
    assert whole.seconds_left is None
    for _ in range(10):  # half of it, 30 units in 3 s each
        clock[0] += 3
        whole.passed(None)
    assert whole.share == pytest.approx(0.3)
    assert whole.seconds_left == pytest.approx(70)  # 700 units at 10 a second
    whole.begin("pretrain 2/2", 10, 0)
    for _ in range(10):
        clock[0] += 3
        whole.passed(None)
    whole.begin("cluster: features", 4, 0)
    for _ in range(2):  # 25 units in 10 s: slower
        clock[0] += 10
        whole.passed(None)
    assert whole.share == pytest.approx(0.65)
    pace = 650 / 80
    assert whole.seconds_left == pytest.approx(50 / 2.5 + 300 / pace)


def test_what_was_done_before_does_not_count_for_the_pace(clock: list[float]) -> None:
    whole = Overall(lambda: WORK)
    whole.begin("finetune 3/4", 10, 5)  # all before is done
    assert whole.share == pytest.approx((600 + 100 + 300 * 2.5 / 4) / 1000)
    clock[0] += 7.5
    whole.passed(None)  # 7.5 units
    assert whole.seconds_left == pytest.approx(300 * 1.5 / 4 - 7.5)


def test_loops_that_are_not_counted_do_no_harm(clock: list[float]) -> None:
    whole = Overall(lambda: WORK)
    whole.begin("list folder", 10, 0)
    whole.passed(None)
    assert whole.share == 0.0
    assert whole.seconds_left is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    log.setup()
    with Overall(lambda: WORK).shown():
        for loop in ("pretrain 1/2", "pretrain 2/2", "cluster: features", "finetune 1/1"):
            for _ in progress(range(4), loop, 4):
                pass
    shown = screen.getvalue()
    lines = [line.strip() for line in shown.replace("\n", "\r").split("\r") if line.strip()]
    assert "pretrain 2/2 (1 of 3)" in shown
    assert "finetune 1/1 (3 of 3)" in shown
    assert any("about" in line and "left" in line for line in lines)
    assert any("finetune 1/1" in line and " 70%" in line for line in lines)
    assert not any("batch" in line for line in lines)  # no bar of a loop beside it


def test_the_log_tells_now_and_then_elsewhere(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    whole = Overall(lambda: WORK)
    with caplog.at_level(logging.INFO), watched(whole):
        for _ in progress(range(10), "pretrain 1/1", 10):
            clock[0] += 400
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 5  # every second step takes it over ten minutes
    assert said[0] == "pretrain: 12.0 % of all steps done, about 1.6 h left"


def test_the_work_of_a_run_is_counted(tiny_root: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    found = work(job(tiny_root, tmp_path), list(STAGES))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert [*found] == [
        *("pretrain", "attention", "cluster: features", "cluster: k-means"),
        *("pseudo: threshold", "pseudo: training labels", "pseudo: validation labels"),
        *("pseudo: attention", "finetune", "predict: validation"),
    ]
    assert min(found.values()) > 0
    assert found["cluster: k-means"] == 24 * SMALL.restarts * 20 * 2 * 3 * 256
    only = work(job(tiny_root, tmp_path), ["finetune"])
    assert only == {"finetune": found["finetune"]}


@pytest.mark.slow
def test_every_loop_of_a_run_is_known(tiny_root: Path, tmp_path: Path) -> None:
    """What the stages call their loops is what their work is counted by."""
    run = job(tiny_root, tmp_path)
    seen: set[str] = set()

    class Names:
        def begin(self, what: str, total: int | None, first: int) -> None:
            seen.add(what.removesuffix(" 1/1").removesuffix(" 1/2").removesuffix(" 2/2"))

        def passed(self, row: object) -> None:
            pass

    with watched(Names()):
        run_stages(run, *STAGES)
    assert seen == set(work(run, list(STAGES)))
