"""One line of progress over all stages of a run, with the time that is left."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from imagenets.core.log import bar, duration, watched

log = logging.getLogger(__name__)

EVERY = 600.0
"""Seconds between two lines of the log, where no bar is shown."""

_NAME = re.compile(r"(?P<loop>.*?)(?: (?P<epoch>\d+)/(?P<epochs>\d+))?")


class Overall:
    """How far all stages are; a `Watcher` of their loops.

    The time that is left of the loop at work follows from its own pace, that of later ones from
    the pace of all so far, by their share of the work.

    Args:
        work: Gives the name of each loop that may come -> its work, in any one unit, in their
            order; called when the first loop begins.
    """

    def __init__(self, work: Callable[[], Mapping[str, float]]) -> None:
        self._find = work
        self._work: dict[str, float] = {}
        self._done: dict[str, float] = {}
        self._loop, self._row = "", 0.0
        self._paces: dict[str, tuple[float, float]] = {}  # work and seconds of each loop
        self._last = self._told = time.monotonic()
        self._bar: Any = None

    @property
    def share(self) -> float:
        """How much of all work is done, 0..1."""
        return sum(self._done.values()) / (sum(self._work.values()) or 1.0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end, about; None before the first step."""
        work = sum(done for done, _ in self._paces.values())
        seconds = sum(taken for _, taken in self._paces.values())
        if not work or not seconds:
            return None
        left = 0.0
        for name, units in self._work.items():
            own_work, own_seconds = self._paces.get(name, (0.0, 0.0))
            pace = own_work / own_seconds if own_work and own_seconds else work / seconds
            left += (units - self._done[name]) / pace
        return left

    def begin(self, what: str, total: int | None, first: int) -> None:
        """A loop begins, such as `pretrain 3/200`; those before it are done."""
        if not self._work:
            self._work = {name: units for name, units in self._find().items() if units > 0}
            self._done = dict.fromkeys(self._work, 0.0)
        self._last = time.monotonic()
        found = _NAME.fullmatch(what)
        loop = found["loop"] if found else what
        self._loop, self._row = (loop if loop in self._work else ""), 0.0
        if not found or not self._loop or not total:
            return
        epoch, epochs = int(found["epoch"] or 1), int(found["epochs"] or 1)
        self._row = self._work[loop] / (epochs * total)
        self._done[loop] = self._row * ((epoch - 1) * total + first)
        for earlier in list(self._work)[: list(self._work).index(loop)]:
            self._done[earlier] = self._work[earlier]
        self._show(what)

    def passed(self, row: object) -> None:
        """A step of it is done."""
        before, self._last = self._last, time.monotonic()
        if self._loop:
            work, seconds = self._paces.get(self._loop, (0.0, 0.0))
            self._paces[self._loop] = (work + self._row, seconds + self._last - before)
            done = self._done[self._loop] + self._row
            self._done[self._loop] = min(done, self._work[self._loop])
            self._show()

    def _show(self, what: str | None = None) -> None:
        left = self.seconds_left
        said = "" if left is None else f"about {duration(left)} left"
        if self._bar is not None and not self._bar.disable:
            if what is not None:
                place = list(self._work).index(self._loop) + 1
                self._bar.set_description_str(f"{what} ({place} of {len(self._work)})", False)
            self._bar.set_postfix_str(said, False)
            self._bar.update(100 * self.share - self._bar.n)
            if what is not None:
                self._bar.refresh()
        elif left is not None and self._last - self._told >= EVERY:
            self._told = self._last
            log.info("%s: %.1f %% of all steps done, %s", self._loop, 100 * self.share, said)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Shows the line within a block: on a terminal; elsewhere the log tells now and then."""
        form = "{desc} {percentage:3.0f}%|{bar}|{postfix}"
        with bar("", 100, bar_format=form) as self._bar, watched(self):
            yield
