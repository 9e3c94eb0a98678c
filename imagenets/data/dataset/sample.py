"""One sample of a data set: decoded, as it is stored, its mask alone, its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypedDict, overload

import numpy as np
import numpy.typing as npt
from torch import Tensor

from imagenets import masks
from imagenets.data.dataset.store import Store
from imagenets.errors import CorruptError, MissingError

_SHOWN = 3
"""Names that are shown of many."""


class Sample(TypedDict, total=False):
    """One sample.

    Attributes:
        image: uint8, 3 x H x W, RGB.
        mask: int64, H x W: class ids, 0 other, 1000 ignored; only where the split has masks.
        target: uint8, H x W, with target="label": 1 the object of the label, 0 not, 255 ignored.
        class_id: The class it is filed under, 1..K; 0 for train-full's classes outside the tier.
        ilsvrc: The image's own ILSVRC class, 0..999 (ImageNet-1k's label) for the published tiers.
        name: `<class folder>/<stem>`.
        target_id: With target="label": the class id of `ilsvrc`, 0 where the tier has none.
        present: With target="label": whether any pixel of `target` is 1.
    """

    image: Tensor
    mask: Tensor
    target: Tensor
    class_id: int
    ilsvrc: int
    name: str
    target_id: int
    present: bool


@dataclass(frozen=True, slots=True)
class Encoded:
    """A sample as it is stored.

    Attributes:
        image: The image file, a JPEG mostly.
        segments: uint16, bytes of each restart segment of the JPEG; None without an index.
        mask: The mask, a PNG, or H x W ids that were never a file; None where there is none.
    """

    image: bytes | memoryview
    segments: npt.NDArray[np.uint16] | None
    mask: bytes | memoryview | masks.Ids | None


class MaskSource(Protocol):
    """Masks of another make; must be picklable, for the workers of a loader."""

    def read(self, row: int, name: str) -> bytes | memoryview | masks.Ids:
        """Reads the mask of a sample.

        Args:
            row: Of the sample in its whole split, from 0.
            name: Its name, `<class folder>/<stem>`.

        Returns:
            The bytes of a PNG, or H x W uint16 ids.

        Raises:
            ImageNetSError: It is missing or damaged; the message names it.
        """


@dataclass(frozen=True, slots=True)
class MaskFolder:
    """Masks in a folder, `<folder>/<name>.png`; a `MaskSource`.

    Attributes:
        folder: Holds a folder for each class, and in these the masks.
    """

    folder: Path

    def read(self, row: int, name: str) -> bytes:
        """Reads the mask of a sample from its file.

        Args:
            row: Not used: files are found by name.
            name: Name of the sample, `<class folder>/<stem>`.

        Returns:
            The bytes of the PNG.

        Raises:
            MissingError: There is no such file.
        """
        path = self.folder / f"{name}.png"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise MissingError(f"{path}: not there. Write the mask of this image first.") from None

    def identity(self, names: Iterable[str]) -> str:
        """Tells the masks from others; see `Split.with_masks`.

        Args:
            names: Of the samples, `<class folder>/<stem>`.

        Returns:
            The folder, and a digest of the size and time of each file.
        """
        found = hashlib.sha256()
        for name in names:
            with suppress(FileNotFoundError):
                state = (self.folder / f"{name}.png").stat()
                found.update(f"{name} {state.st_size} {state.st_mtime_ns}\n".encode())
        return f"{self.folder.resolve()} {found.hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class StoredMask:
    """The mask of one sample, to be read where it is needed, in another process too.

    Attributes:
        store: Where the samples lie.
        row: Which of them.
        labels: Masks of another make; None: the store's own.
    """

    store: Store
    row: int
    labels: MaskSource | None = None

    def read(self) -> bytes | memoryview:
        """Reads the mask as a PNG, checked against its checksum where it lies in a shard.

        Returns:
            The bytes of the PNG; ids of a source that has no PNGs are encoded.

        Raises:
            CorruptError: It is missing or damaged.
            MissingError: A file of a tree, or a mask of another make, is not there.
        """
        data = self.stored()
        return masks.encode(data) if isinstance(data, np.ndarray) else data

    def stored(self) -> bytes | memoryview | masks.Ids:
        """Reads what is there, as it is.

        Returns:
            The bytes of the PNG, or H x W uint16 ids of a source that has no PNGs.

        Raises:
            CorruptError: It is missing or damaged.
            MissingError: A file of a tree, or a mask of another make, is not there.
        """
        if self.labels is not None:
            return self.labels.read(self.row, self.store.name(self.row))
        data = self.store.mask(self.row)
        if data is None:
            raise CorruptError(f"{self}: has no mask. Prepare it again.")
        return data

    def ids(self) -> masks.Ids:
        """Reads and decodes the mask.

        Returns:
            H x W uint16 ids, which are 0 to the number of classes, and 1000, ignored.

        Raises:
            CorruptError: It is missing or damaged, or has an id that the tier has not.
            MissingError: A file of a tree, or a mask of another make, is not there.
        """
        data = self.stored()
        ids = data if isinstance(data, np.ndarray) else masks.decode(data, f"{self}: mask")
        odd = ids[(ids > len(self.store.classes)) & (ids != masks.IGNORED)]
        if odd.size:
            raise CorruptError(
                f"{self}: the mask has id {odd[0]}; ids of this tier are 0 to "
                f"{len(self.store.classes)}, and 1000. Take the masks of this tier."
            )
        return ids

    def __str__(self) -> str:
        name = self.store.name(self.row)
        if isinstance(self.labels, MaskFolder):
            return str(self.labels.folder / f"{name}.png")
        return f"{self.store.mask_where(self.row)} ({name})"


class Names(Sequence[str]):
    """The names of some rows of a store, made when they are asked for.

    Args:
        store: Where the samples lie.
        rows: N int64, which of its samples, in this order.
    """

    def __init__(self, store: Store, rows: npt.NDArray[np.int64]) -> None:
        self._store, self._rows = store, rows

    def __repr__(self) -> str:
        more = ", ..." if len(self) > _SHOWN else ""
        return f"{len(self)} names: {', '.join(self[:_SHOWN])}{more}"

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return Names(self._store, self._rows[index])
        return self._store.name(int(self._rows[index]))
