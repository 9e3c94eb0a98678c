"""Sets prepared once and read by many tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import tiny

from imagenets.cli import prepare


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Takes Ctrl-C as in a terminal, here and in what tests start: a shell's background job,
    and what runs in it, ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
