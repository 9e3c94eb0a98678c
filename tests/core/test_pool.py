"""Tasks run here, in processes, or on a Dask cluster, and give the same."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

import pytest

from imagenets.core.pool import Pool
from imagenets.errors import CorruptError, DependencyError, MissingError, UsageError


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
