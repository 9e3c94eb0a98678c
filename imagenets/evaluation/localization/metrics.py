"""From the rows of images to averages over images and over classes, and a table of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.evaluation.localization.measures import (
    CONSTANT,
    COVERED,
    INFINITE,
    NAMES,
    WITHOUT_ENERGY,
)
from imagenets.evaluation.localization.pooled import Pooled, pool

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class ImageTable:
    """What is to be said of each image, sorted by name and target id.

    Attributes:
        names: Of the images; empty where none was given.
        target_ids: Mask id of the label, int64; 0 where none was given.
        values: Measure -> one number an image, float64, percent; NaN where it has none.
        pixels: Pixels of the object, int64; an image with 0 has no value at all.
        counted: Pixels that are not ignored, int64.
        constant: Whether the map has one value everywhere, of images with a target.
        infinite: Whether it holds an infinite value, likewise.
        without_energy: Whether it has no value above 0, likewise.
        covered: Whether the target covers all pixels that are not ignored.
    """

    names: tuple[str, ...]
    target_ids: Int64
    values: dict[str, Float64]
    pixels: Int64
    counted: Int64
    constant: Flags
    infinite: Flags
    without_energy: Flags
    covered: Flags


@dataclass(frozen=True, slots=True, eq=False)
class ClassTable:
    """What is to be said of each class.

    Attributes:
        ids: Mask ids: 1..K, or those that occur where K is not known.
        names: Of the classes; empty where they have none.
        images: Images with a target, int64.
        values: Measure -> its mean over the images of each class, percent; NaN without any.
    """

    ids: Int64
    names: tuple[str, ...]
    images: Int64
    values: dict[str, Float64]


@dataclass(frozen=True, slots=True)
class LocalizationMetrics:
    """How well heat maps find the object, in percent.

    Attributes:
        images: All images.
        without_target: Images without a pixel of the object; they are in no average.
        covered: Images whose object covers all pixels; they have no ROC AUC.
        constant: Maps of one value everywhere, of images with a target.
        infinite: Maps with infinite values, likewise; they are not in the pooled measures, nor in
            `iou_mean`, those with +inf not in `energy`.
        without_energy: Maps without a value above 0, likewise; their energy counts 0.
        mean: Measure -> its mean over the images that have one; NaN without any.
        counted: Measure -> number of these images.
        macro: Measure -> mean over classes of the mean over their images; empty without classes.
        macro_classes: Measure -> number of these classes.
        pooled: Measures over the pixels of all images.
        classes: The table of classes; None without target ids.
        per_image: The table of images.
    """

    images: int
    without_target: int
    covered: int
    constant: int
    infinite: int
    without_energy: int
    mean: dict[str, float]
    counted: dict[str, int]
    macro: dict[str, float]
    macro_classes: dict[str, int]
    pooled: Pooled
    classes: ClassTable | None = field(compare=False, repr=False)
    per_image: ImageTable = field(compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """All but the two tables, for JSON: a number that does not exist is None."""
        skipped = ("pooled", "classes", "per_image")
        plain = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in skipped
        }
        found: dict[str, Any] = _without_nan({**plain, "pooled": asdict(self.pooled)})
        return found


def summarize(
    names: Sequence[str],
    target_ids: Int64,
    values: Float64,
    facts: Int64,
    pooled: Int64,
    classes: Int64 | None,
    class_names: Sequence[str] | None,
) -> LocalizationMetrics:
    """Averages over images and classes; the order of the images makes no difference.

    Args:
        names: Of the images.
        target_ids: One an image.
        values: Images x measures, 0..1.
        facts: Images x 3: pixels of the object, pixels that are not ignored, flags.
        pooled: 2 x bins: pixels outside and inside of objects.
        classes: Ids of all classes; None: those that occur.
        class_names: Of these classes.

    Raises:
        UsageError: An image is there twice.
    """
    table = _image_table(names, target_ids, values, facts)
    with_target = table.pixels > 0
    per_class = _class_table(table, classes, class_names)
    means = {name: _mean(column) for name, column in table.values.items()}
    macros = {n: _mean(column) for n, column in per_class.values.items()} if per_class else {}
    return LocalizationMetrics(
        images=len(names),
        without_target=int((~with_target).sum()),
        covered=int(table.covered.sum()),
        constant=int(table.constant.sum()),
        infinite=int(table.infinite.sum()),
        without_energy=int(table.without_energy.sum()),
        mean={name: value for name, (value, _) in means.items()},
        counted={name: count for name, (_, count) in means.items()},
        macro={name: value for name, (value, _) in macros.items()},
        macro_classes={name: count for name, (_, count) in macros.items()},
        pooled=pool(pooled),
        classes=per_class,
        per_image=table,
    )


def _image_table(
    names: Sequence[str], target_ids: Int64, values: Float64, facts: Int64
) -> ImageTable:
    words = np.array(names, dtype=np.str_)
    order = np.lexsort((*facts.T, *values.T, target_ids, words))
    words, target_ids = words[order], target_ids[order]
    same = (words[1:] == words[:-1]) & (target_ids[1:] == target_ids[:-1]) & (words[1:] != "")
    if same.any():
        twice = words[1:][same]
        raise UsageError(
            f"{len(twice)} images are there twice, such as {twice[0]}: add each image once (a "
            "distributed sampler must not pad its last batch)."
        )
    values, facts = 100 * values[order], facts[order]
    flags = facts[:, 2]
    return ImageTable(
        tuple(words.tolist()),
        target_ids,
        {name: np.ascontiguousarray(values[:, k]) for k, name in enumerate(NAMES)},
        facts[:, 0].copy(),
        facts[:, 1].copy(),
        *(flags & bit > 0 for bit in (CONSTANT, INFINITE, WITHOUT_ENERGY, COVERED)),
    )


def _class_table(
    table: ImageTable, classes: Int64 | None, names: Sequence[str] | None
) -> ClassTable | None:
    ids = np.unique(table.target_ids[table.target_ids > 0]) if classes is None else classes
    if not len(ids):
        return None
    known = table.target_ids > 0
    place = np.searchsorted(ids, table.target_ids)
    means = {}
    for name, column in table.values.items():
        rows = known & ~np.isnan(column)
        number = np.bincount(place[rows], minlength=len(ids))
        total = np.bincount(place[rows], column[rows], len(ids))
        means[name] = np.where(number > 0, total / np.maximum(number, 1), np.nan)
    images = np.bincount(place[known & (table.pixels > 0)], minlength=len(ids))
    return ClassTable(ids, tuple(names or ()), images, means)


def _mean(column: Float64) -> tuple[float, int]:
    """The mean of what is there, and how many that is."""
    there = column[~np.isnan(column)]
    return (float(there.mean()) if len(there) else float("nan")), len(there)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(item) for name, item in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value
