"""Runs tasks in parallel: in this process, in joblib's worker processes, or on a Dask cluster."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypeVar

from imagenets.core.distributed import gather, own_items, world
from imagenets.core.lock import share
from imagenets.core.log import bar
from imagenets.errors import DependencyError, MissingError, UsageError, WorkerError

_CHUNK = 128
"""Small items in a task: enough to hide its dispatch, few enough for the progress bar to move."""

_LOOK = 0.2
"""Seconds between two checks of a worker that its main process is still there."""

_ARRIVAL = 60.0
"""Seconds that the first worker of a Dask cluster is waited for."""

log = logging.getLogger(__name__)

_started = threading.Event()
"""Whether joblib has worker processes."""

Task = TypeVar("Task")
Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cpus() -> int:
    """CPUs that this process may use: affinity and the quota of a container count."""
    from joblib import cpu_count

    return int(cpu_count())


def worker_count(asked: int | None) -> int:
    """The number of workers for what the user asked for; None: one for each available CPU.

    Raises:
        UsageError: Fewer than one.
    """
    if asked is None:
        return available_cpus()
    if asked < 1:
        raise UsageError(f"--workers {asked}: at least 1 is needed.")
    return asked


@dataclass(frozen=True, slots=True)
class Pool:
    """How many tasks run at a time, and where.

    Attributes:
        workers: Processes; 1 means this one.
        backend: `loky` (processes of this machine) or `dask` (those of `scheduler`).
        scheduler: Address of the Dask scheduler, such as `tcp://host:8786`.
        lock: File that workers hold a shared lock on while they work, for `wait_for_workers`.
    """

    workers: int = 1
    backend: Literal["loky", "dask"] = "loky"
    scheduler: str | None = None
    lock: Path | None = None

    def map(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        title: str | None,
        weights: Sequence[int] | None = None,
        *,
        ordered: bool = False,
    ) -> Iterator[tuple[int, Result]]:
        """Runs a function over tasks and yields (task number, result) as they are done.

        Args:
            function: What to run; it and the tasks must pickle.
            tasks: Its arguments.
            title: Stands before the progress bar; None shows none.
            weights: Images in each task, which the bar counts; 1 each by default.
            ordered: Whether results come in the order of the tasks, not as they are done.

        Yields:
            Number of the task and what the function returned.

        Raises:
            UsageError: `dask` without a scheduler's address.
            DependencyError: Dask is not installed.
            MissingError: No scheduler answers there, or no worker comes.
            WorkerError: A worker died.
        """
        sizes = weights or [1] * len(tasks)
        with bar(title, sum(sizes)) if title is not None else nullcontext() as shown:
            for number, result in self._results(function, tasks, ordered):
                if shown is not None:
                    shown.update(sizes[number])
                yield number, result

    def _results(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], ordered: bool
    ) -> Iterator[tuple[int, Result]]:
        if not tasks or (self.backend == "loky" and min(self.workers, len(tasks)) <= 1):
            for number, task in enumerate(tasks):
                yield number, function(task)
            return
        from joblib import Parallel, delayed

        call = partial(_call, self.lock, function)
        with self._processes(len(tasks)):
            form = "generator" if ordered else "generator_unordered"
            parallel = Parallel(return_as=form, pre_dispatch="2*n_jobs")
            with _shielded_children():
                results = parallel(delayed(call)(number, task) for number, task in enumerate(tasks))
            try:
                yield from results
            except BrokenExecutor as error:
                raise WorkerError(
                    "a worker process has died, perhaps killed for memory: try again with fewer "
                    f"--workers ({str(error).splitlines()[0]})"
                ) from None

    @contextmanager
    def _processes(self, tasks: int) -> Iterator[None]:
        """Says to joblib where the work of a block is done."""
        from joblib import parallel_config

        if self.backend == "loky":
            jobs = min(self.workers, tasks)
            _started.set()
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
        log.info("%s: connecting to the Dask scheduler", self.scheduler)
        try:
            client = connect(self.scheduler)
        except (OSError, ValueError) as error:
            raise MissingError(f"{self.scheduler}: no Dask scheduler answers ({error}).") from None
        with client:
            _wait_for_workers(client, self.scheduler)
            with parallel_config("dask"):
                yield


def in_chunks(
    function: Callable[[Sequence[Item]], Result],
    items: Sequence[Item],
    workers: int | None = None,
    *,
    title: str | None = None,
    chunk: int = _CHUNK,
    shared: bool = False,
) -> Iterator[Result]:
    """Yields what a function makes of each chunk of many small items, in order.

    Args:
        function: Takes some items; it and its results must pickle.
        items: All items.
        workers: Processes; all available CPUs if None. Few items stay in this process.
        title: As for `Pool.map`.
        chunk: Items in a task.
        shared: Whether ranks share the chunks out; all must ask, and each gets every result.

    Raises:
        UsageError: Fewer than one worker.
    """
    chunks = [items[start : start + chunk] for start in range(0, len(items), chunk)]
    own = own_items(chunks) if shared else chunks
    pool = Pool(min(worker_count(workers), max(1, len(own) // 4)))
    results = (
        result for _, result in pool.map(function, own, title, list(map(len, own)), ordered=True)
    )
    if not shared or world() == 1:
        yield from results
        return
    parts = gather(list(results))
    yield from (parts[i % world()][i // world()] for i in range(len(chunks)))


def dismiss() -> None:
    """Lets joblib's worker processes go, which else wait for more work until Python ends."""
    if _started.is_set():
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor(reuse=True).shutdown(wait=True)
        _started.clear()


def _wait_for_workers(client: Any, scheduler: str) -> None:
    """Waits until a Dask cluster has a worker: they may be started after the command."""
    if client.ncores():
        return
    start = f"start one with `dask worker {scheduler}`"
    log.info("%s: has no worker yet; waiting up to %.0f s (%s)", scheduler, _ARRIVAL, start)
    try:
        client.wait_for_workers(1, timeout=_ARRIVAL)
    except TimeoutError:
        raise MissingError(
            f"{scheduler}: no worker has come within {_ARRIVAL:.0f} s: {start}, then run the same "
            "command again."
        ) from None


def _call(
    lock: Path | None, function: Callable[[Task], Result], number: int, task: Task
) -> tuple[int, Result]:
    """Runs one task; a new run waits for the lock before it writes anything."""
    with nullcontext() if lock is None else share(lock):
        return number, function(task)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Python processes that start inside do not warn of locks that others have left.

    The trackers of multiprocessing and joblib remove such locks, which is their task, and warn of
    it: after a run that was stopped while a worker began, the user would read of leaks.
    """
    name = "PYTHONWARNINGS"
    before = os.environ.get(name)
    own = "ignore:resource_tracker:UserWarning"
    os.environ[name] = f"{before},{own}" if before else own
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _shielded_children() -> Iterator[None]:
    """Processes that joblib starts inside never see Ctrl-C, not even while they import.

    The terminal sends it to all of them, and each would print a traceback. They inherit the
    blocked signal; in this process it waits until the block ends and is then raised as usual.
    """
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as joblib_tracker

    # both would start with the first worker, and unblock the signal when they do
    with _without_warnings():
        resource_tracker.ensure_running()
        joblib_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(parent: int) -> None:
    """Sets a worker up: it ignores Ctrl-C, and ends when its main process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # for those that joblib starts later on

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)  # nobody is left to hear of an exception

    threading.Thread(target=watch, daemon=True).start()
