"""What benchmarks share that `figures.py` reads: with --json, numbers alone on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout

Figures = Mapping[str, Sequence[float]]
"""Name -> what each round gave."""


def told(work: Callable[[], Figures], only_numbers: bool) -> None:
    """Runs a benchmark that prints lines; with --json they go to stderr, and its figures here."""
    if not only_numbers:
        work()
        return
    with redirect_stdout(sys.stderr):
        found = work()
    print(json.dumps(found, indent=1))
