"""Who fills the buffers: this thread, threads, or processes. All take `Task` and answer `Done`."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from imagenets.data.loader.task import Decoder, Done, Task
from imagenets.errors import ImageNetSError

_PATIENCE = 5.0
"""Seconds that a worker is given to end by itself."""


class WorkerPool(Protocol):
    """Fills buffers; work is answered in any order."""

    def submit(self, task: Task) -> None:
        """Hands over a part of a batch."""

    def done(self) -> Done:
        """Waits for the next part that is done.

        Raises:
            ImageNetSError: A worker is dead.
        """

    def check(self) -> None:
        """Looks at the workers, without waiting.

        Raises:
            ImageNetSError: A worker is dead.
        """

    def close(self) -> None:
        """Lets the workers go. A second call does nothing."""


def make_pool(decoder: Decoder, workers: int, backend: str, method: str | None) -> WorkerPool:
    """Starts what decodes: this thread, threads, or processes."""
    if not workers:
        return Inline(decoder)
    if backend == "threads":
        return Threads(decoder, workers)
    return Processes(decoder, workers, method)


class Inline:
    """Works in the calling thread, when asked for results."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._tasks: deque[Task] = deque()

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def done(self) -> Done:
        return self._decoder(self._tasks.popleft())

    def check(self) -> None:
        pass

    def close(self) -> None:
        self._tasks.clear()


class Threads:
    """Works in threads: no start-up, no copy of the data set, but one interpreter for all."""

    def __init__(self, decoder: Decoder, count: int) -> None:
        self._decoder = decoder
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(count, "imagenets-loader")
        self._done: queue.SimpleQueue[Done] = queue.SimpleQueue()

    def submit(self, task: Task) -> None:
        self._pool.submit(self._decode, task)

    def done(self) -> Done:
        return self._done.get()

    def check(self) -> None:
        pass

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _decode(self, task: Task) -> None:
        if not hasattr(self._own, "decoder"):  # buffers are a thread's own
            self._own.decoder = Decoder(self._decoder.dataset, self._decoder.crop)
        self._done.put(self._own.decoder(task))


class Processes:
    """Works in processes, which share no lock with this one and go when it does."""

    def __init__(self, decoder: Decoder, count: int, method: str | None) -> None:
        context: Any = multiprocessing.get_context(method)
        tasks_out, self._tasks = context.Pipe(duplex=False)
        self._answers, answers_in = context.Pipe(duplex=False)
        self._locks = (context.Lock(), context.Lock())  # go when nobody here holds them
        ours = (self._tasks, self._answers)
        given = (decoder, tasks_out, answers_in, *self._locks, ours)
        self._workers = [
            context.Process(target=_serve, args=given, daemon=True) for _ in range(count)
        ]
        for worker in self._workers:
            worker.start()
        self._sentinels = [worker.sentinel for worker in self._workers]
        self._begun = False  # whether any part was ever answered
        self._spawns = context.get_start_method() != "fork"
        tasks_out.close()
        answers_in.close()
        self._end = weakref.finalize(self, _dismiss, self._workers, *ours)

    def submit(self, task: Task) -> None:
        try:
            self._tasks.send(task)
        except BrokenPipeError:
            raise self._dead() from None

    def done(self) -> Done:
        while True:
            ready = wait([self._answers, *self._sentinels])
            self._raise_if_dead(ready)
            if self._answers in ready:
                try:
                    answer: Done = self._answers.recv()
                except EOFError:
                    raise self._dead() from None
                self._begun = True
                return answer

    def check(self) -> None:
        self._raise_if_dead(wait(self._sentinels, timeout=0))

    def close(self) -> None:
        self._end()

    def _raise_if_dead(self, ready: Sequence[Any]) -> None:
        """A death is told before any answer: others may go on for hundreds of batches."""
        if any(sentinel in ready for sentinel in self._sentinels):
            raise self._dead()

    def _dead(self) -> ImageNetSError:
        for worker in self._workers:
            worker.join(0.1)
        codes = [str(worker.exitcode) for worker in self._workers if worker.exitcode is not None]
        for worker in self._workers:  # they may wait for what the dead one holds
            worker.kill()
        self.close()
        if self._spawns and not self._begun:
            return ImageNetSError(
                f"a worker of the loader has died as it began (exit code {', '.join(codes)}). "
                "Workers that are spawned import the script anew: put what it does below "
                '`if __name__ == "__main__":`.'
            )
        return ImageNetSError(
            f"a worker of the loader has died (exit code {', '.join(codes)}; -9 is what the system "
            "does to processes when memory runs out). Use fewer workers or smaller batches."
        )


def _serve(
    decoder: Decoder,
    tasks: Connection,
    answers: Connection,
    taking: Any,
    answering: Any,
    own: tuple[Connection, ...],
) -> None:
    """Runs in a worker process: leaves Ctrl-C, and SIGUSR1 that asks for a checkpoint, to the main
    process, and ends when that is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    for connection in own:  # a fork holds the ends of the main process, too, and would keep them
        connection.close()
    main = multiprocessing.parent_process()
    assert main is not None
    try:
        while True:
            with taking:
                if tasks not in wait([tasks, main.sentinel]):
                    return
                task = tasks.recv()
            answer = decoder(task)
            with answering:
                answers.send(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _dismiss(workers: list[Any], tasks: Connection, answers: Connection) -> None:
    tasks.close()  # the end of the tasks ends the workers
    answers.close()
    for worker in workers:
        worker.join(_PATIENCE)
        if worker.is_alive():
            worker.kill()
            worker.join()
        worker.close()
