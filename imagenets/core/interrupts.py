"""Ctrl-C is for the process that the user started, not for those it starts in turn."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def shielded_children() -> Iterator[None]:
    """Processes that joblib starts inside never see Ctrl-C, not even while they import.

    The terminal sends it to all of them, and each would print a traceback. They inherit the
    blocked signal; in this process it waits until the block ends and is then raised as usual.
    """
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as joblib_tracker

    # both would start with the first worker, and unblock the signal when they do
    resource_tracker.ensure_running()
    joblib_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
