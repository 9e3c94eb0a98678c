"""Commands without the rights of root, who passes over all permissions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = os.geteuid() == 0
_SETPRIV = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]

needs_unprivileged = pytest.mark.skipif(
    _ROOT and shutil.which("setpriv") is None, reason="root passes over permissions; no setpriv"
)


def run(
    *words: str, module: str = "imagenets", code: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a process of its own that permissions hold for.

    Args:
        words: What follows `python -m <module>`, or the arguments of `code`.
        module: What is run.
        code: Python to run instead.
        variables: Set in its environment.
    """
    program = ["-c", code] if code else ["-m", module]
    # the package as this process imports it, wherever that is
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    return subprocess.run(
        [*(_SETPRIV if _ROOT else []), sys.executable, *program, *words],
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
