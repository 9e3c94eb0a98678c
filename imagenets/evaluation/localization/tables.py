"""Localization metrics as text for people, as rows for spreadsheets, and from files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imagenets.classes import names as class_names
from imagenets.core.files import atomic
from imagenets.evaluation.bootstrap import Difference, Interval
from imagenets.evaluation.localization.comparing import MACRO
from imagenets.evaluation.localization.measures import MEASURES
from imagenets.evaluation.localization.metrics import ClassTable, ImageTable, LocalizationMetrics

_POOLED = {
    "average_precision": "average precision",
    "roc_auc": "area under the ROC curve",
    "iou": "IoU at the best threshold of all",
}
_SHORT = {"iou_upper_bound": "IoU at best thresholds (an upper bound)"}
_TITLES = {
    "constant": "constant",
    "random": "random",
    "center_gaussian": "Gaussian",
    "ground_truth": "target",
}


def metrics_text(
    own: LocalizationMetrics, baselines: Mapping[str, LocalizationMetrics], view: str | None
) -> str:
    """The averages of a method, and of the baselines beside it, as an aligned table.

    Args:
        own: Of the method.
        baselines: Of the baselines, by name.
        view: Name of the view; None: whole images.
    """
    columns = [own, *baselines.values()]
    titles = ["maps", *(_TITLES.get(name, name) for name in baselines)]
    lines = [
        f"{own.images:,} images ({view or 'whole images'}); {own.without_target:,} without their "
        "object, in no average",
        "",
        " " * 44 + "".join(f"{title:>10}" for title in titles),
    ]
    lines += _block(
        "mean over images", MEASURES, [metrics.mean for metrics in columns], own.counted
    )
    if own.macro:
        macros = [metrics.macro for metrics in columns]
        lines += _block("mean over classes", MEASURES, macros, own.macro_classes)
    lines.append(f"all {own.pooled.pixels:,} pixels together, in {own.pooled.bins:,} bins")
    for name, text in _POOLED.items():
        row = "".join(_number(getattr(metrics.pooled, name)) for metrics in columns)
        error = getattr(own.pooled, f"{name}_error")
        lines.append(f"  {text:<42}{row}   (maps: off by at most {error:.2g})")
    return "\n".join(lines)


def _block(
    title: str,
    rows: Mapping[str, str],
    columns: list[dict[str, float]],
    counted: Mapping[str, int],
) -> list[str]:
    lines = [title]
    most = max(counted.values(), default=0)
    for name, text in rows.items():
        few = f"   (of {counted[name]:,})" if counted[name] < most else ""
        row = "".join(_number(column[name]) for column in columns)
        lines.append(f"  {_SHORT.get(name, text):<42}{row}{few}")
    return lines


def _number(value: float) -> str:
    return f"{'-':>10}" if np.isnan(value) else f"{value:10.2f}"


def interval_text(found: Mapping[str, Interval], level: float) -> str:
    """The bootstrap's intervals as an aligned table."""
    lines = [f"{'measure':<28}{'value':>8}  {f'{100 * level:g} % interval':^17} {'error':>7}"]
    for name, item in found.items():
        between = f"{item.low:.2f} to {item.high:.2f}"
        lines.append(f"{name:<28}{item.estimate:8.2f}  {between:^17} {item.error:7.2f}")
    return "\n".join(lines)


def difference_text(found: Mapping[str, Difference], level: float) -> str:
    """A comparison as an aligned table; measures that differ at 1 - level are starred."""
    title = f"{100 * level:g} % interval"
    lines = [f"{'measure':<28}{'A':>8}{'B':>8}{'B - A':>8}  {title:^19} {'p':>7}"]
    for name, item in found.items():
        star = " *" if item.p <= 1 - level else ""
        between = f"{item.low:+.2f} to {item.high:+.2f}"
        p = f"{'-':>7}" if np.isnan(item.p) else f"{item.p:7.4f}{star}"
        lines.append(
            f"{name:<28}{item.a:8.2f}{item.b:8.2f}{item.b - item.a:+8.2f}  {between:^19} {p}"
        )
    lines.append(f"{MACRO}...: mean over classes, which are held fixed")
    return "\n".join(lines)


def write_images(table: ImageTable, path: Path) -> None:
    """Writes a CSV with a line for each image: measures in percent, empty where there is none."""
    facts = {
        "target_id": table.target_ids,
        "pixels": table.pixels,
        "counted": table.counted,
        "constant": table.constant.astype(np.int64),
    }
    _write(path, {"name": table.names, **{k: v.tolist() for k, v in facts.items()}}, table.values)


def write_classes(table: ClassTable, wnids: tuple[str, ...], path: Path) -> None:
    """Writes a CSV with a line for each class: means over its images, in percent.

    Args:
        table: Of the classes.
        wnids: WordNet ids of the classes 1..K.
        path: The file.
    """
    ids = table.ids.tolist()
    own = [wnids[one - 1] for one in ids]
    facts = {
        "id": ids,
        "name": own,
        "class_name": class_names(own),
        "images": table.images.tolist(),
    }
    _write(path, facts, table.values)


def _write(
    path: Path,
    facts: Mapping[str, object],
    values: Mapping[str, np.ndarray[tuple[int], np.dtype[np.float64]]],
) -> None:
    columns = [*facts.values(), *(_cells(column) for column in values.values())]
    with atomic(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*facts, *values])
        writer.writerows(zip(*columns, strict=True))


def _cells(column: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[object]:
    return ["" if np.isnan(value) else value for value in column.tolist()]
