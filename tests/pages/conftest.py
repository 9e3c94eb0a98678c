"""A run that was never trained, which the pages are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_run import make_run


@pytest.fixture(scope="session")
def made(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a scored run. Tests must not write into it."""
    return make_run(tiny_root, tmp_path_factory.mktemp("made") / "run")
