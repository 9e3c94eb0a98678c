"""A split of which nothing is prepared: raw images, published masks and lists, read in place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from imagenets.classes import ranks
from imagenets.data.dataset.originals import Originals, Rows
from imagenets.data.dataset.store import REPLACE, digest
from imagenets.data.lists import Lists, Records, source_classes
from imagenets.errors import CorruptError
from imagenets.pixels.image import DecodeError, size


class FolderStore:
    """A split of which nothing is prepared; see `Store`. Nothing open is pickled.

    Args:
        lists: The lists of the tier.
        records: Those of the split's images that are there.
        images: Their images.
        masks: Their masks; None where there are none.
    """

    def __init__(
        self, lists: Lists, records: Records, images: Originals, masks: Originals | None
    ) -> None:
        self.classes = lists.classes
        self.source_classes = source_classes(lists)
        self.class_ids = ranks(self.classes, records.wnids) + np.int16(1)
        self.ilsvrc = ranks(self.source_classes, records.sources)
        self.has_masks = masks is not None
        self.unlisted = 0
        self._records, self._images, self._masks = records, images, masks
        self._sizes = np.zeros((len(records.stems), 2), np.int32)  # 0: not read yet

    def name(self, row: int) -> str:
        wnid, stem = self._records.wnids[row], self._records.stems[row]
        return f"{wnid.decode()}/{stem.decode()}"

    def where(self, row: int) -> str:
        return self._images.where(row)

    def mask_where(self, row: int) -> str:
        return self.where(row) if self._masks is None else self._masks.where(row)

    def image(self, row: int) -> bytes:
        return self._images.read(row)

    def mask(self, row: int) -> bytes | None:
        return None if self._masks is None else self._masks.read(row)

    def segments(self, row: int) -> npt.NDArray[np.uint16] | None:
        return None

    def sizes(self, rows: Rows) -> npt.NDArray[np.int32]:
        unknown = np.unique(rows[self._sizes[rows, 0] == 0])
        for row in self._images.storage_order(unknown).tolist():
            try:
                self._sizes[row] = size(self._images.head(row))
            except DecodeError as error:
                self._images.read(row)  # raises where the file is gone
                raise CorruptError(
                    f"{self.where(row)}: not a readable image ({error}). {REPLACE}"
                ) from error
        return self._sizes[rows]

    def digest(self) -> str:
        both = (self._images, self._masks) if self._masks is not None else (self._images,)
        return digest(
            f"{self.name(row)} {self.class_ids[row]} {self.ilsvrc[row]} "
            + " ".join(originals.fact(row) for originals in both)
            for row in range(len(self.class_ids))
        )
