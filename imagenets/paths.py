"""Where everything of a prepared root lies: spelled here and nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SET = "ImageNetS"
_SHARDS = ".shards"
_FOLDER = re.compile(rf"{_SET}(?P<tier>.+?)(?P<shards>{re.escape(_SHARDS)})?")


def default_root() -> Path:
    """The prepared folder when none is given: IMAGENETS_ROOT, then ./imagenet-s."""
    return Path(os.environ.get("IMAGENETS_ROOT") or "imagenet-s").expanduser()


def downloads(root: Path) -> Path:
    """Lists and mask archives as they were fetched."""
    return root / "downloads"


def state(root: Path) -> Path:
    """What preparing remembers from run to run."""
    return root / ".prepare"


def export_state(folder: Path) -> Path:
    """What an export to another format remembers from run to run."""
    return folder / ".export"


def missing_list(root: Path, tier: str) -> Path:
    """The names of the images that a tier lacks."""
    return root / f"{set_name(tier)}-missing.txt"


def broken_list(root: Path, tier: str) -> Path:
    """The images of a tier that cannot be packed, and why."""
    return root / f"{set_name(tier)}-broken.txt"


def synthetic(root: Path) -> Path:
    """Raw images, lists and masks of the generated set."""
    return root / "sample-source"


def tree(root: Path, tier: str) -> Path:
    """The published folders of a tier."""
    return root / set_name(tier)


def shards(root: Path, tier: str) -> Path:
    """The shards of a tier."""
    return root / f"{set_name(tier)}{_SHARDS}"


def runs(root: Path) -> Path:
    """The training runs, one folder each."""
    return root / "runs"


def run(root: Path, tier: str) -> Path:
    """The training run of a tier, unless another folder is named."""
    return runs(root) / tier


def set_name(tier: str) -> str:
    """Name of a tier's folder and prefix of its mask archive, such as `ImageNetS919`."""
    return f"{_SET}{tier}"


def segmentation(split: str) -> str:
    """Name of the folder of a split's masks, beside the split's own."""
    return f"{split}-segmentation"


def mask_member(tier: str, split: str, name: str) -> str:
    """Where the mask of an image (`<wnid>/<stem>`) lies in the mask archive of a tier."""
    return f"{set_name(tier)}/{segmentation(split)}/{name}.png"


def parse_set(name: str) -> tuple[str, bool] | None:
    """Tier and whether it is shards, of the name of a set's folder; None for other names."""
    found = _FOLDER.fullmatch(name)
    return (found["tier"], found["shards"] is not None) if found else None


def is_own(root: Path, path: Path) -> bool:
    """Whether a path is the root, or what the root keeps for itself, or lies in that."""
    root, path = root.resolve(), path.resolve()
    if root != path and root not in path.parents:
        return False
    first = next(iter(path.relative_to(root).parts), "")
    kept = (downloads(root), state(root), runs(root), synthetic(root))
    return not first or root / first in kept or parse_set(first) is not None


def prepared(root: Path) -> dict[str, list[Path]]:
    """The sets that lie below a root, tier -> folders (tree, shards), by name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.glob(f"{_SET}*")):
        if path.is_dir() and (parsed := parse_set(path.name)):
            found.setdefault(parsed[0], []).append(path)
    return found


def packed(root: Path) -> list[Path]:
    """The folders of shards that lie below a root, by name."""
    folders = [path for found in prepared(root).values() for path in found]
    return [path for path in folders if path.name.endswith(_SHARDS)]
