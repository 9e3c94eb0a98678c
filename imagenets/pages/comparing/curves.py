"""Curves of the stages that both runs trained, in the same charts."""

from __future__ import annotations

from markupsafe import Markup

from imagenets.pages.comparison import Pair
from imagenets.pages.sections.curves import charts
from imagenets.pages.templating import Section, fill


def _render(pair: Pair) -> Markup:
    names = dict.fromkeys([*pair.a.logs, *pair.b.logs])
    logs = {
        stage: {letter: run.logs.get(stage, []) for letter, run in pair.runs.items()}
        for stage in names
    }
    stages = {
        stage: list(charts(rows, stage)) for stage, rows in logs.items() if any(rows.values())
    }
    return fill("sections/curves.html", stages=stages)


SECTION = Section("Training", _render)
