"""Where everything of a prepared root lies: spelled here and nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

DOWNLOADS = "downloads"
"""Lists and mask archives as they were fetched."""

STATE = ".prepare"
"""What preparing remembers from run to run."""

RUNS = "runs"
"""Training runs, one folder each."""

_SET = re.compile(r"ImageNetS(?P<tier>.+?)(?P<shards>\.shards)?")


def default_root() -> Path:
    """The prepared folder when none is given: IMAGENETS_ROOT, then ./imagenet-s."""
    return Path(os.environ.get("IMAGENETS_ROOT") or "imagenet-s")


def downloads(root: Path) -> Path:
    """Lists and mask archives."""
    return root / DOWNLOADS


def state(root: Path) -> Path:
    """What preparing remembers."""
    return root / STATE


def tree(root: Path, tier: str) -> Path:
    """The published folders of a tier."""
    return root / f"ImageNetS{tier}"


def shards(root: Path, tier: str) -> Path:
    """The shards of a tier."""
    return root / f"ImageNetS{tier}.shards"


def run(root: Path, tier: str) -> Path:
    """The training run of a tier, unless another folder is named."""
    return root / RUNS / tier


def segmentation(split: str) -> str:
    """Name of the folder of a split's masks, beside the split's own."""
    return f"{split}-segmentation"


def parse_set(name: str) -> tuple[str, bool] | None:
    """Tier and whether it is shards, of the name of a set's folder; None for other names."""
    found = _SET.fullmatch(name)
    return (found["tier"], found["shards"] is not None) if found else None


def prepared(root: Path) -> dict[str, list[Path]]:
    """The sets that lie below a root, tier -> folders (tree, shards), by name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.glob("ImageNetS*")):
        if path.is_dir() and (parsed := parse_set(path.name)):
            found.setdefault(parsed[0], []).append(path)
    return found
