"""What all formats are made of: pieces of a split, what is known of their samples, checks."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets import masks
from imagenets.data.dataset.split import Split
from imagenets.errors import CorruptError, UsageError


@dataclass(frozen=True, slots=True)
class Piece:
    """The samples `start` to `stop` of a split, the piece `number` of `count`."""

    number: int
    count: int
    start: int
    stop: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))


class Format(Protocol):
    """What writes one format; must pickle.

    Attributes:
        name: As the command line says it.
    """

    name: ClassVar[str]

    def options(self) -> dict[str, Any]:
        """What the bytes depend on, beside the samples."""

    def samples(self, data: Split) -> int:
        """How many samples a piece has."""

    def check(self, data: Split) -> None:
        """Raises UsageError for data that it cannot write, DependencyError for what it needs."""

    def write(self, data: Split, piece: Piece, folder: Path) -> list[Path]:
        """Writes a piece and reads it back.

        Args:
            data: The whole split.
            piece: Which samples of it.
            folder: Where to.

        Returns:
            The files it has.

        Raises:
            CorruptError: A sample is damaged, or what was written is not what was meant.
        """

    def finish(self, data: Split, folder: Path, splits: dict[str, dict[str, Any]]) -> None:
        """Writes what stands beside the pieces: of all splits that are whole by now.

        Args:
            data: The split that is done now.
            folder: Where to.
            splits: Of each split: `digest`, `samples`, `masks`, `target`, `pieces`.
        """


@dataclass(frozen=True)
class Shards:
    """What formats share that put many samples into a file.

    Args:
        shard_samples: Samples in a file.
    """

    shard_samples: int = 1000

    def options(self) -> dict[str, Any]:
        """What the bytes depend on, beside the samples."""
        return {"shard_samples": self.shard_samples}

    def samples(self, data: Split) -> int:
        """Samples in a file."""
        return self.shard_samples

    def check(self, data: Split) -> None:
        """Raises UsageError for no samples in a file."""
        if self.shard_samples < 1:
            raise UsageError(f"--shard-samples {self.shard_samples}: at least 1 is needed.")


@dataclass(frozen=True)
class MaskFiles:
    """What formats share that write files of their own for each sample with a mask."""

    def options(self) -> dict[str, Any]:
        """What the bytes depend on, beside the samples: nothing."""
        return {}

    def samples(self, data: Split) -> int:
        """Samples in a piece."""
        return 256

    def check(self, data: Split) -> None:
        """Raises UsageError without masks, and for a view that has a sample twice."""
        if not data.has_masks:
            raise UsageError(f"the split {data.split} of tier {data.tier} has no masks to write.")
        each_once(data)


def each_once(data: Split) -> None:
    """Refuses a view that has a sample twice, for formats whose files are named after samples.

    Raises:
        UsageError: It has one.
    """
    rows, first = np.unique(data.rows, return_index=True)
    if len(rows) < len(data):
        twice = int(np.setdiff1d(np.arange(len(data)), first)[0])
        raise UsageError(
            f"{data.names[twice]}: is in this view twice, and its files would have one name. "
            "Leave it out once, or export to parquet or coco."
        )


def facts(data: Split, piece: Piece) -> list[dict[str, Any]]:
    """What is known of the samples of a piece, for formats that say it beside the image.

    Returns:
        Of each: `name` (`<class folder>/<stem>`), `tier`, `split`, `class_id` and `wnid` (the class
        that it is filed under), `ilsvrc` and `label` (its ImageNet-1k label, as index and WordNet
        id; -1 and "" where it has none), `target_id` (the class id of the label, 0 where the tier
        has no such class), `width`, `height` in pixels.

    Raises:
        MissingError: No list tells the labels.
    """
    rows = np.arange(piece.start, piece.stop)
    sizes = data.sizes_of(rows)
    columns = [column[rows].tolist() for column in (data.class_ids, data.ilsvrc, data.target_ids)]
    names = data.names[piece.start : piece.stop]
    made = []
    for name, size, class_id, ilsvrc, target_id in zip(names, sizes, *columns, strict=True):
        made.append(
            {
                "name": name,
                "tier": data.tier,
                "split": data.split,
                "class_id": class_id,
                "wnid": name.partition("/")[0],
                "ilsvrc": ilsvrc,
                "label": data.source_classes[ilsvrc] if ilsvrc >= 0 else "",
                "target_id": target_id,
                "width": int(size[0]),
                "height": int(size[1]),
            }
        )
    return made


def stored(data: Split, index: int) -> tuple[bytes, bytes | None]:
    """A sample's image as it is stored, and its mask as a PNG; both checked where they lie."""
    found = data.encoded(index)
    mask = masks.encode(found.mask) if isinstance(found.mask, np.ndarray) else found.mask
    return bytes(found.image), None if mask is None else bytes(mask)


def same_bytes(path: Path, got: Sequence[Any], meant: Sequence[Any]) -> None:
    """Holds what was read back against what was meant.

    Raises:
        CorruptError: They differ.
    """
    if got != meant:
        raise CorruptError(
            f"{path}: reads back otherwise than it was written. Check the disk, and run the same "
            "command again."
        )


def same_pixels(path: Path, data: bytes, meant: npt.NDArray[np.integer]) -> None:
    """Holds a PNG that was made against its pixels; raises like `same_bytes`."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        got = np.asarray(image)
    if got.shape != meant.shape or not np.array_equal(got, meant):
        same_bytes(path, [False], [True])
