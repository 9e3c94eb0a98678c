"""Compiled functions: kept on disk, by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import pytest

from imagenets.core import jit
from imagenets.core.jit import compiled, compiled_for
from imagenets.core.lock import FileLock


def double(x: int) -> int:
    return 2 * x


def triple(x: int) -> int:
    return 3 * x


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
        assert not function.dispatcher.stats.cache_hits
    again: Any = compiled_for((numba.types.int64,), calls=[module])(double)
    assert again(4) == 8
    assert again.dispatcher.stats.cache_hits


def test_nothing_is_compiled_before_the_first_call(folder: Path) -> None:
    function: Any = compiled_for((numba.types.int64,))(double)
    assert "dispatcher" not in vars(function)
    assert not list(folder.rglob("*.nbc"))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(function, range(8))) == [2 * i for i in range(8)]
    with pytest.raises(TypeError):
        function("a")


def test_compiled_functions_call_those_of_fixed_types(folder: Path) -> None:
    callee: Any = compiled_for((numba.types.int64,))(double)

    def quadruple(x: int) -> int:
        return callee(callee(x))

    caller: Any = compiled_for((numba.types.int64,))(quadruple)
    assert caller(3) == 12


def test_whoever_keeps_code_waits_for_the_others(folder: Path) -> None:
    function = compiled(double)
    place = Path(function._cache.cache_path)  # type: ignore[attr-defined]
    with ThreadPoolExecutor() as pool:
        lock = FileLock(place / "imagenets.lock")
        assert lock.acquire()
        waiting = pool.submit(function, 21)
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        lock.release()
        assert waiting.result(60) == 42


@pytest.mark.slow
def test_a_lock_that_stays_held_costs_the_cache_alone(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The wait is told, ends, and is not repeated for every function."""
    first, second = compiled(double), compiled(triple)
    lock = FileLock(Path(first._cache.cache_path) / "imagenets.lock")  # type: ignore[attr-defined]
    assert lock.acquire()
    with ThreadPoolExecutor(1) as pool, caplog.at_level(logging.INFO):
        start = time.monotonic()
        assert pool.submit(first, 21).result(60) == 42
        assert pool.submit(second, 21).result(60) == 63
        assert 5 <= time.monotonic() - start < 20
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert f"delete {lock.path}" in caplog.text
    assert not list(folder.rglob("*.nbc"))
    lock.release()


@pytest.mark.parametrize("old", ["imagenets.lock", "imagenets.lock.soft"])
def test_where_there_is_no_flock_an_old_lock_is_no_obstacle(
    folder: Path, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    function = compiled(double)
    place = Path(function._cache.cache_path)  # type: ignore[attr-defined]
    place.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    lock = FileLock(place / "example")
    assert lock.acquire()
    facts = json.loads(lock.soft.read_bytes())
    lock.release()
    (place / old).write_text(json.dumps({**facts, "pid": gone.pid}) if "soft" in old else "")
    start = time.monotonic()
    assert function(21) == 42
    assert time.monotonic() - start < 5
    assert len(list(folder.rglob("*.nbc"))) == 1


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


def run_once(cache: Path, place: Path, factor: int = 2) -> str:
    """What a process says on stderr that compiles one function, for two types."""
    (place / "times.py").write_text(
        "from imagenets.core.jit import compiled\n\n"
        f"def times(x):\n    return {factor} * x\n\n"
        f"f = compiled(times)\nassert f(2) == {2 * factor}\nassert f(2.0) == {2.0 * factor}\n"
    )
    call = [sys.executable, str(place / "times.py")]
    env = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(call, env=env, check=True, capture_output=True, text=True)
    return done.stderr


def test_compiling_is_told_once(tmp_path: Path) -> None:
    """With where the code is kept; by one of those that start together; after a change again."""
    cache = tmp_path / "cache"
    said = run_once(cache, tmp_path)
    assert said.count("compiling loops for this machine") == 1
    assert str(cache) in said
    assert run_once(cache, tmp_path) == ""
    assert run_once(cache, tmp_path, 31) == ""  # told just now
    (mark,) = cache.rglob("compilation-was-told")
    os.utime(mark, (0, 0))
    assert "compiling loops" in run_once(cache, tmp_path, 417)


def test_where_nothing_can_be_kept_the_remedy_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: Any) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(jit, "_LockedCache", none)
    monkeypatch.setattr(jit, "_told", [])
    assert compiled(triple)(2) == 6
    assert compiled(double)(2) == 4
    (record,) = caplog.records
    assert "Set NUMBA_CACHE_DIR" in record.message
