"""Checkpoints of training: written in one step, read without unpickling anything but tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagenets.core.files import atomic
from imagenets.errors import CorruptError, MissingError
from imagenets.models.checkpoints import read_checkpoint

NAME = "checkpoint.pt"
"""What a trained stage leaves in its folder."""


def save(path: Path, value: dict[str, Any]) -> None:
    """Writes a checkpoint; a kill while it is written leaves the one before."""
    with atomic(path) as part, part.open("wb") as file:
        torch.save(value, file)


def load(path: Path, device: torch.device, stage: str) -> dict[str, Any]:
    """Reads a checkpoint of a stage.

    Raises:
        MissingError: It is not there.
        CorruptError: It cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"{path}: not there. Run the step {stage!r} first (--stages).")
    try:
        return read_checkpoint(path, device)
    except CorruptError as error:
        raise CorruptError(f"{error} Delete it; the step {stage!r} then starts anew.") from error


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors: of their names, types, shapes and values, whatever file they lie in."""
    found = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
