"""Writes trained networks under the published names, which `checkpoints.load_weights` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from imagenets.core.files import atomic
from imagenets.errors import DependencyError, UsageError
from imagenets.models.checkpoints import plain_name
from imagenets.models.naming import PUBLISHED

SUFFIXES = (".pt", ".pth", ".tar", ".safetensors")
"""Of the files that can be written."""


def published_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a trained step under their published names, without a prefix.

    Those of the backbone stand bare; those of another library's network have its own names.

    Args:
        state: As a checkpoint of training holds it.

    Raises:
        UsageError: Two weights would have one name.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        plain = plain_name(name)
        if plain in found:
            raise UsageError(f"{name}: another weight is called {plain}, too. Rename one of them.")
        found[plain] = value.detach().cpu().contiguous()
    return found


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Writes weights whole or not at all, in the form that the end of the name says.

    `.safetensors` holds the published names bare; `.pt`, `.pth` and `.tar` are files of
    `torch.save` as published: under `state_dict`, each name with `module.` before it.

    Args:
        path: The file, which is replaced.
        state: Of `published_state`.

    Raises:
        UsageError: The name ends in something else.
        DependencyError: safetensors is not installed.
    """
    writer = _writer(path)
    with atomic(path) as part:
        writer(part, state)


def check_name(path: Path) -> None:
    """Refuses a file before the work that `write_weights` could not write; see there."""
    _writer(path)


def _writer(path: Path) -> Callable[[Path, Mapping[str, Tensor]], None]:
    if path.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise UsageError(f"{path}: the name must end in one of {known}.")
    if path.suffix != ".safetensors":
        return _write_torch
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise DependencyError(
            f"{path}: needs safetensors: pip install 'imagenets[safetensors]' (or pip install "
            "safetensors); or give a name that ends in .pt."
        ) from error

    def write(part: Path, state: Mapping[str, Tensor]) -> None:
        save_file(dict(state), part, {"format": "pt"})

    return write


def _write_torch(part: Path, state: Mapping[str, Tensor]) -> None:
    named = {f"{PUBLISHED.prefix}{name}": value for name, value in state.items()}
    torch.save({PUBLISHED.key: named}, part)
