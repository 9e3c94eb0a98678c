"""The settings in which the runs differ, and those that they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from imagenets.pages.comparison import Pair
from imagenets.pages.templating import Section, fill, short
from imagenets.training.ledger import changes


def _render(pair: Pair) -> Markup:
    a, b = pair.a.settings, pair.b.settings
    differ = [(name, *_told(_at(a, name), _at(b, name))) for name in changes(a, b)]
    shared = {name: value for name, value in a.items() if name in b and b[name] == value}
    return fill("comparing/settings.html", differ=differ, shared=shared)


def _at(settings: Mapping[str, Any], name: str) -> Any:
    """The setting with a name such as `pretrain.epochs`; None where there is none."""
    found: Any = settings
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _told(a: Any, b: Any) -> tuple[str, str]:
    """Two settings that differ: in full where they look the same in short."""
    found = short(a), short(b)
    return found if found[0] != found[1] else (repr(a), repr(b))


SECTION = Section("Settings", _render)
