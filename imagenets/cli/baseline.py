"""`imagenets-baseline`: the door to the verbs that train, score and show the LUSS baseline."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from imagenets.cli.main import run_verbs

VERBS = ("train", "config", "predict", "score", "report", "submit", "clean")
"""Those of the tree that are about a run of training."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    about = "PASS, the baseline of ImageNet-S, on a prepared set."
    return run_verbs("imagenets-baseline", about, VERBS, words)
