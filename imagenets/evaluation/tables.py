"""Figures as text for people and as CSV for spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence

from imagenets.evaluation.metrics import Figures

_HEADINGS = {
    "mIoU": "mean IoU over other and all classes",
    "mBIoU": "mean boundary IoU",
    "FMeasure": "foreground F-measure",
    "Acc": "image-level accuracy",
}


def figures_text(figures: Figures, images: int, classes: Sequence[str] | None = None) -> str:
    """The figures as an aligned table, with the classes that score best and worst.

    Args:
        figures: In percent.
        images: Number of images.
        classes: Names of the classes 1..K, if known.
    """
    values = dict(figures)
    lines = [f"{images} images, {len(figures['IoUs']) - 1} classes", ""]
    lines += [f"{name:<9}{values[name]:8.2f}  {text}" for name, text in _HEADINGS.items()]
    lines += ["", f"{'object size':<14}{'S':>8}{'MS':>8}{'ML':>8}{'L':>8}"]
    for title, prefix in (("IoU", ""), ("boundary IoU", "B")):
        row = "".join(f"{values[prefix + size]:8.2f}" for size in ("S", "MS", "ML", "L"))
        lines.append(f"{title:<14}{row}")
    ranked = sorted(enumerate(figures["IoUs"]), key=lambda item: (-item[1], item[0]))
    shown = min(5, len(ranked) // 2)
    for title, part in (("best", ranked[:shown]), ("worst", ranked[len(ranked) - shown :])):
        listed = ", ".join(f"{class_name(i, classes)} {value:.1f}" for i, value in part)
        lines.append(f"{title:<7}{listed}")
    return "\n".join(lines)


def class_name(index: int, classes: Sequence[str] | None) -> str:
    """What to call an id: other, its class where known, or the number."""
    if index == 0:
        return "other"
    return f"{index} {classes[index - 1]}" if classes else str(index)
