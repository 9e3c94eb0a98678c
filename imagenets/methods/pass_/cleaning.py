"""What a finished run no longer needs: found, measured, removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from imagenets.core import lock
from imagenets.core.files import PART
from imagenets.errors import UsageError
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.label_files import STAGE as LABELS
from imagenets.methods.pass_.presets import TRAINED
from imagenets.training import checkpoints
from imagenets.training.ledger import Ledger
from imagenets.training.stage import REPLACED

_KINDS = {
    "what was made anew, as it was before": (f"{REPLACED}/*",),
    "checkpoints on the way": tuple(f"{name}/checkpoint-*" for name in TRAINED),
    "features and restarts of k-means": ("cluster/features*", "cluster/restarts.pt"),
    "counts of the threshold sweep": (f"{LABELS}/sweep.pt",),
    "pseudo labels": (f"{LABELS}/*.h5",),
    "unfinished files": (f"*{PART}", f"*/*{PART}"),
}
"""What is removed, and where it lies in the folder of a run."""

_STATE = "optimisers and queues in checkpoints"
_KEPT = ("state_dict", "history", "epoch")
"""What of a finished checkpoint is read later."""


@dataclass(frozen=True, slots=True)
class Removed:
    """One kind of files: what they are, how many, and their bytes."""

    what: str
    files: int
    bytes: int


def clean(out: Path, dry_run: bool = False) -> list[Removed]:
    """Removes what the stages of a finished run and its scores no longer need.

    Left are the trained networks, the centroids, the threshold, predicted masks, logs and scores.
    The ledger notes that the pseudo labels are gone, so that the run still counts as done.

    Args:
        out: The folder of the run.
        dry_run: Only look.

    Raises:
        UsageError: The run is not finished.
        BusyError: Another process is at work in the folder.
    """
    if not out.is_dir():
        raise UsageError(f"{out}: there is no such folder. Name the folder of a run (--run).")
    with lock.hold(out / ".lock", out):
        ledger = Ledger(out)
        left = [name for name in STAGES if not (entry := ledger[name]) or entry.result is None]
        if left:
            raise UsageError(
                f"{out}: this run is not finished ({', '.join(left)}), and goes on from what lies "
                "there. Finish it first: imagenets train"
            )
        found = {what: list(_matching(out, what)) for what in _KINDS}
        removed = [
            Removed(what, sum(1 for path in paths for _ in _files(path)), sum(map(_bytes, paths)))
            for what, paths in found.items()
            if paths
        ]
        states = [_strip(out / name / checkpoints.NAME, dry_run) for name in TRAINED]
        removed.append(Removed(_STATE, sum(size > 0 for size in states), sum(states)))
        if not dry_run:
            entry = ledger[LABELS]
            assert entry is not None
            ledger.put(LABELS, replace(entry, cleaned=True))
            for path in (path for paths in found.values() for path in paths):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [one for one in removed if one.bytes]


def _matching(out: Path, what: str) -> Iterator[Path]:
    for pattern in _KINDS[what]:
        yield from sorted(out.glob(pattern))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for place, _, names in os.walk(path):
            yield from (Path(place) / name for name in names)
    else:
        yield path


def _bytes(path: Path) -> int:
    return sum(file.lstat().st_size for file in _files(path))


def _strip(path: Path, dry_run: bool) -> int:
    """Leaves out of a finished checkpoint what only training went on from; returns its bytes."""
    state = checkpoints.load(path, torch.device("cpu"), path.parent.name)
    more = {name: value for name, value in state.items() if name not in _KEPT}
    if more and not dry_run:
        checkpoints.save(path, {name: state[name] for name in _KEPT})
    return checkpoints.size(more)
