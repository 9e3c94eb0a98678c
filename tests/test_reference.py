"""The reference holds what the pages use; that it builds without a warning, `make docs` shows."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import imagenets

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", *sorted((TOP / "docs").glob("*.md")), *(TOP / "docs").glob("*/*.py")]


def documented() -> set[str]:
    """The modules of the reference."""
    pages = (TOP / "docs" / "api").glob("*.md")
    texts = [page.read_text("utf-8") for page in pages]
    return {name for text in texts for name in re.findall(r"automodule:: (\S+)", text)}


def used() -> dict[str, str]:
    """The modules that examples import from, and a page that does."""
    return {
        module: page.name
        for page in PAGES
        for module in re.findall(r"^from (imagenets[\w.]+) import", page.read_text("utf-8"), re.M)
        if module != "imagenets"
    }


def test_every_module_that_the_pages_use_is_in_it() -> None:
    assert len(used()) > 20
    known = documented() | {name.rpartition(".")[0] for name in documented()}
    assert {name: page for name, page in used().items() if name not in known} == {}


def test_every_name_of_the_package_has_its_home_in_it() -> None:
    homes = {name: home for name, home in imagenets._HOMES.items() if home not in documented()}
    assert homes == {}


def test_every_module_of_it_is_there() -> None:
    assert len(documented()) > 40
    assert [name for name in documented() if find_spec(name) is None] == []
