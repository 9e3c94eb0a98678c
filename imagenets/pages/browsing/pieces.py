"""What a browser shows, in pieces: scripts that a page can load from a disk as well.

A page that is opened from a disk may read no other file but scripts and pictures. So each piece is
a script with one call, `piece(kind, folder, number, rows)`, whose rows are plain JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from imagenets.core.files import write_file
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.dataset.subsets import of_sizes
from imagenets.errors import MissingError
from imagenets.masks import IGNORED
from imagenets.pages.browsing.drawing import drawn_mask, drawn_photos
from imagenets.tiers import BUCKETS

KINDS = {"details": 16, "thumbs": 32, "index": 256}
"""Kind of a piece -> images in it: large pictures with masks, small pictures, what is said of each.

In the order of writing: the index, last, says that all of its images are there. One task makes a
piece of it; the other numbers divide its own.
"""

_TURN = 1024
"""Images after which a split is opened anew."""

ABSENT = "absent"
"""Stands for the size of an object that is not in its image."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some images of a split, and where their pieces go.

    Attributes:
        root: The prepared set.
        tier: Its tier.
        split: Its split.
        digest: Of that split: a set that was prepared anew is opened anew.
        folder: Where the pieces of the split lie.
        first: The first of the images.
        last: The one after the last.
    """

    root: Path
    tier: str
    split: str
    digest: str
    folder: Path
    first: int
    last: int

    def files(self, kind: str) -> Iterator[tuple[Path, range]]:
        """The files of a kind, and which of the images are in each."""
        for start in range(self.first, self.last, KINDS[kind]):
            path = self.folder / f"{kind}-{start // KINDS[kind]}.js"
            yield path, range(start, min(start + KINDS[kind], self.last))

    @property
    def is_done(self) -> bool:
        """Whether all its files are there; each is whole or not there."""
        return all(path.exists() for kind in KINDS for path, _ in self.files(kind))


def open_split(root: Path, tier: str, split: str) -> tuple[ImageNetS, str | None]:
    """Opens a split, with the label of each image where lists tell it.

    Returns:
        The split, and why no labels are known; None: they are.

    Raises:
        UsageError: There is no such tier or split.
        MissingError: It is not prepared here.
        CorruptError: A file is damaged.
    """
    data = ImageNetS(root, split, tier)
    try:
        _ = data.target_ids
    except MissingError as error:
        return data, str(error)
    return data, None


def write_piece(piece: Piece) -> int:
    """Writes the files of a piece; the index last.

    Returns:
        Images in it.

    Raises:
        CorruptError: An image or mask is damaged; names it.
        OSError: A file cannot be written, as on a full disk; names it.
    """
    turn = piece.first // _TURN
    data, labelled = _opened(piece.root, piece.tier, piece.split, piece.digest, turn)
    rows: dict[str, list[list[Any]]] = {kind: [] for kind in KINDS}
    for index in range(piece.first, piece.last):
        sample = data[index]
        large, small = drawn_photos(sample["image"].permute(1, 2, 0).numpy())
        ids = sample["mask"].numpy() if data.has_masks else None
        label = int(sample["ilsvrc"]) if labelled else -1
        wanted = int(data.labels.ids[label]) if label >= 0 else 0
        wanted = wanted if labelled else int(sample["class_id"])
        rows["thumbs"].append([small])
        rows["details"].append([large, "" if ids is None else drawn_mask(ids)])
        height, width = sample["image"].shape[1:]
        facts = [sample["name"], sample["class_id"], label, wanted]
        rows["index"].append([*facts, *_object(ids, wanted), int(width), int(height)])
    for kind, made in rows.items():
        for path, which in piece.files(kind):
            part = made[which.start - piece.first : which.stop - piece.first]
            write_file(path, _script(kind, piece.folder.name, which.start // KINDS[kind], part))
    return piece.last - piece.first


def _object(ids: Any, wanted: int) -> tuple[str, float, list[int]]:
    """Size and percent of an object in its mask, and the classes in the mask."""
    if ids is None:
        return "", 0.0, []
    found, counts = np.unique(ids, return_counts=True)
    whole = int(counts[found != IGNORED].sum())
    own = int(counts[found == wanted].sum()) if wanted else 0
    share = own / whole if whole else 0.0
    sizes = [name for name in BUCKETS if of_sizes(np.array([share]), [name]).size]
    classes = [one for one in found.tolist() if one not in (0, IGNORED)]
    return (sizes[0] if sizes else ABSENT), round(100 * share, 2), classes


def _script(kind: str, folder: str, number: int, rows: Sequence[Any]) -> str:
    words = ", ".join(json.dumps(one) for one in (kind, folder, number))
    return f"piece({words}, {json.dumps(rows, separators=(',', ':'))})\n"


@lru_cache(maxsize=1)
def _opened(root: Path, tier: str, split: str, _digest: str, _turn: int) -> tuple[ImageNetS, bool]:
    """The split, opened anew with each turn: what was mapped of its shards is let go."""
    data, unknown = open_split(root, tier, split)
    return data, unknown is None
