"""What a loader reads: a small protocol, which `ImageNetS` fills."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from imagenets.data.dataset.sample import Encoded
from imagenets.data.loader.order import Sampler
from imagenets.errors import UsageError


class Readable(Protocol):
    """What a loader reads: an `ImageNetS`, or whatever offers the same.

    Attributes:
        has_masks: Whether masks are wanted.
        class_ids: int16, one a sample.
        ilsvrc: int16, one a sample.
        names: One a sample.
        target: Not None where targets are wanted; may be missing, as may `target_ids` then.
        target_ids: int16, the class id of the label, one a sample.
    """

    has_masks: bool

    @property
    def class_ids(self) -> npt.NDArray[np.int16]: ...

    @property
    def ilsvrc(self) -> npt.NDArray[np.int16]: ...

    @property
    def names(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def sizes_of(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Width and height of some images, n x 2."""

    def encoded(self, index: int) -> Encoded:
        """The image and the mask as they are stored."""

    def where(self, index: int) -> str:
        """What to call a sample in a message."""


def check_readable(dataset: Readable) -> None:
    """Refuses what a loader cannot read.

    Raises:
        UsageError: Says what is missing.
    """
    needed = ("sizes_of", "encoded", "where", "class_ids", "ilsvrc", "names", "has_masks")
    missing = [name for name in needed if not hasattr(dataset, name)]
    if missing or getattr(dataset, "transform", None) is not None:
        why = f"{type(dataset).__name__} has no {', '.join(missing)}" if missing else "it has one"
        raise UsageError(
            f"a Loader reads an ImageNetS without a transform ({why}): give the data set itself, "
            "and `crop`, or transform the batches. For other data sets there is torch's DataLoader."
        )


def check_arguments(
    crop: object, workers: int, prefetch: int, backend: str, sampler: Sampler | None
) -> None:
    """Refuses arguments that would only fail in a worker.

    Raises:
        UsageError: An argument is out of range.
        TypeError: The crop is none.
    """
    if crop is not None and not (hasattr(crop, "draw") and hasattr(crop, "shape")):
        raise TypeError(
            f"crop is {crop!r}: give a crop such as RandomResizedCrop(224), CenterCrop(224) or "
            "ShortSide(256), a view such as ResizeCrop(256, 224), or None for whole images."
        )
    if workers < 0 or prefetch < 1 or backend not in ("processes", "threads"):
        raise UsageError(
            f"workers={workers}, prefetch={prefetch}, backend={backend!r}: give workers >= 0, "
            "prefetch >= 1, and 'processes' or 'threads'."
        )
    if sampler is not None and not hasattr(sampler, "__len__"):
        raise UsageError("the sampler has no length: give one that has, or a list of indices.")
