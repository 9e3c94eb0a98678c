"""Tasks run here, in processes, or on a Dask cluster, and give the same."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from imagenets.core.pool import (
    Pool,
    _shielded_children,
    available_cpus,
    dismiss,
    in_chunks,
    worker_count,
)
from imagenets.errors import (
    CorruptError,
    DependencyError,
    MissingError,
    UsageError,
    WorkerError,
)


def power(base: int, task: int) -> tuple[int, int]:
    if task < 0:
        raise CorruptError(f"task {task}: is broken.")
    return base**task, os.getpid()


def test_results_carry_the_number_of_their_task(tmp_path: Path) -> None:
    here = dict(Pool(1).map(partial(power, 2), [3, 1, 2], "test"))
    assert here == {0: (8, os.getpid()), 1: (2, os.getpid()), 2: (4, os.getpid())}
    spread = dict(Pool(2, lock=tmp_path / "lock").map(partial(power, 2), [3, 1, 2], "test"))
    assert {number: value for number, (value, _) in spread.items()} == {0: 8, 1: 2, 2: 4}
    assert os.getpid() not in {pid for _, pid in spread.values()}


def test_nothing_to_do_is_no_fault() -> None:
    assert list(Pool(4).map(partial(power, 2), [], "test")) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_comes_out_as_it_is(workers: int) -> None:
    with pytest.raises(CorruptError, match="task -1: is broken"):
        list(Pool(workers).map(partial(power, 2), [1, -1, 2], "test"))


def test_dask_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--scheduler"):
        list(Pool(backend="dask").map(partial(power, 2), [1], "test"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DependencyError, match=r"pip install 'imagenets\[dask\]'"):
        list(Pool(backend="dask", scheduler="tcp://x").map(partial(power, 2), [1], "test"))


def die(task: int) -> int:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_worker_that_dies_is_told() -> None:
    with pytest.raises(WorkerError, match=r"a worker process has died.*fewer --workers"):
        list(Pool(2).map(die, [0, 1, 2, 3], "test"))
    dismiss()
    dismiss()
    assert sorted(Pool(2).map(abs, [-1, 2], "test")) == [(0, 1), (1, 2)]


@pytest.fixture
def scheduler() -> Iterator[Any]:
    """A Dask cluster without workers."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=None, processes=False
    ) as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_workers_that_come_later_are_waited_for(
    scheduler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    address = scheduler.scheduler_address
    later = threading.Timer(3, lambda: scheduler.scale(1))
    later.start()
    with caplog.at_level(logging.INFO, "imagenets"):
        spread = dict(Pool(backend="dask", scheduler=address).map(abs, [-3, 4], "test"))
    later.join()
    assert spread == {0: 3, 1: 4}
    assert f"{address}: has no worker yet; waiting up to 60 s" in caplog.text
    assert f"`dask worker {address}`" in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_without_workers_says_how_to_start_one(
    scheduler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imagenets.core.pool._ARRIVAL", 0.5)  # rather than a minute
    address = scheduler.scheduler_address
    with pytest.raises(MissingError, match=f"start one with `dask worker {address}`"):
        list(Pool(backend="dask", scheduler=address).map(abs, [1], "test"))
    assert list(Pool(backend="dask", scheduler=address).map(abs, [], "test")) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Dask warns of much that is not ours
def test_a_dask_cluster_does_the_same_work() -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    dask = pytest.importorskip("dask")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        address = cluster.scheduler_address
        spread = dict(Pool(backend="dask", scheduler=address).map(abs, [-3, 4], "test"))
    assert spread == {0: 3, 1: 4}
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(MissingError, match="no Dask scheduler answers"),
    ):
        list(Pool(backend="dask", scheduler=address).map(abs, [1], "test"))


def total(items: Sequence[int]) -> tuple[int, int]:
    return sum(items), os.getpid()


@pytest.mark.parametrize("workers", [1, 2])
def test_chunks_come_in_order_and_few_items_stay_here(workers: int) -> None:
    items = list(range(1000))
    results = list(in_chunks(total, items, workers, chunk=100))
    assert [value for value, _ in results] == [sum(items[i : i + 100]) for i in range(0, 1000, 100)]
    assert (os.getpid() in {pid for _, pid in results}) == (workers == 1)
    assert [pid for _, pid in in_chunks(total, items[:300], workers, chunk=100)] == [
        os.getpid()
    ] * 3
    assert list(in_chunks(total, [], workers)) == []


def test_a_number_of_workers() -> None:
    assert worker_count(None) == available_cpus()
    assert worker_count(3) == 3
    for wrong in (0, -1):
        with pytest.raises(UsageError, match=f"--workers {wrong}: at least 1"):
            worker_count(wrong)
        with pytest.raises(UsageError, match="at least 1"):
            list(in_chunks(total, [1], wrong))


def test_cpus_are_those_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5})
    assert available_cpus() == 1
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available_cpus() >= 1


def blocked() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_processes_started_inside_never_see_ctrl_c() -> None:
    get_reusable_executor().shutdown(wait=True)  # none is left of an earlier test
    with _shielded_children():
        results = Parallel(2, return_as="generator")(delayed(blocked)() for _ in range(4))
    assert all(results)
    assert not blocked()
    get_reusable_executor().shutdown(wait=True)


def test_ctrl_c_is_raised_as_soon_as_they_are_started() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # where it is raised is what is tested
        with _shielded_children():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end of the block")
        reached.append("what follows")
    assert reached == ["the end of the block"]


_LEAK = """
import os, sys
from imagenets.core import pool
with pool._shielded_children():
    pass
from joblib.externals.loky.backend import resource_tracker
resource_tracker.register("/imagenets-no-such-lock", "semlock")
assert "PYTHONWARNINGS" not in os.environ
"""


def test_trackers_do_not_warn_of_locks_that_they_remove() -> None:
    """What a stopped run leaves is theirs to remove; the user need not read of it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    call = [sys.executable, "-c", _LEAK]
    done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
    assert "leaked" not in done.stderr
    assert "resource_tracker" not in done.stderr
