"""Compiling ahead of the first use, beside `imagenets-prepare`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagenets.api import warm

USE = """
import logging, sys
import numpy as np, torch
logging.basicConfig(level=logging.WARNING)
from imagenets import masks
from imagenets.data.augment import ViewGroup, apply_groups, draw_groups
from imagenets.evaluation.metrics import Evaluator
ids = np.zeros((9, 7), np.uint16)
ids[3:] = 2
evaluator = Evaluator(3)
evaluator.update(masks.decode(masks.encode(ids)), ids)
evaluator.update(torch.from_numpy(ids.astype(np.int64)), torch.from_numpy(ids.astype(np.int64)))
evaluator.compute()
pictures = torch.zeros(2, 3, 40, 30, dtype=torch.uint8)
sizes = torch.tensor([[30, 40], [30, 40]])
params = draw_groups(sizes, [ViewGroup(2, 16, (0.2, 1.0))], torch.Generator().manual_seed(0))
apply_groups(pictures, params, "cpu")
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_after_it_nothing_is_left_to_compile(cache: Path) -> None:
    assert _told(), "without it something is compiled, and said"
    for kept in cache.rglob("*.nb?"):
        kept.unlink()
    # as `python -m imagenets.api.warm` does, but at a priority that a busy machine leaves time for
    work = "from imagenets.api import warm; warm.compile_all()"
    subprocess.run([sys.executable, "-c", work], check=True)
    assert not _told()
    assert warm._is_done()


KILLED = """
import subprocess, time
from imagenets.api import warm
popen = subprocess.Popen
def start(*args, **options):
    child = popen(*args, **options)
    print(child.pid, flush=True)
    return child
subprocess.Popen = start
with warm.warming():
    time.sleep(600)
"""


def is_alive(process: int) -> bool:
    """Whether there is such a process that has not ended; one that nobody has buried has."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_it_ends_when_what_started_it_is_killed(cache: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    patience = time.monotonic() + 60
    while is_alive(child) and time.monotonic() < patience:
        time.sleep(0.05)
    assert not is_alive(child)


def test_it_ends_with_the_work_and_is_not_started_twice(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: int) -> subprocess.Popen[bytes]:
        started.append(popen([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(KeyError), warm.warming():
        raise KeyError
    assert started[0].returncode is not None
    warm._mark().write_text(warm._state())
    with warm.warming():
        pass
    assert len(started) == 1


def test_a_change_of_the_package_starts_it_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = cache / "package" / "__init__.py"
    file.parent.mkdir()
    file.touch()
    monkeypatch.setattr(warm.imagenets, "__file__", str(file))
    warm._mark().write_text(warm._state())
    assert warm._is_done()
    file.write_text("changed = 1")
    assert not warm._is_done()


def _told() -> bool:
    """Whether a process that loads, augments and scores says that it compiles."""
    found = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=True)
    return "compiling loops" in found.stderr
