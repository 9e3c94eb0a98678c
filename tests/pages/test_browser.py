"""The pages in a headless Chromium: they open, sort, filter, name colours, and ask nobody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Chromium, chromium, needed
from made_run import HOSTILE, make_run

from imagenets.pages.comparison import write_comparison
from imagenets.pages.report import write_report

pytestmark = [pytest.mark.extras, needed]

COLUMN = "[...document.querySelectorAll('#classes-rows tr')].map(row => row.cells[{}].innerText)"
SHOWN = "[...document.querySelectorAll('#classes-rows tr')].filter(row => !row.hidden).length"

SETTLED = """(async () => {
  const image = document.querySelector('.card .mask');
  for (let time = 0, top = NaN; time < 50 && top !== image.getBoundingClientRect().top; time++) {
    image.scrollIntoView({ block: 'center' });
    top = image.getBoundingClientRect().top;
    await image.decode();
    await new Promise(resolve => setTimeout(resolve, 100));
  }
})()"""
"""Brings the first mask into the middle, and waits until nothing moves: cards are drawn late."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def page(
    browser: Chromium, made: Path, tiny_root: Path, tmp_path: Path
) -> Iterator[tuple[Chromium, Path]]:
    """The page of a run, open; at its end nothing has gone wrong, and nobody was asked."""
    path = write_report(tiny_root, "3", made, tmp_path / "page.html", workers=1)
    browser.problems.clear()
    browser.requests.clear()
    browser.open(path)
    yield browser, path
    browser.run("new Promise(resolve => setTimeout(resolve, 100))")
    assert browser.problems == []
    assert set(browser.requests) == {path.resolve().as_uri()}


def test_tables_are_sorted_and_filtered(page: tuple[Chromium, Path]) -> None:
    browser, _ = page
    ious = [float(text) for text in browser.run(COLUMN.format(3))]
    assert ious == sorted(ious, reverse=True)
    browser.run("document.querySelector('#classes th:nth-child(4) button').click()")
    assert [float(text) for text in browser.run(COLUMN.format(3))] == sorted(ious)
    heads = "[...document.querySelectorAll('#classes thead [aria-sort]')].map(one => one.ariaSort)"
    assert browser.run(heads)[3] == "ascending"
    browser.run("document.querySelector('#classes th:nth-child(1) button').click()")
    names = browser.run(COLUMN.format(0))
    assert names == ["n90000001", "n90000002", "n90000003", "other"]
    assert browser.run(heads).count("none") == len(browser.run(heads)) - 1
    typed = "const box = document.getElementById('classes-filter'); box.value = {!r};"
    event = "box.dispatchEvent(new Event('input')); document.querySelector('#classes output').value"
    assert browser.run("{" + typed.format("N90000002") + event + "}") == "1 of 4"
    assert browser.run(SHOWN) == 1
    assert browser.run("{" + typed.format("") + event + "}") == "4 of 4"
    assert browser.run(SHOWN) == 4


def test_a_chart_is_read_off_with_the_keyboard(page: tuple[Chromium, Path]) -> None:
    browser, _ = page
    browser.run("document.querySelector('#curves svg[tabindex]').focus()")
    reading = "document.querySelector('#curves .reading').textContent"
    assert browser.run(reading) == "epoch 5: i2i 0.5, p2p 0.5, ln M 2"
    browser.press("ArrowLeft")
    assert browser.run(reading).startswith("epoch 4: i2i 0.625")
    browser.press("Home")
    assert browser.run(reading).startswith("epoch 1: i2i 2.5")


def test_the_pointer_names_the_colours_of_a_mask(page: tuple[Chromium, Path]) -> None:
    browser, _ = page
    browser.run(SETTLED)
    left, top, width, height = browser.run(
        "{const box = document.querySelector('.card .mask').getBoundingClientRect();"
        "[box.left, box.top, box.width, box.height]}"
    )
    tip = "[document.getElementById('tip').hidden, document.getElementById('tip').textContent]"
    named = set()
    for step in range(20):
        browser.move(left + width * (step + 0.5) / 20, top + height / 2)
        hidden, text = browser.run(tip)
        assert not hidden
        named.add(text)
    assert named > {"other"}
    assert named <= {"other", "ignored", "n90000001", "n90000002", "n90000003"}
    browser.move(left + width / 2, top - 300)
    assert browser.run(tip)[0]


def test_dark_and_light(page: tuple[Chromium, Path]) -> None:
    browser, path = page
    colour = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(colour)
    browser.run("document.getElementById('theme').click()")
    dark = browser.run(colour)
    assert dark != light
    browser.open(path)
    assert browser.run(colour) == dark  # the choice is kept
    browser.run("localStorage.clear()")
    browser.open(path)
    assert browser.run(colour) == light
    browser.open(path, dark=True)
    assert browser.run(colour) == dark  # the system's choice
    assert browser.run("document.getElementById('theme').innerText").endswith("Light")


def test_narrow_windows_scroll_no_page_sideways(page: tuple[Chromium, Path]) -> None:
    browser, path = page
    browser.open(path, width=390)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


def test_every_control_is_reached_by_tab_and_has_a_name(page: tuple[Chromium, Path]) -> None:
    browser, _ = page
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node.get("ignored")
    }
    unnamed = {role for role, name in named if not name}
    assert not unnamed & {"button", "link", "searchbox", "image", "img", "table", "region"}
    assert ("searchbox", "Filter classes") in named
    focusable = "a[href], button, input, [tabindex='0'], summary"
    assert browser.run(
        f"[...document.querySelectorAll({focusable!r})].every(one => one.tabIndex === 0)"
    )


def test_two_runs_side_by_side_open_without_a_problem(
    browser: Chromium, made: Path, tiny_root: Path, tmp_path: Path
) -> None:
    other = make_run(tiny_root, tmp_path / "other", shift=3, text=HOSTILE)
    path = write_comparison(tiny_root, "3", (made, other), tmp_path / "page.html", workers=1)
    browser.problems.clear()
    browser.requests.clear()
    browser.open(path)
    gains = [float(text) for text in browser.run(COLUMN.format(5))]
    assert gains == sorted(gains, reverse=True)
    browser.run("document.querySelector('#classes th:nth-child(6) button').click()")
    assert [float(text) for text in browser.run(COLUMN.format(5))] == sorted(gains)
    assert browser.run("document.images.length") > 0
    assert browser.problems == []
    assert browser.requests == [path.resolve().as_uri()]
