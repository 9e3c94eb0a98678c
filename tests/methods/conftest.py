"""A finished run, which the tests of its stages look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_run import job, run_stages

from imagenets.methods.pass_ import STAGES


@pytest.fixture(scope="session")
def finished(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small run, all stages done. Tests must not change what stages left."""
    out = tmp_path_factory.mktemp("finished")
    run_stages(job(tiny_root, out), *STAGES)
    return out
