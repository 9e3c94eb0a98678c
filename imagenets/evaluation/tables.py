"""Metrics as text for people and as CSV for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from imagenets.classes import OTHER
from imagenets.classes import names as class_names
from imagenets.core.files import atomic
from imagenets.evaluation.bootstrap import Difference, Interval
from imagenets.evaluation.counts import Counts
from imagenets.evaluation.metrics import SCALARS, Metrics, ious
from imagenets.evaluation.statistics import fmeasures, hits, image_ious, totals
from imagenets.masks import BACKGROUND
from imagenets.tiers import BUCKETS

_HEADINGS = {
    "mIoU": "mean IoU over other and all classes",
    "mBIoU": "mean boundary IoU",
    "FMeasure": "foreground F-measure",
    "Acc": "image-level accuracy",
}
_SHOWN = 5  # best and worst classes in the short table


@dataclass(frozen=True, slots=True)
class ClassRow:
    """What is to be said of one id over all images.

    Attributes:
        id: 0 (other) to K.
        name: WordNet id (or folder) of the class, "other" for 0; empty: not known.
        class_name: The same in words, see `classes.names`.
        iou: IoU, percent.
        biou: IoU of the boundary maps, percent.
        pixels: Number of pixels of this id in the ground truth.
        predicted: Number of pixels predicted as this id, where the ground truth is not ignored.
        images: Number of images whose ground truth has this id.
    """

    id: int
    name: str
    class_name: str
    iou: float
    biou: float
    pixels: int
    predicted: int
    images: int


@dataclass(frozen=True, slots=True)
class ImageRow:
    """What is to be said of one image.

    Attributes:
        name: `<wnid>/<stem>` or `<stem>`.
        iou: Mean IoU over the ids in its ground truth, percent; NaN where all of it is ignored.
        biou: Mean IoU of the boundary maps over the ids whose boundary is in its ground truth,
            percent; NaN where none is.
        fmeasure: F-measure of foreground against foreground, percent.
        hit: 1 where its largest predicted class is in the ground truth, else 0.
        pixels: Number of pixels that are not ignored.
    """

    name: str
    iou: float
    biou: float
    fmeasure: float
    hit: int
    pixels: int


CLASS_KEYS = tuple(field.name for field in fields(ClassRow))


def class_rows(counts: Counts, classes: Sequence[str] | None = None) -> list[ClassRow]:
    """Says what there is to say of each id 0..K.

    Args:
        counts: Of all images, after matching, with boundary flags.
        classes: WordNet ids of the classes 1..K, if known.

    Returns:
        K + 1 rows, by id.
    """
    pixels = totals(counts)[0]  # [area, boundary] x [predicted, true, both] x id
    values = 100 * ious(pixels)
    ids = counts.num_classes + 1
    seen = np.unique(counts.image.astype(np.int64) * ids + counts.gt) % ids
    images = np.bincount(seen, minlength=ids)
    names = [OTHER, *(classes or [""] * counts.num_classes)]
    spoken = class_names(names)
    return [
        ClassRow(
            i,
            names[i],
            spoken[i],
            float(values[0, i]),
            float(values[1, i]),
            int(pixels[0, 1, i]),
            int(pixels[0, 0, i]),
            int(images[i]),
        )
        for i in range(ids)
    ]


def image_rows(counts: Counts, names: Sequence[str]) -> list[ImageRow]:
    """Says what there is to say of each image.

    Args:
        counts: Of all images, after matching, with boundary flags.
        names: Of the images, in the order of the counts.

    Returns:
        One row an image, the worst IoU first, of equal ones by name, those without any last.
    """
    values = 100 * image_ious(counts)
    f, hit = 100 * fmeasures(counts), hits(counts)
    pixels = np.bincount(counts.image, counts.pixels, counts.images)
    rows = [
        ImageRow(
            name,
            float(values[i, 0]),
            float(values[i, 1]),
            float(f[i]),
            int(hit[i]),
            int(pixels[i]),
        )
        for i, name in enumerate(names)
    ]
    return sorted(rows, key=lambda row: (np.isnan(row.iou), row.iou, row.name))


def write_csv(rows: Sequence[ClassRow | ImageRow], path: Path) -> None:
    """Writes rows under the names of their fields, numbers in full precision.

    Args:
        rows: At least one, all of one kind.
        path: Of the file; an older one is replaced, in one step.

    Raises:
        OSError: It cannot be written.
    """
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        writer.writerows(astuple(row) for row in rows)


def class_text(rows: Sequence[ClassRow], key: str = "id", descending: bool = False) -> str:
    """Writes all ids as an aligned table.

    Args:
        rows: Of all ids, see `class_rows`.
        key: One of `CLASS_KEYS` to sort by; of equal rows the lower id is the lesser.
        descending: Whether the largest comes first.

    Returns:
        A heading and a line for each row, without a line break at the end. The names are left out
        where all are the WordNet ids themselves.
    """
    ranked = sorted(rows, key=lambda row: (getattr(row, key), row.id), reverse=descending)
    columns = [["class", *(row.name for row in ranked)]]
    if any(row.class_name != row.name for row in rows):
        columns.append(["name", *(row.class_name for row in ranked)])
    widths = [max(map(len, column)) for column in columns]
    told = [
        " ".join(f"{word:<{width}}" for word, width in zip(words, widths, strict=True))
        for words in zip(*columns, strict=True)
    ]
    lines = [
        f"{'id':>4}  {told[0]} {'IoU':>7} {'BIoU':>7} "
        f"{'pixels':>12} {'predicted':>12} {'images':>7}"
    ]
    lines += [
        f"{row.id:>4}  {words} {row.iou:7.2f} {row.biou:7.2f} "
        f"{row.pixels:>12,} {row.predicted:>12,} {row.images:>7,}"
        for row, words in zip(ranked, told[1:], strict=True)
    ]
    return "\n".join(lines)


def metrics_text(
    metrics: Metrics, images: int, rows: Sequence[ClassRow] = (), empty: Collection[str] = ()
) -> str:
    """Writes the metrics as an aligned table.

    Args:
        metrics: In percent.
        images: Number of images; 0 where it is not known.
        rows: Of all ids: the classes that score best and worst are shown if they are given.
        empty: Names of the metrics that no object counts for: shown as `-`.

    Returns:
        Some lines, without a line break at the end.
    """
    values = dict(metrics)
    number = f"{images:,} images, " if images else ""
    lines = [f"{number}{len(metrics['IoUs']) - 1} classes", ""]
    lines += [f"{name:<9}{values[name]:8.2f}  {text}" for name, text in _HEADINGS.items()]
    lines += ["", f"{'object size':<14}{'S':>8}{'MS':>8}{'ML':>8}{'L':>8}"]
    for title, prefix in (("IoU", ""), ("boundary IoU", "B")):
        sizes = [prefix + size for size in BUCKETS]
        row = "".join(f"{'-':>8}" if name in empty else f"{values[name]:8.2f}" for name in sizes)
        lines.append(f"{title:<14}{row}")
    if rows:
        lines += ["", *_extremes(rows)]
    return "\n".join(lines)


def _extremes(rows: Sequence[ClassRow]) -> list[str]:
    present = [row for row in rows if row.pixels and row.id != BACKGROUND]
    ranked = sorted(present, key=lambda row: (-row.iou, row.id))
    shown = min(_SHOWN, len(ranked) // 2)
    lines = [f"{len(present)} of {len(rows) - 1} classes are in the ground truth"]
    for title, part in (("worst", ranked[::-1][:shown]), ("best", ranked[:shown])):
        listed = ", ".join(f"{f'{row.id} {row.class_name}'.strip()} {row.iou:.1f}" for row in part)
        lines.append(f"{title:<7}{listed}")
    return lines


def interval_text(
    found: Mapping[str, Interval | list[Interval]], level: float, empty: Collection[str] = ()
) -> str:
    """Writes the bootstrap's intervals as an aligned table.

    Args:
        found: Metric -> interval, as `bootstrap.intervals` gives them; "IoUs" is not shown.
        level: Of the intervals, 0..1, for the heading.
        empty: Names of the metrics that no object counts for: left out.

    Returns:
        A heading and a line for each metric, without a line break at the end.
    """
    lines = [
        f"{'metric':<9}{'value':>8}  {f'{100 * level:g} % interval':^17} {'error':>7} {'bias':>7}"
    ]
    for name in SCALARS:
        if name in empty:
            continue
        item = found[name]
        assert isinstance(item, Interval)
        between = f"{item.low:.2f} to {item.high:.2f}"
        lines.append(
            f"{name:<9}{item.estimate:8.2f}  {between:^17} {item.error:7.2f} {item.bias:7.2f}"
        )
    return "\n".join(lines)


def difference_text(
    found: Mapping[str, Difference], level: float, empty: Collection[str] = ()
) -> str:
    """Writes a comparison as an aligned table.

    Args:
        found: Metric -> difference, as `bootstrap.compare` gives them.
        level: Of the intervals, 0..1. Metrics whose p-value is at most 1 - level are starred.
        empty: Names of the metrics that no object counts for: left out.

    Returns:
        A heading and a line for each metric, without a line break at the end.
    """
    title = f"{100 * level:g} % interval"
    lines = [f"{'metric':<9}{'A':>8}{'B':>8}{'B - A':>8}  {title:^19} {'p':>7}"]
    for name, item in found.items():
        if name in empty:
            continue
        star = " *" if item.p <= 1 - level else ""
        between = f"{item.low:+.2f} to {item.high:+.2f}"
        lines.append(
            f"{name:<9}{item.a:8.2f}{item.b:8.2f}{item.b - item.a:+8.2f}  {between:^19} "
            f"{item.p:7.4f}{star}"
        )
    return "\n".join(lines)
