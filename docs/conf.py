"""The site: `make docs` builds it from the pages as they are, into build/docs.

The source folder is the repository, so that links between README.md and docs/ hold in both places.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

import imagenets

project = "imagenets"
author = "the authors of imagenets"
version = release = imagenets.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
include_patterns = ["*.md", "docs/*.md", "docs/api/*.md"]
default_role = "code"
root_doc = "docs/README"
html_extra_path = ["site"]
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_theme = "furo"
html_title = f"imagenets {version}"

myst_heading_anchors = 4

autodoc_mock_imports = ["lightning", "torchmetrics"]  # extras
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature has them
autodoc_default_options = {"members": True, "show-inheritance": False}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False

nitpicky = True
nitpick_ignore_regex = [  # names of others, which cannot be linked to without a network
    ("py:.*", r"(torch|torchmetrics|lightning|numpy|pathlib|collections|abc|typing)\..*"),
    ("py:.*", r"imagenets\..*\.[A-Z]"),  # type variables
    ("py:class", r"imagenets\.data\.dataset\.store\.Store"),  # of readers, for Split alone
]

ROW = re.compile(r"^\| \[[\w/-]+\.md\]\(([\w/-]+)\.md\) \|")


def contents(index: str) -> str:
    """The tables of the index as lists of contents: a heading's pages under its words."""
    lists: dict[str, list[str]] = {}
    heading = ""
    for line in index.splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif row := ROW.match(line):
            lists.setdefault(heading, []).append(row[1])
    lists["About the package"] += ["../README", "../CONTRIBUTING", "../CHANGELOG"]
    blocks = (
        "\n".join(["```{toctree}", ":hidden:", f":caption: {words}", *pages, "```"])
        for words, pages in lists.items()
    )
    return "\n\n".join(blocks)


def prepare_page(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = source[0].replace(" ± ", "\u00a0±\u00a0")  # a cell keeps a mean and its spread
    if page == root_doc:
        source[0] += f"\n\n{contents(source[0])}\n"


plain: dict[str, list[str]] = {}
"""Texts of constants and properties: napoleon takes what is before a colon in them for a type."""


def keep_text(app: Sphinx, what: str, name: str, thing: Any, options: Any, text: list[str]) -> None:
    if what in ("attribute", "data", "property"):
        plain[name] = list(text)


def put_text_back(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, text: list[str]
) -> None:
    if what in ("attribute", "data", "property"):
        text[:] = plain[name]


def setup(app: Sphinx) -> None:
    app.connect("source-read", prepare_page)
    app.connect("autodoc-process-docstring", keep_text, priority=400)
    app.connect("autodoc-process-docstring", put_text_back, priority=600)
