"""When a checkpoint is due: every so often, and when a signal asks for one."""

from __future__ import annotations

import logging
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from imagenets.core import distributed
from imagenets.errors import UsageError

log = logging.getLogger(__name__)

Row = TypeVar("Row")

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class SaveEvery:
    """How often a checkpoint is written while a stage is at work.

    Attributes:
        seconds: After so many, at the end of a step; None: steps count.
        steps: After so many; None: time counts.
    """

    seconds: float | None
    steps: int | None = None

    @classmethod
    def parse(cls, text: str) -> SaveEvery:
        """Reads `10m`, `30s`, `2h` or `200steps`.

        Args:
            text: A number above 0, then s, m, h, step or steps; a number of steps is whole.

        Returns:
            How often to save, in seconds or in steps.

        Raises:
            UsageError: The text is none of these, or the number is 0.
        """
        found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|m|h|steps?)", text.strip())
        number, unit = (float(found[1]), found[2]) if found else (0.0, "")
        whole = number.is_integer() or unit in _UNITS
        if found is None or not number or not whole:
            raise UsageError(
                f"--save-every {text}: give a time or a number of steps above 0, "
                "such as 30s, 10m, 2h or 200steps."
            )
        return cls(number * _UNITS[unit]) if unit in _UNITS else cls(None, int(number))


TEN_MINUTES = SaveEvery(600.0)
"""How often, unless said otherwise."""


class _StopError(BaseException):
    """The work ends here, since a signal asked for it; never leaves this module."""


class SavePoints:
    """Saves what a loop has done: every so often, and when a signal asks for it.

    In a `with` block SIGUSR1 asks for a checkpoint at the end of the step under way, after which
    the loop goes on; SIGTERM and SIGINT (Ctrl-C) ask for one and then for the end: the signal is
    raised once more, and does what it did before the block. A second one does so at once.

    A loop that waits for its next batch has nothing under way: it is saved and ended without
    waiting, and so it is when no batch comes because of an error.

    Args:
        every: How often to save.
        save: Writes down what was done up to the last step that was passed.
    """

    def __init__(self, every: SaveEvery, save: Callable[[], None]) -> None:
        self._every = every
        self._save = save
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}
        self._asked = False
        self._ending: int | None = None
        self._waits = False  # nothing is under way
        self._steps, self._time = 0, time.monotonic()  # since the last save

    def __enter__(self) -> Self:
        for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            _handle(number, self._take, self._before)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
        if self._waits and self._steps:
            self.save()
        if self._ending is None or not (
            error is None or self._waits or isinstance(error, _StopError)
        ):
            return
        log.info("%s: all steps up to here are saved", signal.Signals(self._ending).name)
        signal.raise_signal(self._ending)
        raise SystemExit(128 + self._ending)  # whoever took the signal before let it pass

    def waiting(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Gives the rows of a loop; a signal that ends the work does not wait for the next one.

        Args:
            rows: What the loop runs over, such as batches.

        Yields:
            The same rows.

        Raises:
            BaseException: `_StopError`, when SIGTERM or SIGINT came; only the `with` block takes
                it, which saves and raises the signal once more. Several ranks stop in `passed`.
        """
        coming = iter(rows)
        while True:
            self._waits = distributed.world() == 1  # ranks stop together, in `passed`
            if self._waits and self._ending is not None:
                raise _StopError
            try:
                row = next(coming)
            except StopIteration:
                self._waits = False
                return
            self._waits = False
            yield row

    def passed(self) -> None:
        """Ends a step: saves when that is due, and stops when that was asked for.

        Several ranks call it together, and do what any of them is asked for.

        Raises:
            BaseException: `_StopError`, when SIGTERM or SIGINT came to any rank; only the `with`
                block takes it, which raises the signal once more.
        """
        self._steps += 1
        save, end = self._agreed(self._is_due(), self._ending is not None)
        if save or end:
            self.save()
        if end:
            self._ending = self._ending or signal.SIGTERM  # of another rank
            raise _StopError

    def save(self) -> None:
        """Saves now, and counts from here on."""
        asked, self._asked = self._asked, False
        self._save()
        self._steps, self._time = 0, time.monotonic()
        if asked:
            log.info("SIGUSR1: all steps up to here are saved")

    def _is_due(self) -> bool:
        if self._asked:
            return True
        if self._every.steps is not None:
            return self._steps >= self._every.steps
        assert self._every.seconds is not None
        return time.monotonic() - self._time >= self._every.seconds

    def _agreed(self, save: bool, end: bool) -> tuple[bool, bool]:
        """What all ranks do after this step: what any of them asks for; one rank asks itself."""
        save, end = distributed.any_rank(save, end)
        return save, end

    def _take(self, number: int, _: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a forked worker: it has nothing to save
            if number != signal.SIGUSR1:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
        elif number == signal.SIGUSR1:
            self._asked = True
        elif self._ending is not None:
            self._restore()
            signal.raise_signal(number)
        else:
            self._ending = number
            if self._waits:
                raise _StopError

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()


@contextmanager
def heed_warnings() -> Iterator[None]:
    """Lets SIGUSR1 pass where no loop takes it: what is there is kept anyway, and work goes on.

    Outside the main thread, and where the signal is ignored, nothing changes.

    Returns:
        A context manager; at the end of its block the signal does what it did before.
    """
    before: dict[int, Any] = {}
    _handle(signal.SIGUSR1, lambda *_: None, before)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(
    number: int, handler: Callable[[int, FrameType | None], None], before: dict[int, Any]
) -> None:
    """Takes a signal and notes who had it; not what is ignored, nor outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(number) is signal.SIG_IGN:
        return
    had = signal.signal(number, handler)
    before[number] = signal.SIG_DFL if had is None else had
