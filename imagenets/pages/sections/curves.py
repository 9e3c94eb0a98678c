"""Curves of every trained stage, from what it logged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from imagenets.pages.charts import Chart, Series
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill
from imagenets.training.watch import BESIDE

Rows = Sequence[Mapping[str, Any]]

_SWAV = {"pretrain": "i2i", "attention": "loss"}
"""Stage -> the loss whose limit is ln M: there, all images share the prototypes alike."""

_WORDS = {"ln_M": "ln M", "images_per_second": "images a second"}


def _render(run: RunFiles) -> Markup:
    stages = {stage: list(charts({"": rows}, stage)) for stage, rows in run.logs.items() if rows}
    return fill("sections/curves.html", stages=stages)


def charts(runs: Mapping[str, Rows], stage: str) -> Iterator[Chart]:
    """What a stage logged, as charts: losses, use of prototypes, scores, rate, speed.

    Args:
        runs: Name of a run, which stands before the names of lines, -> the rows of its log.
        stage: Its name.
    """
    sample = next(rows[0] for rows in runs.values() if rows)
    losses = [
        name
        for name, value in sample.items()
        if name not in BESIDE and isinstance(value, (int, float)) and "IoU" not in name
    ]
    limit = "ln_M" in sample
    about = f", and ln M beside {_SWAV.get(stage, 'loss')}" if limit else ""
    if len(runs) > 1:  # one line a run: more would be too many to tell apart
        losses = losses[:1] if stage not in _SWAV else [_SWAV[stage]]
    names = [*losses, *(["ln_M"] if limit else [])]
    yield from _chart(runs, names, f"Losses{about}", "loss, nats")
    yield from _chart(runs, ["entropy", "ln_M"], "How evenly prototypes are used", "entropy, nats")
    if len(runs) == 1:
        yield from _chart(runs, ["used"], "Prototypes in use", "share", (0.0, 1.0))
    scores = [
        name for rows in runs.values() for row in rows for name in row if name.endswith("mIoU")
    ]
    yield from _chart(runs, list(dict.fromkeys(scores)), "Validation", "percent")
    yield from _chart(runs, ["rate"], "Learning rate", "rate at the epoch's end", (0.0,))
    if len(runs) == 1:
        yield from _chart(runs, ["images_per_second"], "Speed", "images a second", (0.0,))


def _chart(
    runs: Mapping[str, Rows],
    names: Sequence[str],
    title: str,
    unit: str,
    within: Sequence[float] = (),
) -> Iterator[Chart]:
    """One chart of the numbers that are named; none where no row has the first of them."""
    found = []
    for run, rows in runs.items():
        for name in names:
            own = [row for row in rows if isinstance(row.get(name), (int, float))]
            label = " ".join(filter(None, (run, _WORDS.get(name, name))))
            xs, ys = [row["epoch"] for row in own], [row[name] for row in own]
            one = Series(label, xs, ys, limit=name == "ln_M")
            if one.points:
                found.append(one)
    if not found or all(one.limit for one in found):
        return
    yield Chart(title, "epoch", unit, found, within=within)


SECTION = Section("Training", _render)
