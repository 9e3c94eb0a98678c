"""What is true of every page: it parses, asks nobody, and can be read without eyes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "link", "img", "input", "br"}
SHAPES = {"line", "rect", "circle", "polyline"}


class Parsed(HTMLParser):
    """The elements of a page: name, attributes and text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, Any], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        held: list[str] = []
        self.elements.append((tag, dict(attrs), held))
        if tag not in VOID:
            self._open.append((tag, held))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SHAPES, tag
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, held in self._open:
            held.append(data)

    def all(self, name: str, **attributes: str) -> list[tuple[dict[str, Any], str]]:
        """Attributes and text of the elements with a name and these attributes."""
        return [
            (found, "".join(text).strip())
            for tag, found, text in self.elements
            if tag == name and attributes.items() <= found.items()
        ]


def check(text: str, sections: list[str], evil: str = "") -> Parsed:
    """Checks what is true of every page; gives its elements.

    Args:
        text: The page.
        sections: Ids of the sections that it must have, in their order.
        evil: Text that must not have become HTML.
    """
    page = Parsed(text)
    assert [found["id"] for found, _ in page.all("section")] == sections
    ids = [found["id"] for _, found, _ in page.elements if "id" in found]
    assert len(set(ids)) == len(ids)
    for tag, found, _ in page.elements:
        assert not any(name.startswith("on") for name in found), (tag, found)
        for name in ("src", "href"):
            assert (found.get(name) or "data:").startswith(("data:", "#")), (tag, found)
        for name in ("aria-labelledby", "for", "data-filters"):
            assert found.get(name, ids[0]) in ids, (tag, found)
        for name in ("data-values", "data-legend", "data-colours"):
            assert json.loads(found.get(name, "[]")) is not None
    assert all("alt" in found and found["alt"] for found, _ in page.all("img"))
    assert all("scope" in found for found, _ in page.all("th"))
    assert all(found["href"][1:] in ids for found, _ in page.all("a"))
    assert len(page.all("script")) == 1
    bare = re.sub(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+", "", text)
    if not evil:
        assert "http://" not in bare
    assert "https://" not in bare
    assert "url(" not in bare
    assert "@import" not in bare
    assert not re.search(r"[\"'(= ]//", bare)
    if evil:
        assert evil not in text
        assert not any("evil" in json.dumps(found.get("src")) for _, found, _ in page.elements)
    return page
