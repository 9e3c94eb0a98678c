"""Where the samples of a split lie, whatever the layout: encoded bytes and columns of facts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import numpy.typing as npt

REPLACE = (
    "Replace it in the raw data; if the set is prepared, delete this file and run "
    "imagenets-prepare again."
)
"""What to do about a file that is damaged."""

UNLIKE = "Take image and mask from one source; a prepared set must be prepared again."
"""What to do about a mask that is not of its image's size."""


class Store(Protocol):
    """The samples of one split in canonical order, as encoded bytes and columns of facts.

    Attributes:
        classes: WordNet ids of the tier; class id = 1 + rank.
        source_classes: WordNet ids that `ilsvrc` counts.
        class_ids: int16, one a sample, 0 outside the tier.
        ilsvrc: int16, rank of the image's own ILSVRC class, -1 when it is none of them.
        has_masks: Whether the samples have masks.
        unlisted: Samples whose ILSVRC class no list tells: `ilsvrc` is then the class folder's.
    """

    classes: tuple[str, ...]
    source_classes: tuple[str, ...]
    class_ids: npt.NDArray[np.int16]
    ilsvrc: npt.NDArray[np.int16]
    has_masks: bool
    unlisted: int

    def name(self, row: int) -> str:
        """`<class folder>/<stem>`."""

    def where(self, row: int) -> str:
        """The file to name in an error."""

    def mask_where(self, row: int) -> str:
        """The file of the mask, to name in an error."""

    def image(self, row: int) -> bytes | memoryview:
        """The encoded image."""

    def mask(self, row: int) -> bytes | memoryview | None:
        """The encoded mask."""

    def segments(self, row: int) -> npt.NDArray[np.uint16] | None:
        """Bytes of each restart segment of the image; None without an index of them."""

    def sizes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Width and height of some images, n x 2."""

    def digest(self) -> str:
        """SHA-256 that changes when the split does: of the shards' own digests, or of the names
        and sizes of all files of a tree.
        """


def digest(lines: Iterable[str]) -> str:
    """SHA-256 of some lines."""
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode() + b"\n")
    return found.hexdigest()
