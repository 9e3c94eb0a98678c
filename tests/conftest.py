"""Sets prepared once and read by many tests."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import tiny

import imagenets
from imagenets.cli import prepare

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for torch: on small arrays threads mostly wait

SOURCES = Path(__file__).resolve().parents[1] / "imagenets"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--installed", action="store_true", help="test the installed package alone")


def pytest_configure(config: pytest.Config) -> None:
    """Refuses to test the sources where the installed package is meant, and the other way round."""
    found = Path(imagenets.__file__).parent
    if (found == SOURCES) == config.getoption("--installed"):
        meant = "the installed package" if config.getoption("--installed") else f"{SOURCES}"
        raise pytest.UsageError(f"these are tests of {meant}, Python imports {found}")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Takes Ctrl-C as in a terminal, here and in what tests start: a shell's background job,
    and what runs in it, ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    """Leaves the log as it was: commands that run in this process set it up."""
    logger = logging.getLogger("imagenets")
    handlers, level = list(logger.handlers), logger.level
    yield
    for handler in logger.handlers:
        if handler not in handlers:
            handler.close()
    logger.handlers, logger.level = handlers, level


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tier "3" of `tiny`, packed as shards. Tests must not write into it."""
    folder = tmp_path_factory.mktemp("prepared")
    world = tiny(train=8, val=4)
    raw, index = world.folders(folder / "raw"), world.index(folder / "index")
    archive = world.archive(folder)
    words = ["--split", "3", "--imagenet", raw, "--index", index, "--annotations", archive]
    root = folder / "root"
    assert prepare.main([*map(str, words), "--root", str(root), "--workers", "1"]) == 0
    return root


@pytest.fixture(scope="session")
def finished(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small run, all stages done. Tests must not change what stages left."""
    from small_run import job, run_stages  # torch: not for those who need no run

    from imagenets.methods.pass_ import STAGES

    out = tmp_path_factory.mktemp("finished")
    run_stages(job(tiny_root, out), *STAGES)
    return out
