"""Compiled functions: kept on disk, by one process at a time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import pytest
from filelock import FileLock

from imagenets.core.jit import compiled, compiled_for


def double(x: int) -> int:
    return 2 * x


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


def test_the_code_is_kept_and_found_again(folder: Path) -> None:
    assert compiled(double)(21) == 42
    assert len(list(folder.rglob("*.nbc"))) == 1
    again = compiled(double)
    assert again(4) == 8
    assert again.stats.cache_hits  # type: ignore[attr-defined]


def test_what_it_calls_in_other_files_counts(folder: Path) -> None:
    other = folder / "called.py"
    for content in ("x = 1", "x = 2"):
        other.write_text(content)
        module = ModuleType("called")
        module.__file__ = str(other)
        function: Any = compiled_for((numba.types.int64,), calls=[module])(double)
        assert function(21) == 42
        assert not function.stats.cache_hits
    assert compiled_for((numba.types.int64,), calls=[module])(double).stats.cache_hits  # type: ignore[attr-defined]


def test_whoever_keeps_code_waits_for_the_others(folder: Path) -> None:
    function = compiled(double)
    place = Path(function._cache.cache_path)  # type: ignore[attr-defined]
    with ThreadPoolExecutor() as pool:
        with FileLock(place / "imagenets.lock"):
            waiting = pool.submit(function, 21)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        assert waiting.result(60) == 42


def test_without_a_folder_it_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise RuntimeError("no locator available")

    monkeypatch.setattr("imagenets.core.jit._LockedCache", none)
    assert compiled(double)(21) == 42


def test_a_full_disk_costs_the_cache_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.core.caching.FunctionCache.save_overload", full)
    assert compiled(double)(21) == 42
    assert not list(folder.rglob("*.nbc"))


@pytest.mark.slow
def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from imagenets.pixels.png_filters import unfilter\n"
        "ids = np.empty((1, 2), np.uint16)\n"
        "assert unfilter(np.array([[1, 3, 2, 0, 1, 1, 0]], np.uint8), ids)\n"
        "assert ids.tolist() == [[515, 772]]"
    )
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    started = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait() for process in started] == [0, 0]
