"""The tables of the documents are those of the last measurement: `make figures` makes them."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[1]
MARK = "<!-- figures: "


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(TOP / "benchmarks"))
    yield import_module("figures")
    for name in ("figures", "tables"):
        sys.modules.pop(name, None)


def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((TOP / "benchmarks" / "figures.json").read_text("utf-8"))
    return found


def test_tables_say_what_was_measured(figures: Any) -> None:
    pages = {path: path.read_text("utf-8") for path in (TOP / "docs").glob("*.md")}
    marked = [path.name for path, text in pages.items() if MARK in text]
    assert "performance.md" in marked
    for text in pages.values():
        assert len(figures.MARKED.findall(text)) == text.count(MARK)
    assert [
        path.name for path, text in pages.items() if figures.written(text, kept()) != text
    ] == []


def test_every_measurement_has_its_table_and_every_table_its_measurement() -> None:
    text = "".join(path.read_text("utf-8") for path in (TOP / "docs").glob("*.md"))
    named = {part.partition(" ")[0] for part in text.split(MARK)[1:]}
    assert named == {*kept(), "machines"}


def test_a_table_follows_its_figures(figures: Any) -> None:
    page = f"{MARK}semi-vit -->\nold\n<!-- end of figures -->\n"
    found = {"semi-vit": {"found": {"step / bare": [1.0, 1.2, 1.1]}}}
    assert "Step / bare pass: 1.10 (1.00-1.20)." in figures.written(page, found)
    with pytest.raises(SystemExit, match="no benchmark 'soup'"):
        figures.written(page.replace("semi-vit", "soup"), found)


def test_a_rival_stands_with_its_version(figures: Any) -> None:
    speeds: dict[str, list[float]] = defaultdict(lambda: [10.0])
    assert figures.tables.loader(figure_of(speeds))  # asks for all that it shows
    speeds["webdataset 1.0.2"] = [5.0, 4.0, 6.0]
    lines = figures.tables.loader(figure_of(speeds))
    assert "| WebDataset 1.0.2 with Pillow | 0.50 | 5 (4-6) |" in lines


def figure_of(speeds: dict[str, list[float]]) -> dict[str, Any]:
    return {"images a second": speeds, "bytes an image": defaultdict(int)}
