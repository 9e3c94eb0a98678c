"""Runs tasks in parallel: in this process, in joblib's worker processes, or on a Dask cluster."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Literal, TypeVar

from imagenets.errors import DependencyError, UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Pool:
    """How many tasks run at a time, and where.

    Attributes:
        workers: Processes; 1 means this one.
        backend: `loky` (processes of this machine) or `dask` (those of `scheduler`).
        scheduler: Address of the Dask scheduler, such as `tcp://host:8786`.
    """

    workers: int = 1
    backend: Literal["loky", "dask"] = "loky"
    scheduler: str | None = None

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

        call = partial(_call, os.getpid(), function)
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
            raise UsageError(f"{self.scheduler}: no Dask scheduler answers ({error}).") from None
        stack.enter_context(parallel_config(backend="dask"))
        return stack


def default_workers() -> int:
    """The processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def leave_if_orphaned() -> None:
    """Ends this worker process if the command that started it is gone (killed)."""
    if _master is not None and os.getppid() != _master:
        os._exit(1)  # nobody is left to hear of an exception


_master: int | None = None  # in a worker process of this machine: who started it


def _call(
    master: int, function: Callable[[Task], Result], number: int, task: Task
) -> tuple[int, Result]:
    global _master
    if os.getppid() == master:
        _master = master
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who waits for us
    return number, function(task)
