"""Classes by their WordNet ids: those of ILSVRC, ranks among them, the folders named after them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

WNID = "n[0-9]{8}"
"""Pattern of a WordNet id, for patterns of which it is a part."""

_WNID = re.compile(WNID)


def is_wnid(name: str | bytes) -> bool:
    """Whether a name is a WordNet id: n and eight digits."""
    return _WNID.fullmatch(os.fsdecode(name)) is not None


def class_folders(path: Path, known: Collection[str] | None = None) -> list[str]:
    """Finds the class folders in a folder; other folders are told once, in a warning.

    Args:
        path: The folder, such as a split of a tree.
        known: The classes that count; None: all that are WordNet ids.

    Returns:
        Their names, sorted.

    Raises:
        OSError: The folder cannot be listed.
    """
    with os.scandir(path) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir())
    found = [name for name in folders if (is_wnid(name) if known is None else name in known)]
    if len(found) < len(folders):
        _tell(path, tuple(sorted(set(folders) - set(found))))
    return found


@cache
def _tell(path: Path, strangers: tuple[str, ...]) -> None:
    shown = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
    log.warning("%s: %d folders name no class and are left out: %s", path, len(strangers), shown)


@cache
def ilsvrc_classes() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ILSVRC 2012, sorted: the rank is the ImageNet-1k label."""
    text = files("imagenets").joinpath("ilsvrc_classes.txt").read_text("ascii")
    return tuple(text.split())


def ranks(classes: Sequence[str], wnids: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int16]:
    """Rank of each WordNet id among classes.

    Args:
        classes: Sorted and distinct; at least one.
        wnids: Bytes array.

    Returns:
        int16 ranks from 0, -1 for what is none of the classes.
    """
    known = np.array(classes, np.bytes_)
    found = np.searchsorted(known, wnids).clip(0, len(known) - 1)
    found[known[found] != wnids] = -1
    return found.astype(np.int16)
