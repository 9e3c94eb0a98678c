"""`imagenets info`: what is prepared below a root, its runs, and the versions of the packages."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

from imagenets import paths
from imagenets.cli.command import Verb
from imagenets.cli.options import add_json, add_root
from imagenets.errors import CorruptError

PACKAGES = ("imagenets", "torch", "numpy", "numba", "h5py", "pillow", "simplejpeg", "zlib-ng")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_root(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> None:
    root = arguments.root.expanduser()
    found = {
        "root": str(root),
        "sets": [
            _shards(folder) if folder == paths.shards(root, tier) else _tree(folder, tier)
            for tier, folders in paths.prepared(root).items()
            for folder in folders
        ],
        "runs": [_training(folder) for folder in _runs(root)],
        "versions": {"python": platform.python_version(), **_versions()},
    }
    print(json.dumps(found, indent=1) if arguments.json else _text(found))


def _runs(root: Path) -> list[Path]:
    """The folders of runs; of several seeds each."""
    folders = [path for path in sorted(paths.runs(root).glob("*")) if path.is_dir()]
    return [one for path in folders for one in (sorted(path.glob("seed-*")) or [path])]


def _shards(folder: Path) -> dict[str, Any]:
    from imagenets.data.shards import MANIFEST, Manifest

    if not (folder / MANIFEST).is_file():
        return {"folder": str(folder), "layout": "shards", "unfinished": True, "splits": {}}
    manifest = Manifest.load(folder)
    return {
        "folder": str(folder),
        "tier": manifest.tier,
        "layout": "shards",
        "classes": len(manifest.classes),
        "files": len(manifest.shards),
        "splits": {name: split.samples for name, split in manifest.splits.items()},
    }


def _tree(folder: Path, tier: str) -> dict[str, Any]:
    splits = sorted(path for path in folder.iterdir() if path.is_dir())
    masks = paths.segmentation("")
    return {
        "folder": str(folder),
        "tier": tier,
        "layout": "tree",
        "splits": {
            path.name: sum(1 for _ in path.glob("*/*.JPEG"))
            for path in splits
            if not path.name.endswith(masks)
        },
    }


def _training(folder: Path) -> dict[str, Any]:
    from imagenets.training.ledger import Ledger
    from imagenets.training.machine import read_object

    found: dict[str, Any] = {"folder": str(folder), "done": [], "begun": [], "mIoU": None}
    try:
        ledger = Ledger(folder)
        entries = {name: entry for name in ledger if (entry := ledger[name])}
        found["done"] = [name for name, entry in entries.items() if entry.result]
        found["begun"] = [name for name, entry in entries.items() if not entry.result]
        found["mIoU"] = read_object(folder / "scores.json").get("mIoU")
    except CorruptError as error:  # the others are told all the same
        found["damaged"] = str(error)
    return found


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _text(found: dict[str, Any]) -> str:
    lines = [f"{found['root']}:" if found["sets"] else f"{found['root']}: nothing is prepared here"]
    for one in found["sets"]:
        state = ", not finished" if one.get("unfinished") else ""
        lines.append(f"  {one['folder']} ({one['layout']}{state})")
        lines += [f"    {split:<12}{count:>12,} images" for split, count in one["splits"].items()]
    for run in found["runs"]:
        score = "not scored" if run["mIoU"] is None else f"mIoU {run['mIoU']:.2f}"
        lines.append(
            f"  {run['folder']} (run): {score}; done: {', '.join(run['done']) or 'nothing'}"
        )
        if run.get("damaged"):
            lines.append(f"    damaged: {run['damaged']}")
        if run["begun"]:
            lines.append(f"    begun: {', '.join(run['begun'])}")
    lines.append(", ".join(f"{name} {number or '-'}" for name, number in found["versions"].items()))
    return "\n".join(lines)


VERB = Verb(
    name="info",
    summary="show what is prepared, which runs there are, and the versions of the packages",
    description="Shows the tiers that are prepared below a root with their splits, the runs of "
    "training with what is done, and the versions of the packages. Changes nothing.",
    examples=(
        ("--root imagenet-s", "what lies there"),
        ("--json", "for machines, or for a report of a fault"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
