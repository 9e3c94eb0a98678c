"""Runs tasks in parallel: in this process, in joblib's worker processes, or on a Dask cluster."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

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

        call = partial(_call, os.getpid(), self.lock, function)
        with ExitStack() as stack:
            stack.enter_context(self._cluster())
            jobs = None if self.backend == "dask" else min(self.workers, len(tasks))
            parallel = Parallel(
                n_jobs=jobs, return_as="generator_unordered", pre_dispatch="2*n_jobs"
            )
            calls = (delayed(call)(number, task) for number, task in enumerate(tasks))
            yield from parallel(calls)

    def _cluster(self) -> AbstractContextManager[Any]:
        if self.backend == "loky":
            return nullcontext()
        if self.scheduler is None:
            raise UsageError("--backend dask needs --scheduler ADDRESS, such as tcp://host:8786.")
        try:
            client = import_module("distributed").Client
        except ImportError:
            raise DependencyError(
                "--backend dask needs Dask: pip install 'imagenets[dask]'."
            ) from None
        from joblib import parallel_config

        stack = ExitStack()
        try:
            stack.enter_context(client(self.scheduler))
        except (OSError, ValueError) as error:
            raise MissingError(f"{self.scheduler}: no Dask scheduler answers ({error}).") from None
        stack.enter_context(parallel_config(backend="dask"))
        return stack


def default_workers() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def wait_for_orphans(lock: Path) -> None:
    """Waits until the workers of a run that was killed have noticed it and are gone."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def _call(
    master: int,
    lock: Path | None,
    function: Callable[[Task], Result],
    number: int,
    task: Task,
) -> tuple[int, Result]:
    """Runs one task in a worker, which goes when its master does and leaves Ctrl-C to it."""
    if os.getppid() == master:
        _follow(master)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    if lock is None:
        return number, function(task)
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # a new run waits for it before it writes anything
        return number, function(task)


@cache
def _follow(master: int) -> None:
    """Ends this worker soon after its master is gone (killed), whatever it is doing then."""

    def watch() -> None:
        while os.getppid() == master:
            time.sleep(_LOOK)
        os._exit(1)  # nobody is left to hear of an exception

    threading.Thread(target=watch, daemon=True).start()
