"""When a loop is saved, and how signals end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagenets.errors import CorruptError, UsageError
from imagenets.training.saving import SaveEvery, SavePoints, heed_warnings

NEVER = SaveEvery(3600.0)


class EndedError(BaseException):
    """What the handler of SIGTERM raises that was there before."""


@pytest.fixture(autouse=True)
def _before() -> Iterator[None]:
    def end(*_: Any) -> None:
        raise EndedError

    had = signal.signal(signal.SIGTERM, end)
    yield
    assert signal.getsignal(signal.SIGTERM) is end  # it is always given back
    signal.signal(signal.SIGTERM, had)


class Loop:
    """Ten steps, with something that happens in one of them or while its row is awaited."""

    def __init__(self, every: SaveEvery = NEVER) -> None:
        self.done = 0
        self.saved: list[int] = []
        self.points = SavePoints(every, lambda: self.saved.append(self.done))

    def run(self, step: int = -1, what: Any = None, *, awaited: bool = False) -> None:
        def rows() -> Iterator[int]:
            for row in range(10):
                if awaited and row == step:
                    what()
                yield row

        with self.points:
            for row in self.points.waiting(rows()):
                if not awaited and row == step:
                    what()
                self.done += 1
                self.points.passed()


def send(number: signal.Signals) -> Any:
    return lambda: signal.raise_signal(number)


def test_every_so_many_steps() -> None:
    loop = Loop(SaveEvery(None, steps=4))
    loop.run()
    assert loop.saved == [4, 8]


def test_after_so_many_seconds() -> None:
    loop = Loop(SaveEvery(0.05))
    loop.run(5, lambda: time.sleep(0.06))
    assert loop.saved == [6]


def test_a_warning_saves_at_the_end_of_its_step_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = Loop()
    with caplog.at_level("INFO"), heed_warnings():
        signal.raise_signal(signal.SIGUSR1)  # where no loop is: nothing happens
        loop.run(3, send(signal.SIGUSR1))
        signal.raise_signal(signal.SIGUSR1)
    assert (loop.saved, loop.done) == ([4], 10)
    assert caplog.messages == ["SIGUSR1: all steps up to here are saved"]


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, EndedError), (signal.SIGINT, KeyboardInterrupt)]
)
@pytest.mark.parametrize(("awaited", "steps"), [(False, 4), (True, 3)])
def test_an_end_saves_first(
    number: signal.Signals, error: type[BaseException], awaited: bool, steps: int
) -> None:
    loop = Loop()
    with pytest.raises(error):
        loop.run(3, send(number), awaited=awaited)
    assert (loop.saved, loop.done) == ([steps], steps)


def test_what_is_saved_is_not_saved_again_at_the_end() -> None:
    loop = Loop(SaveEvery(None, steps=1))
    with pytest.raises(EndedError):
        loop.run(3, send(signal.SIGTERM), awaited=True)
    assert loop.saved == [1, 2, 3]


def test_a_second_signal_ends_at_once() -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("went on")

    loop = Loop()
    with pytest.raises(EndedError):
        loop.run(3, twice)
    assert (loop.saved, loop.done) == ([], 3)


def test_an_end_after_the_last_step_is_heeded() -> None:
    loop = Loop()
    with pytest.raises(EndedError), loop.points:
        signal.raise_signal(signal.SIGTERM)


def test_no_more_batches_because_of_an_error_saves_a_failed_step_does_not() -> None:
    def broken() -> None:
        raise CorruptError("an image")

    for awaited, saved in ((True, [3]), (False, [])):
        loop = Loop()
        with pytest.raises(CorruptError, match="an image"):
            loop.run(3, broken, awaited=awaited)
        assert loop.saved == saved


def test_ignored_signals_stay_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        loop = Loop()
        loop.run(3, send(signal.SIGINT))
        assert (loop.saved, loop.done) == ([], 10)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_may_train() -> None:
    loop = Loop(SaveEvery(None, steps=5))
    thread = threading.Thread(target=loop.run)
    thread.start()
    thread.join()
    assert loop.saved == [5, 10]


def test_a_handler_that_lets_the_signal_pass_does_not_keep_the_loop() -> None:
    had = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        loop = Loop()
        with pytest.raises(SystemExit, match="143"):
            loop.run(3, send(signal.SIGTERM))
        assert loop.saved == [4]
    finally:
        signal.signal(signal.SIGTERM, had)


def test_a_forked_worker_ends_as_ever_and_takes_no_warning() -> None:
    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGTERM)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM

    loop = Loop()
    loop.run(3, fork)
    assert (loop.saved, loop.done) == ([], 10)


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("10m", SaveEvery(600.0)),
        ("30s", SaveEvery(30.0)),
        ("1.5h", SaveEvery(5400.0)),
        ("200steps", SaveEvery(None, 200)),
        ("1step", SaveEvery(None, 1)),
    ],
)
def test_how_often_is_read(text: str, every: SaveEvery) -> None:
    assert SaveEvery.parse(text) == every


@pytest.mark.parametrize("text", ["", "10", "0m", "0steps", "1.5steps", "-3s", "10 minutes", "m"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--save-every .*30s, 10m, 2h or 200steps"):
        SaveEvery.parse(text)


@pytest.mark.slow
def test_a_job_that_is_warned_goes_on_and_one_that_is_ended_says_so(
    tiny_root: Path, tmp_path: Path
) -> None:
    """Signals go to all processes of the job, as Slurm sends them."""
    call = [sys.executable, "-m", "imagenets", "train", "--root", str(tiny_root), "--split", "3"]
    call += ["--out", str(tmp_path), "--preset", "sample", "--batch-size", "8", "--workers", "1"]
    call += ["--stages", "pretrain", "--epochs", "pretrain=10000", "--save-every", "1h"]
    with subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as job:
        assert job.stderr
        lines = iter(job.stderr.readline, "")
        assert any("epoch 1 of" in line for line in lines)
        os.killpg(job.pid, signal.SIGUSR1)
        assert any("SIGUSR1: all steps up to here are saved" in line for line in lines)
        assert any("pretrain: epoch" in line for line in lines)  # it goes on
        os.killpg(job.pid, signal.SIGTERM)
        rest = job.stderr.read()
    assert job.returncode == 143
    assert "SIGTERM: all steps up to here are saved" in rest
    assert "terminated: run the same command again to continue" in rest
    assert "Traceback" not in rest
    assert len(list((tmp_path / "pretrain").glob("checkpoint-*.pt"))) == 2
    assert not list(tmp_path.rglob("*.part"))
