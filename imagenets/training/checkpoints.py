"""Checkpoints of training: written in one step, read without unpickling anything but tensors."""

from __future__ import annotations

import hashlib
import logging
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagenets.core import distributed
from imagenets.core.files import atomic, remove_parts
from imagenets.errors import CorruptError, MissingError, TrainingError
from imagenets.models.checkpoints import read_checkpoint
from imagenets.pixels.image import DECODE_ERRORS

log = logging.getLogger(__name__)

NAME = "checkpoint.pt"
"""What a trained stage leaves in its folder."""

KEPT = 2
"""How many checkpoints of a stage at work are kept, `checkpoint-<step>.pt`."""

_PARTS = frozenset({"state_dict", "optimizer", "memory", "history", "epoch"})
_MARGIN = 1 << 20  # bytes that a file takes beside its tensors, amply


class Saver:
    """The checkpoints of one stage: the last two while it is at work, `checkpoint.pt` at its end.

    Args:
        folder: Of the stage; what a killed run left half written in it is removed.
        stage: Its name, for messages.
        epochs: After how many the stage is finished.

    Attributes:
        finished: Whether the final checkpoint is known to be there.
    """

    def __init__(self, folder: Path, stage: str, epochs: int) -> None:
        self._folder = folder
        self._stage = stage
        self._epochs = epochs
        self.finished = False
        if distributed.is_first():
            remove_parts(folder)

    def newest(self, device: torch.device) -> dict[str, Any] | None:
        """The state to go on from: that of the newest checkpoint which can be read.

        An unreadable one is set aside with a word, and the one before is taken. A `checkpoint.pt`
        of an unfinished stage, which older versions left after each epoch, counts as the oldest.

        Raises:
            CorruptError: There are some, and none can be read.
        """
        faults: dict[Path, CorruptError] = {}
        found = self._try(self._folder / NAME, device, faults)
        if found is not None and found["epoch"] >= self._epochs:
            self.finished = True
            return found
        for path in self._underway():
            state = self._try(path, device, faults)
            if state is not None:
                found = state
                break
        if faults and found is None:
            said, them = " ".join(map(str, faults.values())), "it" if len(faults) == 1 else "them"
            raise CorruptError(f"{said} Delete {them}; the step {self._stage!r} then starts anew.")
        for path, fault in faults.items():
            log.warning("%s It is set aside, and the one before is taken.", fault)
            path.replace(path.with_suffix(".unreadable"))
        return found

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Writes the state after so many steps, and removes all but the last two.

        Raises:
            TrainingError: There is no room for it; what was kept before is still there.
        """
        self._write(self._folder / f"checkpoint-{step}.pt", state)
        for path in self._underway()[KEPT:]:
            path.unlink()

    def finish(self, state: dict[str, Any]) -> None:
        """Writes the final state, and removes those on the way to it.

        Raises:
            TrainingError: There is no room for it; what was kept before is still there.
        """
        self._write(self._folder / NAME, state)
        self.finished = True
        for path in self._folder.glob("checkpoint-*"):
            path.unlink()

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        needed, free = size(state) + _MARGIN, shutil.disk_usage(self._folder).free
        if free < needed:
            raise TrainingError(
                f"{path}: the checkpoint takes {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB "
                "are free. Those written before are kept: free some space and run the same "
                "command again."
            )
        save(path, state)

    def _underway(self) -> list[Path]:
        """The checkpoints of a stage at work, newest first."""
        found = {path.stem.partition("-")[2]: path for path in self._folder.glob("checkpoint-*.pt")}
        return [found[step] for step in sorted(filter(str.isdecimal, found), key=int, reverse=True)]

    def _try(
        self, path: Path, device: torch.device, faults: dict[Path, CorruptError]
    ) -> dict[str, Any] | None:
        if not path.is_file():
            return None
        try:
            return _read(path, device, _PARTS)
        except CorruptError as error:
            faults[path] = error
            return None


def save(path: Path, value: dict[str, Any]) -> None:
    """Writes a checkpoint; a kill while it is written leaves the one before.

    Raises:
        OSError: It cannot be written.
    """
    with atomic(path) as part, part.open("wb") as file:
        try:
            torch.save(value, file)
        except RuntimeError as error:  # torch tells of a full disk in words of its own
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load(path: Path, device: torch.device, stage: str) -> dict[str, Any]:
    """Reads a checkpoint of a stage.

    Raises:
        MissingError: It is not there.
        CorruptError: It cannot be read, or is not as it was written.
    """
    if not path.is_file():
        raise MissingError(f"{path}: not there. Run the step {stage!r} first (--stages).")
    try:
        return _read(path, device)
    except CorruptError as error:
        raise CorruptError(f"{error} Delete it; the step {stage!r} then starts anew.") from error


def partial(path: Path, device: torch.device, *parts: str) -> dict[str, Any] | None:
    """Reads what an interrupted stage kept of its work; None when it has to begin at the start.

    Args:
        path: The file, which need not be there.
        device: Where the tensors go.
        parts: What it holds. A file that lacks some, or cannot be read, is passed over with a word.
    """
    if not path.is_file():
        return None
    try:
        return _read(path, device, frozenset(parts))
    except CorruptError as error:
        log.warning("%s What it kept is worked out anew.", error)
        return None


def _read(path: Path, device: torch.device, parts: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Reads a checkpoint whole: torch itself does not look at the checksums of its files."""
    try:
        with zipfile.ZipFile(path) as file:
            broken = file.testzip()
    except (zipfile.BadZipFile, *DECODE_ERRORS) as error:
        raise CorruptError(f"{path}: not a readable checkpoint ({error}).") from error
    if broken is not None:
        raise CorruptError(f"{path}: not as it was written: {broken} has another checksum.")
    state = read_checkpoint(path, device)
    if lacking := sorted(parts - state.keys()):
        raise CorruptError(f"{path}: not a checkpoint of training: it lacks {', '.join(lacking)}.")
    return state


def size(value: Any) -> int:
    """Bytes of all tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(size, value.values()))
    return sum(map(size, value)) if isinstance(value, list | tuple) else 0


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: of their names, types, shapes and values, whatever file they lie in."""
    found = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
