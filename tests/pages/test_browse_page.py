"""The browser of a set in a headless Chromium: pictures, filters, overlays, keys, no gaps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import Chromium, chromium, needed

from imagenets import ImageNetS
from imagenets.pages import browser as writing
from imagenets.pages.browser import write_browser
from imagenets.pages.browsing import pieces

pytestmark = [pytest.mark.extras, needed]

MANY = 12_419
"""Validation images of tier 919."""

NAMES = "[...document.querySelectorAll('.cell')].sort((a, b) => a.dataset.place - b.dataset.place)"
NAMES += ".map(one => one.getAttribute('aria-label').split(', ').at(-1))"

WAIT = """(async () => {{
  for (let time = 0; time < 200; time++) {{
    if ({}) return true;
    await new Promise(resolve => setTimeout(resolve, 25));
  }}
  return false;
}})()"""

SEEN = """(() => {
  const cells = [...document.querySelectorAll('.cell')].filter(one => {
    const box = one.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  });
  return cells.length > 0 && cells.every(one => one.firstChild.naturalWidth > 0);
})()"""
"""Whether every cell in the window has its picture."""

PIXEL = """(() => {{
  const canvas = document.getElementById('picture');
  return [...canvas.getContext('2d').getImageData({}, {}, 1, 1).data].slice(0, 3);
}})()"""


def set_to(one: str, value: str, what: str = "value") -> str:
    where = f"document.getElementById('{one}')"
    return f"{where}.{what} = {value}; {where}.dispatchEvent(new Event('input'))"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def look(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("browse") / "look"
    return write_browser(tiny_root, "3", ["validation", "train-semi"], out, workers=1).page


@pytest.fixture
def page(opened: Chromium, look: Path) -> Iterator[Chromium]:
    """The page, open and read; at its end nothing has gone wrong, and only pieces were loaded."""
    start(opened, look)
    yield opened
    opened.run("new Promise(resolve => setTimeout(resolve, 100))")
    assert opened.problems == []
    assert all(url.startswith(look.parent.resolve().as_uri()) for url in opened.requests)


def start(browser: Chromium, path: Path, **how: Any) -> None:
    browser.problems.clear()
    browser.requests.clear()
    browser.open(path, **how)
    assert browser.run(WAIT.format(SEEN))
    assert browser.run(WAIT.format("!document.getElementById('count').value.includes('reading')"))


def found(browser: Chromium) -> str:
    browser.run("new Promise(resolve => setTimeout(resolve, 60))")
    text: str = browser.run("document.getElementById('count').value")
    return text


def test_filters(page: Chromium, tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", 3, target="label")
    assert found(page) == "18 of 18"
    page.run(set_to("split", "'validation'"))
    assert found(page) == "12 of 18"
    assert page.run(NAMES) == list(data.names)
    page.run(set_to("differ", "true", "checked"))
    differing = np.flatnonzero(data.target_ids != data.class_ids)
    assert 0 < len(differing) < len(data)
    assert found(page) == f"{len(differing)} of 18"
    assert page.run(NAMES) == [data.names[i] for i in differing.tolist()]
    page.run("document.getElementById('reset').click()")
    page.run(set_to("class", "'N90000002'"))
    page.run(set_to("split", "'validation'"))
    assert found(page) == "4 of 18"
    page.run(set_to("label", "'n90000009'"))
    assert found(page) == "1 of 18"
    page.run(set_to("class", "''") + ";" + set_to("label", "''"))
    page.run(set_to("size", "'absent'"))
    assert found(page) == f"{int((data.object_shares() == 0).sum())} of 18"
    page.run(set_to("size", "'S'"))
    assert found(page) == f"{len(data.subset_by_size('S'))} of 18"
    page.run(set_to("size", "''") + ";" + set_to("class", "'no such word'"))
    assert found(page) == "0 of 18"
    assert page.run(NAMES) == []


def test_mask_and_target_lie_over_the_photograph(page: Chromium, tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", 3, target="label")
    place = int(np.flatnonzero(data.object_shares() > 0)[0])
    ids = data.mask(place)
    top, left = (int(at[0]) for at in np.nonzero(ids == data.target_ids[place]))
    other = tuple(int(at[0]) for at in np.nonzero(ids == 0))
    page.run(f"document.querySelector('.cell[data-place=\"{place}\"]').click()")
    drawn = "document.getElementById('picture').width === {}"
    assert page.run(WAIT.format(drawn.format(ids.shape[1])))
    assert page.run("document.getElementById('one-name').textContent") == data.names[place]
    colours = {}
    for key, mode in {"p": "photo", "m": "mask", "t": "target"}.items():
        page.press(key)
        pressed = f"document.querySelector('[data-mode=\"{mode}\"]').ariaPressed"
        assert page.run(pressed) == "true"
        places = ((left, top), other[::-1])
        colours[mode] = [page.run(PIXEL.format(*place)) for place in places]
    assert colours["mask"][0] != colours["photo"][0]
    assert colours["mask"][1] == colours["photo"][1]  # of no class: nothing lies over it
    assert colours["target"][1] != colours["photo"][1]
    near = np.array(colours["photo"][0]) * (1 - 150 / 255) + np.array([255, 176, 0]) * 150 / 255
    np.testing.assert_allclose(colours["target"][0], near, atol=3)
    page.press("ArrowRight")
    assert page.run("document.getElementById('one-name').textContent") == data.names[place + 1]
    page.run("document.getElementById('one').close()")
    page.run("new Promise(resolve => setTimeout(resolve, 60))")
    assert page.run("document.activeElement.dataset.place") == str(place + 1)


def test_an_open_image_stays_itself_when_the_filter_changes(
    page: Chromium, tiny_root: Path
) -> None:
    """What is found changes below it, as when pieces of the index come late."""
    data = ImageNetS(tiny_root, "validation", 3, target="label")
    place = int(np.flatnonzero(data.object_shares() > 0)[-1])
    name = "document.getElementById('one-name').textContent"
    page.run(f"document.querySelector('.cell[data-place=\"{place}\"]').click()")
    drawn = f"document.getElementById('picture').width === {data.mask(place).shape[1]}"
    assert page.run(WAIT.format(drawn))
    top, left = (int(at[0]) for at in np.nonzero(data.mask(place) == data.target_ids[place]))
    page.press("t")
    before = page.run(PIXEL.format(left, top))
    page.run(set_to("class", "'no such word'"))
    assert found(page) == "0 of 18"
    page.press("p")
    page.press("t")
    assert page.run(PIXEL.format(left, top)) == before
    page.press("ArrowRight")  # there is none to go to
    assert page.run(name) == data.names[place]
    page.run(set_to("class", "''") + ";" + set_to("differ", "true", "checked"))
    differing = [data.names[i] for i in np.flatnonzero(data.class_ids != data.target_ids)]
    assert found(page) == f"{len(differing)} of 18"
    stays = data.names[place] in differing
    page.press("ArrowLeft")
    wanted = differing[differing.index(data.names[place]) - 1] if stays else data.names[place]
    assert page.run(name) == wanted


def test_keys_move_among_the_images(page: Chromium) -> None:
    at = "Number(document.activeElement.dataset.place)"
    page.press("/")
    assert page.run("document.activeElement.id") == "class"
    page.run("document.querySelector('.cell[tabindex=\"0\"]').focus()")
    assert page.run(at) == 0
    page.press("ArrowRight")
    assert page.run(at) == 1
    page.press("ArrowDown")
    assert page.run(at) > 2
    page.press("End")
    assert page.run(at) == 17
    page.press("Home")
    assert page.run(at) == 0
    assert page.run("document.querySelectorAll('.cell[tabindex=\"0\"]').length") == 1


def test_dark_and_light_and_narrow(page: Chromium, look: Path) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.run(colour)
    start(page, look, width=390, dark=True)
    assert page.run(colour) != light
    assert page.run("document.documentElement.scrollWidth <= innerWidth")


def test_every_control_has_a_name(page: Chromium) -> None:
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node.get("ignored")
    }
    roles = {"button", "link", "searchbox", "combobox", "checkbox", "image", "img", "dialog"}
    assert not {role for role, name in named if not name} & roles
    assert {("searchbox", "Class"), ("searchbox", "Label"), ("combobox", "Object")} <= named


@pytest.mark.parametrize("cut", [False, True])
def test_a_missing_piece_is_told(
    cut: bool, opened: Chromium, tiny_root: Path, tmp_path: Path
) -> None:
    made = write_browser(tiny_root, "3", ["validation"], tmp_path / "look", workers=1)
    piece = next(made.page.parent.rglob("thumbs-0.js"))
    text = piece.read_text()
    piece.unlink()
    if cut:
        piece.write_text(text[: len(text) // 2])
    opened.open(made.page)
    assert opened.run(WAIT.format("!document.getElementById('trouble').hidden"))
    text = opened.run("document.getElementById('trouble').textContent")
    assert "thumbs-0.js cannot be loaded" in text


def test_images_beyond_the_tallest_page_are_told(
    opened: Chromium, tiny_root: Path, tmp_path: Path
) -> None:
    """Rows of pieces are repeated by hand: 90,000 images would take minutes to draw."""
    page = write_browser(tiny_root, "3", ["validation"], tmp_path / "look", workers=1).page
    count, reach = 90_000, 16_000_000 // 182
    text = page.read_text("utf-8")
    assert text.count("&#34;count&#34;: 12") == 1
    page.write_text(text.replace("&#34;count&#34;: 12", f"&#34;count&#34;: {count}"), "utf-8")
    (folder,) = page.parent.glob("validation-*")
    for kind, size in (("index", 256), ("thumbs", 32)):
        head, _, rest = (folder / f"{kind}-0.js").read_text("utf-8").partition("0, [")
        rows = json.loads(f"[{rest.rstrip()[:-1]}")
        for first in range(0, count, size):
            part = json.dumps([rows[i % 12] for i in range(first, min(first + size, count))])
            number = first // size
            (folder / f"{kind}-{number}.js").write_text(f"{head}{number}, {part})\n", "utf-8")
    start(opened, page, width=320)  # one in a row
    assert found(opened) == "90,000 of 90,000"
    beyond = "document.getElementById('beyond')"
    assert f"the first {reach:,} can be scrolled to" in opened.run(f"{beyond}.textContent")
    assert opened.run(f"{beyond}.hidden") is False
    opened.run("scrollTo(0, document.documentElement.scrollHeight)")
    assert opened.run(WAIT.format(f"document.querySelector('[data-place=\"{reach - 1}\"]')"))
    opened.run(set_to("class", "'n90000001'"))
    assert found(opened) == "30,000 of 90,000"
    assert opened.run(f"{beyond}.hidden") is True
    assert opened.problems == []


def test_many_images_are_scrolled_without_gaps(
    opened: Chromium, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def many(root: Path, tier: str, split: str) -> tuple[ImageNetS, None]:
        data = ImageNetS(root, split, tier)
        return data.subset(np.arange(MANY) % len(data)), None

    monkeypatch.setattr(writing, "open_split", many)
    monkeypatch.setattr(pieces, "open_split", many)
    page = write_browser(tiny_root, "3", ["validation"], tmp_path / "look", workers=1).page
    start(opened, page)
    assert found(opened) == "12,419 of 12,419"
    first = opened.run("performance.getEntriesByName('first picture')[0].startTime")
    assert first < 3000  # milliseconds; see docs/browse.md for a quiet machine
    height = opened.run("document.documentElement.scrollHeight")
    most = 0
    for place in (0.1, 0.11, 0.5, 0.9, 0.3, 1.0):
        opened.run(f"scrollTo(0, {place * height})")
        opened.run("new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve, 20)))")
        assert opened.run(WAIT.format(SEEN))
        most = max(most, opened.run("document.querySelectorAll('.cell').length"))
    opened.run(set_to("differ", "true", "checked"))  # few of each piece: all pieces at once
    for place in (0.5, 0.0, 1.0, 0.2):
        opened.run(f"scrollTo(0, {place} * document.documentElement.scrollHeight)")
        opened.run("new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve, 20)))")
        assert opened.run(WAIT.format(SEEN))
    opened.run(set_to("differ", "false", "checked"))
    assert found(opened) == "12,419 of 12,419"
    opened.run("scrollTo(0, document.documentElement.scrollHeight)")
    opened.run("new Promise(resolve => requestAnimationFrame(() => setTimeout(resolve, 20)))")
    assert opened.run(WAIT.format(SEEN))
    assert most < 200  # what is far from the window is not there
    assert opened.run("document.querySelector('.cell[data-place=\"12418\"]') !== null")
    assert opened.problems == []
