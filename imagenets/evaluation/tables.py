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
    """One id: what it is, IoUs in percent, areas in pixels, images whose ground truth has it.

    `name` is the WordNet id (or the folder) of the class, `class_name` the same in words.
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
    """One image: mean IoUs over the ids of its ground truth, F-measure (percent), and more.

    `hit` says whether its largest predicted class is in the ground truth, `pixels` how many are
    not ignored. A metric is NaN where the ground truth has no such pixels.
    """

    name: str
    iou: float
    biou: float
    fmeasure: float
    hit: int
    pixels: int


CLASS_KEYS = tuple(field.name for field in fields(ClassRow))


def class_rows(counts: Counts, classes: Sequence[str] | None = None) -> list[ClassRow]:
    """What is to be said of each id 0..K.

    Args:
        counts: Of all images.
        classes: WordNet ids of the classes 1..K, if known.
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
    """What is to be said of each image, the worst IoU first, those without any last."""
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
    """Writes rows under the names of their fields, numbers in full precision."""
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(rows[0])])
        writer.writerows(astuple(row) for row in rows)


def class_text(rows: Sequence[ClassRow], key: str = "id", descending: bool = False) -> str:
    """All ids as an aligned table, sorted by one of `CLASS_KEYS`."""
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
    """The metrics as an aligned table.

    Args:
        metrics: In percent.
        images: Number of images; 0 where it is not known.
        rows: Of all ids: the classes that score best and worst are shown if they are given.
        empty: Names of the metrics that no object counts for: shown as `-`.
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
    """The bootstrap's intervals as an aligned table, without the metrics named as empty."""
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
    """A comparison as an aligned table, without the metrics named as empty.

    Metrics that differ at 1 - level are starred.
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
