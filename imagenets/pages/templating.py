"""Templates filled in: everything that is put into one is escaped, unless a template made it."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, Generic, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

T = TypeVar("T")


@dataclass(frozen=True)
class Section(Generic[T]):
    """One section of a page.

    Attributes:
        title: Its heading.
        render: Makes its HTML of what the page is about.
    """

    title: str
    render: Callable[[T], Markup]


def page(
    title: str, facts: Sequence[str], registry: Mapping[str, str], about: T, note: str = ""
) -> str:
    """A whole page, one file that needs no other and asks nobody for anything.

    Its content security policy lets no request out, and no script run but the page's own.

    Args:
        title: Of the page.
        facts: What stands below the title.
        registry: Name of a section -> `module:SECTION`, in the order of the page.
        about: What the sections are rendered of.
        note: Stands at the end.

    Returns:
        The HTML.
    """
    parts = [(name, _section(where)) for name, where in registry.items()]
    return fill(
        "page.html",
        title=title,
        facts=facts,
        sections=[(name, section.title, section.render(about)) for name, section in parts],
        style=styled("style.css"),
        note=note,
        **scripted("page.js"),
    )


def styled(*names: str) -> Markup:
    """Style sheets of this package, one after the other."""
    return Markup("".join(map(_text, names)))  # noqa: S704 - files of this package


def scripted(*names: str) -> dict[str, Any]:
    """Scripts of this package as one, and the digest that lets it run, for a template."""
    script = "".join(map(_text, names))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": Markup(script), "digest": digest}  # noqa: S704 - files of this package


def fill(template: str, **values: Any) -> Markup:
    """Fills a template of `pages/templates` in; text among the values is escaped."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704 - escaped


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    if value is None or math.isnan(value):
        return "–"  # noqa: RUF001 - a dash
    return f"{value:.{digits}f}"


def short(value: Any) -> str:
    """A setting for people: a number or word as it is, a list of such with commas."""
    if isinstance(value, (list, tuple)):
        return ", ".join(short(item) for item in value) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("imagenets.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"fixed": fixed, "short": short}
    return made


@cache
def _text(name: str) -> str:
    return files("imagenets.pages").joinpath("templates", name).read_text("utf-8")


def _section(where: str) -> Section[Any]:
    module, _, what = where.partition(":")
    found: Section[Any] = getattr(import_module(module), what)
    return found
