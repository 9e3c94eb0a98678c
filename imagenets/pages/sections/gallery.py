"""Validation images: photograph, ground truth, prediction."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imagenets import masks
from imagenets.evaluation import matching
from imagenets.pages.elements import embedded
from imagenets.pages.run_files import RunFiles
from imagenets.palette import palette

PICTURES = 24
"""How many images are shown, spread evenly over the split."""


def render(run: RunFiles) -> str:
    """Some images with their ground truth and their matched prediction."""
    data = run.data
    matched = matching.load(run.out / "match.json", len(data.classes))
    shown = []
    for index in np.linspace(0, len(data) - 1, min(PICTURES, len(data))).astype(int):
        sample = data[int(index)]
        name = sample["name"]
        pred = masks.load(run.out / "predict" / data.split / f"{name}.png")
        ids = [sample["mask"].numpy(), matching.apply(matched, pred)]
        photo = sample["image"].permute(1, 2, 0).numpy()
        pictures = [photo, *(palette()[i] for i in ids)]
        images = "".join(f"<img alt='' src='{embedded(pixels)}'>" for pixels in pictures)
        caption = f"{html.escape(name)} {_key(ids[0], data.class_names)}"
        shown.append(f"<figure>{images}<figcaption>{caption}</figcaption></figure>")
    return (
        "<h2>Validation images</h2><p>Photograph, ground truth, prediction (matched); black is "
        f"background, white is ignored. Named are the classes of the ground truth.</p>"
        f"<div class='grid'>{''.join(shown)}</div>"
    )


def _key(ids: npt.NDArray[np.integer], names: Sequence[str]) -> str:
    """The classes that a mask holds: a square of the colour, the name, the id."""
    found = [i for i in np.unique(ids).tolist() if i not in (masks.BACKGROUND, masks.IGNORED)]
    return " ".join(
        f"<span style='color:rgb{tuple(palette()[i].tolist())}'>&#9632;</span> "
        f"{html.escape(names[i - 1])} ({i})"
        for i in found
    )
