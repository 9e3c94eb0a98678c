"""Locks: one run at a time, also where the file system has none, and no wait without an end."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imagenets.core.lock import FileLock, hold, share, wait_for_workers
from imagenets.errors import BusyError

_CONTEND = """
import errno, fcntl, sys, time
from pathlib import Path
def missing(*_): raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = missing
from imagenets.core.lock import FileLock
lock = FileLock(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(lock.acquire(), flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["ENOSYS", "ENOTSUP", "ENOLCK"])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks of its own."""

    def missing(*_: object) -> None:
        number = getattr(errno, request.param)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", missing)


def owner(path: Path, **other: object) -> dict[str, object]:
    """Writes a soft lock as this process would, but for some facts."""
    lock = FileLock(path.with_name("example"))
    assert lock.acquire()
    facts = {**json.loads(lock.soft.read_bytes()), **other}
    lock.release()
    FileLock(path).soft.write_text(json.dumps(facts))
    return facts


def gone() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_a_lock_may_be_taken_again_by_its_thread_alone(tmp_path: Path) -> None:
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert lock.acquire()
    assert lock.acquire()
    lock.release()
    assert not other.acquire()
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(lock.acquire).result()
    lock.release()
    assert other.acquire()
    other.release()


def test_a_wait_is_told_and_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lock, other = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert lock.acquire()
    start = time.monotonic()
    with caplog.at_level(logging.INFO):
        assert not other.acquire(1.5)
    assert 1.5 <= time.monotonic() - start < 10
    assert caplog.messages == [f"{tmp_path / 'lock'}: waiting for another process, up to 2 s"]
    threading.Timer(0.2, lambda: os.close(lock._handle or -1)).start()
    assert other.acquire(60)
    other.release()


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_second_run_is_told_who_is_at_work(tmp_path: Path) -> None:
    with hold(tmp_path / ".prepare", "root"):
        with pytest.raises(BusyError) as caught, hold(tmp_path / ".prepare", "root"):
            pass
        text = str(caught.value)
        assert f"process {os.getpid()} on {socket.gethostname()}, since 2" in text
        assert f"delete {tmp_path / '.prepare' / 'lock.soft'}" in text
    assert not (tmp_path / ".prepare" / "lock.soft").exists()
    with hold(tmp_path / ".prepare", "root"):
        pass


@pytest.mark.usefixtures("no_flock")
def test_without_flock_a_file_that_a_lock_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    with hold(tmp_path, "root"):
        pass


@pytest.mark.usefixtures("no_flock")
def test_without_flock_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    owner(tmp_path / "lock", pid=gone())
    with hold(tmp_path, "root"):
        assert json.loads((tmp_path / "lock.soft").read_bytes())["pid"] == os.getpid()


@pytest.mark.usefixtures("no_flock")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: owner(path, pid=gone(), host="elsewhere"),
        lambda path: owner(path, pid=gone(), space="pid:[1]"),
        lambda path: owner(path, pid=os.getppid()),
        lambda path: path.with_name("lock.soft").touch(),  # just made by another, not yet written
        lambda path: path.with_name("lock.soft").write_text('{"pid": "x"}'),
    ],
)
def test_without_flock_a_lock_that_may_be_held_is_left_alone(
    tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    spoil(tmp_path / "lock")
    before = (tmp_path / "lock.soft").read_bytes()
    start = time.monotonic()
    with pytest.raises(BusyError, match=r"If that run is gone, delete .*lock\.soft"):
        hold(tmp_path, "root").__enter__()
    assert time.monotonic() - start < 5
    assert (tmp_path / "lock.soft").read_bytes() == before


@pytest.mark.slow
def test_of_many_processes_one_takes_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", missing)
        owner(tmp_path / "lock", pid=gone())
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _CONTEND, str(tmp_path / "lock")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(6)
    ]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    answers = [process.stdout.readline() for process in started if process.stdout]
    for process in started:
        process.communicate("\n", timeout=60)
    assert sorted(answers) == ["False\n"] * 5 + ["True\n"]


def test_workers_that_are_left_are_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, working = tmp_path / "workers", threading.Event()
    order: list[str] = []

    def work() -> None:
        with share(path), share(path):
            working.set()
            time.sleep(1.5)
            order.append("worked")

    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO):
        done = pool.submit(work)
        assert working.wait(60)
        wait_for_workers(path)
        order.append("waited")
        done.result()
    assert order == ["worked", "waited"]
    assert caplog.messages == [f"{path}: waiting for the workers of an earlier run"]


@pytest.mark.usefixtures("no_flock")
def test_without_flock_workers_are_no_obstacle(tmp_path: Path) -> None:
    with share(tmp_path / "workers"):
        wait_for_workers(tmp_path / "workers")


def test_other_failures_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", broken)
    for use in (
        lambda: hold(tmp_path, "root").__enter__(),
        lambda: share(tmp_path / "lock").__enter__(),
        lambda: wait_for_workers(tmp_path / "lock"),
    ):
        with pytest.raises(OSError, match="Input/output error") as caught:
            use()
        assert caught.value.filename == str(tmp_path / "lock")
