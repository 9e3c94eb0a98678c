"""Logging and progress: libraries log, the command line decides what is shown and where."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

Row = TypeVar("Row")

ROOT = "imagenets"
"""Every module logs to `logging.getLogger(__name__)`, so below this name."""


class _Handler(logging.Handler):
    """Writes lines to stderr, above any progress bar; warnings and errors say so."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + record.getMessage(), file=sys.stderr)


def setup(level: int = logging.INFO, file: Path | None = None) -> None:
    """Sends what the library logs to stderr, and to a file if given; for the command line.

    Args:
        level: What is shown: `logging.DEBUG`, `INFO` or `WARNING`.
        file: Gets everything from DEBUG on, with times, appended.
    """
    root = logging.getLogger(ROOT)
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    shown = _Handler(level)
    root.addHandler(shown)
    root.setLevel(level)
    if file is not None:
        kept = logging.FileHandler(file, encoding="utf-8")
        kept.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(kept)
        root.setLevel(logging.DEBUG)


def show_warnings_alone() -> None:
    """Shows no more than warnings from now on, and no bars: for all ranks but the first."""
    for handler in logging.getLogger(ROOT).handlers:
        if isinstance(handler, _Handler):
            handler.setLevel(max(handler.level, logging.WARNING))


def progress(
    rows: Iterable[Row], what: str, total: int | None = None, *, unit: str = "batch", first: int = 0
) -> Iterator[Row]:
    """Shows a bar over some rows on a terminal, nothing elsewhere; `first` were there before.

    Inside `watched` nothing is shown: who watches is told of each row.
    """
    if _watchers:
        watcher = _watchers[-1]
        watcher.begin(what, total, first)
        for row in rows:
            yield row
            watcher.passed(row)
        return
    with bar(what, total, unit=unit, initial=first) as shown:
        for row in rows:
            yield row
            shown.update()


class Watcher(Protocol):
    """Who is told of the loops that show their progress."""

    def begin(self, what: str, total: int | None, first: int) -> None:
        """A loop begins; `first` of its `total` rows were there before."""

    def passed(self, row: object) -> None:
        """A row of it is done."""


_watchers: list[Watcher] = []


@contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tells a watcher of all loops that show their progress within the block, in its stead."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def bar(what: str, total: int | None = None, *, unit: str = "image", **more: Any) -> Any:
    """A progress bar on stderr, where that is a terminal and not asked to be quiet.

    Args:
        what: Stands before the bar.
        total: Number of units.
        unit: What is counted.
        more: Further arguments of `tqdm.tqdm`.

    Returns:
        A `tqdm.tqdm`, to be used in a `with`.
    """
    from tqdm import tqdm

    handlers = [h for h in logging.getLogger(ROOT).handlers if isinstance(h, _Handler)]
    shown = all(handler.level <= logging.INFO for handler in handlers)
    settings: dict[str, Any] = {"leave": False, "dynamic_ncols": True, "file": sys.stderr}
    settings |= {"disable": None if shown else True, **more}
    return tqdm(desc=what, total=total, unit=unit, **settings)


def duration(seconds: float) -> str:
    """Such as `12 s`, `3.4 min`, `5.6 h` or `7.8 days`."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} s"
