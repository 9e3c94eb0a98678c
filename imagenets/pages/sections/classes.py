"""The classes: scores, words, the generated category of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from imagenets.classes import ilsvrc_classes, words
from imagenets.evaluation.tables import ClassRow
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill


def _render(run: RunFiles) -> Markup:
    category = {found: made for made, found in (run.matched or {}).items() if made}
    rows = [told(row) | {"category": category.get(row.id)} for row in run.classes]
    return fill(
        "sections/classes.html",
        rows=sorted(rows, key=lambda row: (-row["iou"], row["id"])),
        generated=run.matched is not None,
    )


def told(row: ClassRow) -> dict[str, Any]:
    """A class with its scores and what WordNet says of it."""
    return {
        "id": row.id,
        "wnid": row.name,
        "name": row.class_name,
        "iou": row.iou,
        "biou": row.biou,
        "images": row.images,
        "pixels": row.pixels,
        **described(row.name),
    }


def described(wnid: str) -> Mapping[str, str]:
    """Other words for a class and its definition; empty where it is none of ILSVRC's."""
    if wnid not in ilsvrc_classes():
        return {"lemmas": "", "definition": ""}
    found = words(wnid)
    others = [lemma for lemma in found.lemmas if lemma != found.name]
    return {"lemmas": ", ".join(others), "definition": found.definition}


SECTION = Section("Classes", _render)
