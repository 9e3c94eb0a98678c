"""Folders of masks that a stage writes: where they lie, what is left to do, what is there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imagenets import masks
from imagenets.core.files import sha256, write_file, write_json

DONE = "done.json"
"""What a stage writes when all its masks are there: their number, and a digest of them."""

PREDICTS = {"validation": "predict", "test": "predict-test"}
"""Split -> the stage that predicts its masks, which lie in `<stage>/<split>/<wnid>/<stem>.png`."""


def write_mask(path: Path, ids: npt.NDArray[np.integer]) -> None:
    """Writes a mask PNG in one step; one that a power cut takes is written again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, masks.encode(ids), durable=False)


def unfinished(
    batches: Iterable[npt.NDArray[np.int64]], paths: Sequence[Path]
) -> list[npt.NDArray[np.int64]]:
    """The batches that lack a mask: whole ones, so that each is computed as before."""
    return [batch for batch in batches if not all(paths[i].is_file() for i in batch.tolist())]


def by_size(sizes: npt.NDArray[np.integer]) -> Iterator[tuple[torch.Tensor, tuple[int, int]]]:
    """Groups the images of a batch by their own size: positions, and height and width."""
    distinct, groups = np.unique(sizes, axis=0, return_inverse=True)
    for number, (width, height) in enumerate(distinct.tolist()):
        yield torch.from_numpy(np.flatnonzero(groups.reshape(-1) == number)), (height, width)


def finish(folder: Path, split: str, count: int, **facts: Any) -> None:
    """Notes that all masks of a split, or files of labels, are there, and a digest of them."""
    contents = hashlib.sha256()
    paths = _masks(folder)
    for path in paths:
        contents.update(sha256(path).encode())
    noted = {"split": split, "images": count, "files": len(paths), "sha256": contents.hexdigest()}
    write_json(folder / DONE, noted | facts)


def masks_result(folder: Path) -> str | None:
    """Digest of what is noted and of the files' names and sizes; None when one is missing.

    What is noted holds a digest of the contents, so that a million masks are read once, not at
    every start.
    """
    try:
        content = (folder / DONE).read_bytes()
    except FileNotFoundError:
        return None
    facts = json.loads(content)
    paths = _masks(folder)
    if len(paths) != facts.get("files", facts["images"]):
        return None
    lines = [f"{path.relative_to(folder)} {path.stat().st_size}" for path in paths]
    return hashlib.sha256(content + "\n".join(lines).encode()).hexdigest()


def _masks(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*/*/*.png"), *folder.glob("*.h5")])
