"""What each stage of a run was done on: `made-on.json`. The ledger holds none of it."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from imagenets.core.distributed import world
from imagenets.core.files import write_json
from imagenets.errors import CorruptError

MADE_ON = "made-on.json"
"""Stage -> device, ranks and versions that it ended with."""

_PACKAGES = ("imagenets", "torch", "numpy", "numba")


def note_machine(out: Path, stage: str, device: torch.device) -> None:
    """Writes down what a stage of a run was done on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    what = {"device": f"{device.type} ({name})", "ranks": world(), "versions": versions()}
    write_json(out / MADE_ON, read_object(out / MADE_ON) | {stage: what})


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that decide numbers."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of a run; empty where there is no such file.

    Raises:
        CorruptError: It cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptError(f"{path}: not readable ({error}). Delete it, and run again.") from error
    if not isinstance(found, dict):
        raise CorruptError(f"{path}: holds no JSON object. Delete it, and run again.")
    return found
