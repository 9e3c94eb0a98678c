"""Ctrl-C reaches the command that the user started, not its workers."""

from __future__ import annotations

import signal

import pytest
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor

from imagenets.core.interrupts import shielded_children


def blocked() -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_processes_started_inside_never_see_it() -> None:
    get_reusable_executor().shutdown(wait=True)  # none is left of an earlier test
    with shielded_children():
        results = Parallel(2, return_as="generator")(delayed(blocked)() for _ in range(4))
    assert all(results)
    assert not blocked()
    get_reusable_executor().shutdown(wait=True)


def test_it_is_raised_as_soon_as_they_are_started() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # where it is raised is what is tested
        with shielded_children():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end of the block")
        reached.append("what follows")
    assert reached == ["the end of the block"]
