"""Which generated category is which class: found on the validation set, stored as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.core.files import write_json
from imagenets.errors import CorruptError, UsageError
from imagenets.evaluation.counts import Counts, Int64, concatenate, count, masks_of
from imagenets.masks import BACKGROUND, IGNORED

Match = dict[int, int]


class CoOccurrence:
    """In how many images a generated category and a class occur together.

    Occurring means at least one pixel; ignored pixels are left out, and so is other.

    Attributes:
        num_classes: K.
        matrix: int64, K x K: [i - 1, j - 1] is the number of images that hold both the predicted
            id i and the true id j.
    """

    def __init__(self, num_classes: int, *, ignored: int = IGNORED) -> None:
        """Starts with no image.

        Args:
            num_classes: K, the number of classes without other.
            ignored: Ground-truth id that is left out.
        """
        self.num_classes = num_classes
        self.ignored = ignored
        self.matrix: Int64 = np.zeros((num_classes, num_classes), np.int64)

    def update(self, pred: Any, gt: Any) -> None:
        """Adds one image or a batch.

        Args:
            pred: H x W or N x H x W predicted ids, NumPy array or tensor of any device, or a list
                of such; ids outside 0..K are no category.
            gt: The true ids likewise, 0..K or the ignored id.

        Raises:
            UsageError: Shapes or types do not fit.
            CorruptError: The ground truth holds an id that is neither 0..K nor the ignored one.
        """
        preds, gts = list(masks_of(pred)), list(masks_of(gt))
        if len(preds) != len(gts):
            raise UsageError(f"{len(preds)} predictions for {len(gts)} ground-truth masks.")
        parts = [
            count(p, g, self.num_classes, ignored=self.ignored, boundaries=False)
            for p, g in zip(preds, gts, strict=True)
        ]
        self.add(concatenate(parts, self.num_classes))

    def add(self, counts: Counts) -> None:
        """Adds images that were counted before: one product of two sparse image x id matrices.

        Args:
            counts: Of any number of images; the boundary flags are not used.

        Raises:
            UsageError: They are of another number of classes.
        """
        if counts.num_classes != self.num_classes:
            raise UsageError(f"cannot add {counts.num_classes} classes to {self.num_classes}.")
        true = _presence(counts, counts.gt)
        predicted = _presence(counts, counts.pred)
        self.matrix += (predicted.T @ true).toarray()

    def merge(self, other: CoOccurrence) -> None:
        """Adds what another accumulator has seen.

        Args:
            other: Of the same classes; not changed.

        Raises:
            UsageError: It is of another number of classes.
        """
        if other.num_classes != self.num_classes:
            raise UsageError(f"cannot merge {other.num_classes} classes with {self.num_classes}.")
        self.matrix += other.matrix

    def state(self) -> list[Int64]:
        """Gives what adds up across accumulators; `distributed.all_reduce` sums it over ranks.

        Returns:
            `matrix` alone, K x K. It is no copy, so changing it changes this one.
        """
        return [self.matrix]


def _presence(counts: Counts, ids: npt.NDArray[np.int32]) -> Any:
    """Sparse 0/1 matrix, images x K: which of the ids 1..K each image holds."""
    from scipy.sparse import csr_array

    rows = (ids != BACKGROUND) & (ids <= counts.num_classes)
    keys = np.unique(counts.image[rows].astype(np.int64) * counts.num_classes + ids[rows] - 1)
    image, column = np.divmod(keys, counts.num_classes)
    shape = (counts.images, counts.num_classes)
    return csr_array((np.ones(len(keys), np.int64), (image, column)), shape=shape)


def match(matrix: npt.NDArray[np.integer[Any]]) -> Match:
    """The published matching: one to one, with the largest possible sum.

    Of several assignments with that sum, one that leaves the most ids at their own number is
    taken; the same matrix always gives the same match.

    Args:
        matrix: K x K counts, generated category x class, such as `CoOccurrence.matrix`.

    Returns:
        Generated id -> class id, both 1-based, and 0 -> 0.

    Raises:
        UsageError: The matrix is not square or holds negative numbers.
    """
    from scipy.optimize import linear_sum_assignment

    matrix = np.asarray(matrix)
    size = len(matrix)
    if matrix.shape != (size, size) or (size and matrix.min() < 0):
        raise UsageError(f"a match needs a square matrix of counts, not one of {matrix.shape}.")
    # One more image outweighs all K bonuses for staying put, so the sum stays the largest; the
    # integers are exact in float64 up to 2^53.
    score = matrix.astype(np.float64) * (size + 1) + np.eye(size)
    rows, columns = linear_sum_assignment(score, maximize=True)
    return {0: 0, **{int(i) + 1: int(j) + 1 for i, j in zip(rows, columns, strict=True)}}


def match_majority(matrix: npt.NDArray[np.integer[Any]]) -> Match:
    """Many-to-one matching: each category becomes the class it is seen with most.

    Not the benchmark's matching: it flatters predictions, the more the more categories they have.
    Ties go to the lower class id; a category that is never seen becomes other.

    Args:
        matrix: M x K counts, generated category x class; K is at least 1.

    Returns:
        Generated id 1..M -> class id 0..K, and 0 -> 0.
    """
    matrix = np.asarray(matrix)
    best = matrix.argmax(axis=1)
    seen = matrix.max(axis=1, initial=0) > 0
    return {0: 0, **{i + 1: int(best[i]) + 1 if seen[i] else 0 for i in range(len(matrix))}}


def pixel_matrix(confusion: npt.NDArray[np.integer[Any]]) -> Int64:
    """Makes the matrix for pixel-level matching: pixels in common instead of images.

    Not the benchmark's matching, which counts images.

    Args:
        confusion: (K + 1) x (K + 2) pixels by true and predicted id, as `Evaluator.confusion`.

    Returns:
        K x K int64, [i - 1, j - 1] being the pixels of the predicted id i and the true id j.
    """
    return np.ascontiguousarray(confusion[1:, 1:-1].T.astype(np.int64))


def total(matrix: npt.NDArray[np.integer[Any]], matched: Mapping[int, int]) -> int:
    """Sums what a match reaches: two optimal matches may differ, their totals do not.

    Args:
        matrix: K x K counts, generated category x class, as `match` takes them.
        matched: Generated id -> class id, both from 1; pairs with 0 count nothing.

    Returns:
        The sum over its pairs, in the unit of the matrix, which is images or pixels.
    """
    return sum(
        int(matrix[i - 1, j - 1]) for i, j in matched.items() if i != BACKGROUND and j != BACKGROUND
    )


def as_table(matched: Mapping[int, int], num_classes: int) -> Int64:
    """Writes a match as an array.

    Args:
        matched: Generated id -> class id, both 0..K.
        num_classes: K.

    Returns:
        K + 1 int64, [i] being the class of the generated id i, -1 where it has none.

    Raises:
        UsageError: The match holds an id outside 0..K.
    """
    table = np.full(num_classes + 1, -1, np.int64)
    for i, j in matched.items():
        if not (0 <= i <= num_classes and 0 <= j <= num_classes):
            raise UsageError(f"the match sends id {i} to {j}; ids are 0..{num_classes}.")
        table[i] = j
    return table


def apply(matched: Mapping[int, int], pred: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Replaces every generated id of a mask by its class.

    Args:
        matched: Generated id -> class id.
        pred: Ids of any shape and integer dtype.

    Returns:
        The class ids, same shape and dtype.

    Raises:
        UsageError: The mask holds an id that the match does not know.
    """
    highest = max(matched, default=0)
    table = np.full(highest + 1, -1, np.int64)
    table[list(matched)] = list(matched.values())
    if pred.size and (int(pred.min()) < 0 or int(pred.max()) > highest):
        raise UsageError(f"the match knows ids 0..{highest}; the mask holds others.")
    result: npt.NDArray[Any] = table[pred]
    if result.size and int(result.min()) < 0:
        lost = np.unique(pred[result < 0])[:5].tolist()
        raise UsageError(f"the match has no class for the predicted ids {lost}.")
    return result.astype(pred.dtype, copy=False)


