"""The metrics of both runs, how sure their differences are, and every way of scoring."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from imagenets.evaluation import bootstrap
from imagenets.evaluation.results import LEVEL, SAMPLES, interval_of, thresholds_of
from imagenets.pages.comparison import Pair
from imagenets.pages.sections.scores import forest
from imagenets.pages.templating import Section, fill
from imagenets.protocols import PROTOCOLS, VALID

Row = dict[str, Any]


def _render(pair: Pair) -> Markup:
    found = bootstrap.compare(pair.a.counted.counts, pair.b.counted.counts, SAMPLES, LEVEL)
    empty = {*pair.a.scores.get("empty", []), *pair.b.scores.get("empty", [])}
    ways = _ways(pair)
    drawn = [
        (f"{letter}: {masks}, {way}", row, "AB".index(letter))
        for (masks, way), rows in ways.items()
        for letter, row in rows.items()
    ]
    return fill(
        "comparing/scores.html",
        warnings=[f"{k}: {run.mismatch}" for k, run in pair.runs.items() if run.mismatch],
        metrics={name: one for name, one in found.items() if name not in empty},
        sure=1 - LEVEL,
        forest=forest(drawn),
        ways=[
            {"masks": masks, "protocol": way, "rows": {k: _told(row) for k, row in rows.items()}}
            for (masks, way), rows in ways.items()
        ],
        protocols=_protocols(pair),
    )


def _ways(pair: Pair) -> dict[tuple[str, str], dict[str, Row]]:
    """Masks and protocol -> letter of a run -> its row."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for letter, run in pair.runs.items():
        for row in run.scores.get("results", []):
            found.setdefault((row["masks"], row["protocol"]), {})[letter] = row
    return found


def _told(row: Row) -> dict[str, Any]:
    return {
        "mIoU": row["mIoU"],
        "interval": interval_of(row),
        "thresholds": thresholds_of(row),
    }


def _protocols(pair: Pair) -> list[tuple[str, list[str]]]:
    """Title of a protocol, and whether each run is valid for it."""

    def valid(scores: Row, name: str) -> str:
        found = scores.get("valid_for", {}).get(name)
        return "not told" if found is None else VALID[found["valid"]]

    return [
        (protocol.title, [valid(run.scores, name) for run in pair.runs.values()])
        for name, protocol in PROTOCOLS.items()
    ]


SECTION = Section("Scores", _render)
