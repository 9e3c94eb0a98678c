"""The mIoU of the labels on validation at every threshold."""

from __future__ import annotations

from markupsafe import Markup

from imagenets.pages.charts import Chart, Series
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill


def _render(run: RunFiles) -> Markup:
    found = run.reports.get("pseudo", {})
    told = {name: found[name] for name in found if name not in ("threshold", "images")}
    return fill("sections/threshold.html", chart=chart({"mIoU": run}), told=told)


def chart(runs: dict[str, RunFiles]) -> Chart | None:
    """The curves of some runs by name; None where none of them kept any."""
    kept = {name: run.sweep for name, run in runs.items() if run.sweep}
    if not kept:
        return None
    series = [Series(name, sweep["thresholds"], sweep["mIoU"]) for name, sweep in kept.items()]
    best = next(iter(kept.values()))["best"]
    mark = (best, f"chosen: {best:.2f}") if len(kept) == 1 else None
    title = "Labels on validation by threshold"
    return Chart(title, "threshold", "mIoU, percent", series, mark)


SECTION = Section("Threshold", _render)