def save(matched: Mapping[int, int], path: Path) -> None:
    """Writes a match as a JSON object with string keys, the published form.

    Args:
        matched: Generated id -> class id.
        path: Of the file; an older one is replaced, in one step. `~` is expanded.

    Raises:
        OSError: It cannot be written.
    """
    write_json(path.expanduser(), {str(i): j for i, j in sorted(matched.items())})


def load(path: Path, num_classes: int) -> Match:
    """Reads a match from a file that `save` or the published code has written.

    Args:
        path: Of the JSON file; `~` is expanded.
        num_classes: K.

    Returns:
        Generated id -> class id, both 0..K; with 0 -> 0, and perhaps not with every other id.

    Raises:
        CorruptError: Not a JSON object of ids 0..K, or it moves id 0.
        FileNotFoundError: There is no such file.
    """
    try:
        return parse(path.expanduser().read_bytes(), num_classes)
    except ValueError as error:
        raise CorruptError(
            f"{path}: not a match for {num_classes} classes: {error}. It must be a JSON object "
            'such as {"0": 0, "1": 7, ...}; --find-match writes one.'
        ) from error


def parse(text: bytes, num_classes: int) -> Match:
    """Reads a match from its JSON text; a missing 0 -> 0 is added.

    Args:
        text: A JSON object of id (a string of digits) -> class (a whole number), in UTF-8.
        num_classes: K.

    Returns:
        Generated id -> class id, both 0..K.

    Raises:
        ValueError: It is no such object, holds an id outside 0..K, or moves id 0; the message
            says which.
    """
    data = json.loads(text)
    if not isinstance(data, dict):
        raise ValueError("it holds no object")
    result = {0: 0}
    for key, value in data.items():
        if not key.isdecimal() or type(value) is not int:
            raise ValueError(f"the entry {key!r}: {value!r} is not an id and its class")
        if int(key) > num_classes or not 0 <= value <= num_classes:
            raise ValueError(f"the entry {key!r}: {value!r} is outside 0..{num_classes}")
        result[int(key)] = value
    if result[0] != 0:
        raise ValueError("it moves id 0, which must stay 0")
    return result
