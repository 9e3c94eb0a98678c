"""Sets prepared once and read by many tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import tiny

from imagenets.cli import prepare


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
