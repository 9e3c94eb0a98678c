"""Runs tasks in parallel: in this process, in joblib's worker processes, or on a Dask cluster."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Literal, TypeVar

from imagenets.core.interrupts import shielded_children
from imagenets.errors import DependencyError, MissingError, UsageError

_LOOK = 0.2
"""Seconds between two looks of a worker at whether its master is still there."""

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Pool:
    """How many tasks run at a time, and where.

    Attributes:
        workers: Processes; 1 means this one.
        backend: `loky` (processes of this machine) or `dask` (those of `scheduler`).
        scheduler: Address of the Dask scheduler, such as `tcp://host:8786`.
        lock: File that workers hold a shared lock on while they work, for `wait_for_orphans`.
    """

    workers: int = 1
    backend: Literal["loky", "dask"] = "loky"
    scheduler: str | None = None
    lock: Path | None = None

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        title: str,
        weights: Sequence[int] | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """Runs a function over tasks and yields (task number, result) as they are done.

        Args:
            function: What to run; it and the tasks must pickle.
            tasks: Its arguments.
            title: Stands before the progress bar.
            weights: Images in each task, which the bar counts; 1 each by default.

        Yields:
            Number of the task and what the function returned, in any order.

        Raises:
            UsageError: `dask` without a scheduler's address.
            DependencyError: Dask is not installed.
        """
        from tqdm import tqdm

        sizes = weights or [1] * len(tasks)
        with tqdm(total=sum(sizes), desc=title, unit="image", disable=None) as bar:
            for number, result in self._results(function, tasks):
                bar.update(sizes[number])
                yield number, result

    def _results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> Iterator[tuple[int, Result]]:
        if self.backend == "loky" and min(self.workers, len(tasks)) <= 1:
            for number, task in enumerate(tasks):
                yield number, function(task)
            return
        from joblib import Parallel, delayed

        call = partial(_call, self.lock, function)
        with self._processes(len(tasks)):
            parallel = Parallel(return_as="generator_unordered", pre_dispatch="2*n_jobs")
            with shielded_children():
                results = parallel(delayed(call)(number, task) for number, task in enumerate(tasks))
            yield from results

    @contextmanager
    def _processes(self, tasks: int) -> Iterator[None]:
        """Says to joblib where the work of a block is done."""
        from joblib import parallel_config

        if self.backend == "loky":
            jobs = min(self.workers, tasks)
            with parallel_config("loky", n_jobs=jobs, initializer=_serve, initargs=(os.getpid(),)):
                yield
            return
        if self.scheduler is None:
            raise UsageError("--backend dask needs --scheduler ADDRESS, such as tcp://host:8786.")
        try:
            connect = import_module("distributed").Client
        except ImportError:
            raise DependencyError(
                "--backend dask needs Dask: pip install 'imagenets[dask]'."
            ) from None
        try:
            client = connect(self.scheduler)
        except (OSError, ValueError) as error:
            raise MissingError(f"{self.scheduler}: no Dask scheduler answers ({error}).") from None
        with client, parallel_config("dask"):
            yield


def default_workers() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_for_orphans(lock: Path) -> None:
    """Waits until the workers of a run that was killed have noticed it and are gone."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def _call(
    lock: Path | None, function: Callable[[Task], Result], number: int, task: Task
) -> tuple[int, Result]:
    """Runs one task; a new run waits for the lock before it writes anything."""
    if lock is None:
        return number, function(task)
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return number, function(task)


def _serve(master: int) -> None:
    """Begins a worker's life: it leaves Ctrl-C to its master, and goes when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for those that joblib starts later on

    def watch() -> None:
        while os.getppid() == master:
            time.sleep(_LOOK)
        os._exit(1)  # nobody is left to hear of an exception

    threading.Thread(target=watch, daemon=True).start()
