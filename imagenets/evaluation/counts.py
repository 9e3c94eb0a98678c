"""What every metric is made of: pixel counts of each image by id, prediction and boundary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import CorruptError, UsageError
from imagenets.evaluation.boundary import boundary_width, plain
from imagenets.masks import IGNORED

Array = npt.NDArray[np.integer[Any]]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]

GT_EDGE = 1
"""Bit of `Counts.edge`: the pixels lie on the boundary map of the ground truth."""

PRED_EDGE = 2
"""Bit of `Counts.edge`: the pixels lie on the boundary map of the prediction."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Sufficient statistics of some images: every metric follows from these few rows an image.

    One row says how many pixels of one image have this ground truth, this prediction and these
    boundary flags. Rows are sorted by image, then ground truth, prediction, flags. Ignored pixels
    have no row; predictions outside 0..K are all written as K + 1.

    Attributes:
        images: Number of images, those without any row included.
        num_classes: K; ids are 0..K.
        image: Index of the image, int32.
        gt: Ground-truth id 0..K, int32.
        pred: Predicted id 0..K + 1, int32.
        edge: GT_EDGE, PRED_EDGE, both or 0, int32.
        pixels: Number of pixels, int64.
    """

    images: int
    num_classes: int
    image: Int32
    gt: Int32
    pred: Int32
    edge: Int32
    pixels: Int64

    def relabelled(self, mapping: Int64) -> Counts:
        """Replaces every predicted id i in 0..K by `mapping[i]`.

        Args:
            mapping: K + 1 ids: each of 0..K once.

        Returns:
            New counts. Their rows are in the order of these, so no longer sorted by prediction.

        Raises:
            UsageError: The mapping is not one to one. Where two ids become one, the boundary
                between them vanishes, so such a mapping must be applied to the masks themselves.
        """
        if not np.array_equal(np.sort(mapping), np.arange(self.num_classes + 1)):
            raise UsageError(
                "this match is not one to one: apply it to the masks, then count again."
            )
        table = np.append(mapping, self.num_classes + 1).astype(np.int32)
        return Counts(
            self.images,
            self.num_classes,
            self.image,
            self.gt,
            table[self.pred],
            self.edge,
            self.pixels,
        )

    def confusion(self) -> Int64:
        """Sums the pixels of all images by true and predicted id.

        Returns:
            (K + 1) x (K + 2) int64, true ids in rows; the last column is for predictions outside
            0..K.
        """
        result = np.zeros((self.num_classes + 1, self.num_classes + 2), np.int64)
        np.add.at(result, (self.gt, self.pred), self.pixels)
        return result

    def select(self, rows: slice, image: Int32, images: int) -> Counts:
        """Takes some rows, whose images are numbered anew.

        Args:
            rows: Which of the R rows.
            image: For each row taken, the new index of its image, int32.
            images: Number of images in the result, at least the highest new index + 1.

        Returns:
            Counts of these rows alone; all but `image` are views, not copies.
        """
        return Counts(
            images,
            self.num_classes,
            image,
            self.gt[rows],
            self.pred[rows],
            self.edge[rows],
            self.pixels[rows],
        )

    def split(self) -> Iterator[Counts]:
        """Takes the images apart.

        Yields:
            The counts of each image by itself, with the index 0, in order.
        """
        ends = np.searchsorted(self.image, np.arange(self.images + 1))
        for start, end in pairwise(ends.tolist()):
            yield self.select(slice(start, end), np.zeros(end - start, np.int32), 1)


def count(
    pred: Array,
    gt: Array,
    num_classes: int,
    *,
    ignored: int = IGNORED,
    boundaries: bool = True,
    name: str = "mask",
) -> Counts:
    """Counts one image.

    Args:
        pred: H x W predicted ids of any integer dtype; those outside 0..K count as nobody's area.
        gt: H x W true ids 0..K, or `ignored`, of any integer dtype.
        num_classes: K.
        ignored: Id of the pixels that are left out.
        boundaries: Whether to find the boundary flags; matching does without.
        name: What to call the image in an error.

    Returns:
        The counts of this image, index 0.

    Raises:
        UsageError: Not two integer arrays of one H x W shape.
        CorruptError: The ground truth holds an id that is neither 0..K nor `ignored`.
    """
    from imagenets.evaluation.kernels import EDGES, count_pairs  # Numba: not before used

    pred, gt = _checked(pred, name), _checked(gt, name)
    if pred.shape != gt.shape:
        raise UsageError(
            f"{name}: the prediction is {pred.shape[1]} x {pred.shape[0]} pixels (W x H), the "
            f"ground truth {gt.shape[1]} x {gt.shape[0]}. Scale predictions to the image's size."
        )
    distance = boundary_width(*gt.shape) if boundaries else 0
    keys, pixels, odd = count_pairs(gt, pred, distance, num_classes, ignored)
    if odd.size:
        raise CorruptError(
            f"{name}: the ground truth holds id {int(odd[0])}; with {num_classes} classes ids are "
            f"0..{num_classes} and {ignored} (ignored). Check the number of classes."
        )
    order = keys.argsort()
    pairs, flags = np.divmod(keys[order], EDGES)
    true, guess = np.divmod(pairs, num_classes + 2)
    return Counts(
        1,
        num_classes,
        np.zeros(len(keys), np.int32),
        true.astype(np.int32),
        guess.astype(np.int32),
        flags.astype(np.int32),
        pixels[order],
    )


def concatenate(parts: Sequence[Counts], num_classes: int) -> Counts:
    """Joins counts of several batches of images.

    Args:
        parts: Of each batch, all of K classes; may be empty.
        num_classes: K.

    Returns:
        The counts of all images, numbered on from batch to batch.
    """
    offsets = np.cumsum([0, *(part.images for part in parts)])

    def column(name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        columns = [getattr(part, name) for part in parts]
        return np.concatenate([np.empty(0, dtype), *columns]).astype(dtype, copy=False)

    image = [part.image + np.int32(start) for part, start in zip(parts, offsets, strict=False)]
    return Counts(
        int(offsets[-1]),
        num_classes,
        np.concatenate([np.empty(0, np.int32), *image]),
        column("gt", np.int32),
        column("pred", np.int32),
        column("edge", np.int32),
        column("pixels", np.int64),
    )


def masks_of(array: Any) -> Iterator[Array]:
    """Takes a mask or a batch apart into single masks.

    Args:
        array: H x W or N x H x W: a NumPy array, or a tensor of any device; or a list or tuple of
            such, whose sizes may differ.

    Yields:
        H x W arrays on the CPU, in the dtype given. Nothing is checked here; `count` does it.
    """
    if isinstance(array, Sequence):
        for item in array:
            yield from masks_of(item)
        return
    if hasattr(array, "detach"):  # a torch tensor; torch itself is not needed here
        array = array.detach().cpu().numpy()
    array = np.asarray(array)
    if array.ndim == 3:
        yield from array
    else:
        yield array


def _checked(array: Array, name: str) -> Array:
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise UsageError(
            f"{name}: a mask must be an H x W integer array (or a batch N x H x W), this one has "
            f"shape {array.shape} and type {array.dtype}."
        )
    return plain(array)
