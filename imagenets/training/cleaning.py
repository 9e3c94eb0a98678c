"""What a finished run no longer needs: found, measured, removed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from imagenets.core import lock
from imagenets.core.files import PART
from imagenets.errors import UsageError
from imagenets.training import checkpoints
from imagenets.training.ledger import Ledger
from imagenets.training.stage import REPLACED

_STATE = "optimisers and queues in checkpoints"
_KEPT = ("state_dict", "average", "history", "epoch")
"""What of a finished checkpoint is read later."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What the finished runs of a method no longer need.

    Attributes:
        verb: Of the command that finishes a run.
        stages: What a finished run has done.
        trained: Those of them that leave checkpoints.
        files: Further files: what they are -> where they lie in the folder of a run.
        given_up: Stage whose files are among these, which counts as done without them.
    """

    verb: str
    stages: tuple[str, ...]
    trained: tuple[str, ...]
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    given_up: str | None = None

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """All that is removed: what it is -> where it lies in the folder of a run."""
        return {
            "what was made anew, as it was before": (f"{REPLACED}/*",),
            "checkpoints on the way": tuple(f"{name}/checkpoint-*" for name in self.trained),
            **self.files,
            "unfinished files": (f"*{PART}", f"*/*{PART}"),
        }


@dataclass(frozen=True, slots=True)
class Removed:
    """One kind of files: what they are, how many, and their bytes."""

    what: str
    files: int
    bytes: int


def clean(out: Path, leftovers: Leftovers, dry_run: bool = False) -> list[Removed]:
    """Removes what the stages of a finished run and its scores no longer need.

    Left are the trained networks, predicted masks, logs and scores. The ledger notes of which stage
    files are gone, so that the run still counts as done.

    Args:
        out: The folder of the run.
        leftovers: Of its method.
        dry_run: Only look.

    Raises:
        UsageError: The run is not finished.
        BusyError: Another process is at work in the folder.
    """
    if not out.is_dir():
        raise UsageError(f"{out}: there is no such folder. Name the folder of a run (--run).")
    with lock.hold(out / ".lock", out):
        ledger = Ledger(out)
        done = {name for name in ledger if (entry := ledger[name]) and entry.result is not None}
        left = [name for name in leftovers.stages if name not in done]
        if left:
            raise UsageError(
                f"{out}: this run is not finished ({', '.join(left)}), and goes on from what lies "
                f"there. Finish it first: imagenets {leftovers.verb}"
            )
        found = {
            what: [path for pattern in patterns for path in sorted(out.glob(pattern))]
            for what, patterns in leftovers.kinds.items()
        }
        removed = [
            Removed(what, sum(1 for path in paths for _ in _files(path)), sum(map(_bytes, paths)))
            for what, paths in found.items()
            if paths
        ]
        states = [_strip(out / name / checkpoints.NAME, dry_run) for name in leftovers.trained]
        removed.append(Removed(_STATE, sum(size > 0 for size in states), sum(states)))
        if not dry_run:
            if leftovers.given_up is not None:
                entry = ledger[leftovers.given_up]
                assert entry is not None
                ledger.put(leftovers.given_up, replace(entry, cleaned=True))
            for path in (path for paths in found.values() for path in paths):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        return [one for one in removed if one.bytes]


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
        checkpoints.save(path, {name: state[name] for name in _KEPT if name in state})
    return checkpoints.size(more)
