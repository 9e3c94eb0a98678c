"""The page of a browser: what its script must know beforehand, and the HTML around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagenets.classes import all_words, names
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.masks import IGNORED
from imagenets.pages.browsing.pieces import ABSENT, KINDS
from imagenets.pages.templating import fill, scripted, styled
from imagenets.palette import palette
from imagenets.tiers import BUCKET_LIMITS, BUCKETS

MARK = "imagenets browse"
"""Tells the page from those of others."""


@dataclass(frozen=True)
class Shown:
    """A split on the page.

    Attributes:
        data: The split.
        folder: Name of the folder of its pieces.
        labelled: Whether the labels of its images are known.
    """

    data: ImageNetS
    folder: str
    labelled: bool


def title(tier: str) -> str:
    """The title of the page over a tier."""
    return f"ImageNet-S {tier}"


def browser_page(tier: str, shown: Sequence[Shown]) -> str:
    """The HTML of a browser.

    Its content security policy lets no request out but for its own pieces.

    Args:
        tier: The tier.
        shown: Its splits, at least one.
    """
    data = shown[0].data
    splits = [
        {
            "name": one.data.split,
            "folder": one.folder,
            "count": len(one.data),
            "masks": one.data.has_masks,
            "labels": one.labelled,
        }
        for one in shown
    ]
    about = {
        "tier": tier,
        "splits": splits,
        "pieces": KINDS,
        "classes": _words(data.classes),
        "labels": _words(data.source_classes),
        "colours": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in _colours(len(data.classes))],
        "ignored": IGNORED,
    }
    total = sum(len(one.data) for one in shown)
    facts = (*(f"{len(one.data):,} of {one.data.split}" for one in shown), f"{total:,} images")
    return fill(
        "browse.html",
        mark=MARK,
        title=title(tier),
        facts=facts if len(shown) > 1 else facts[:1],
        about=about,
        splits=splits,
        sizes=_sizes(),
        style=styled("style.css", "browse.css"),
        **scripted("page.js", "browse.js"),
    )


def _words(wnids: Sequence[str]) -> list[list[str]]:
    """WordNet id, name, and all words of each class."""
    lemmas = {one.wnid: ", ".join(one.lemmas) for one in all_words()}
    return [
        [wnid, name, lemmas.get(wnid, "")] for wnid, name in zip(wnids, names(wnids), strict=True)
    ]


def _colours(count: int) -> list[Any]:
    colours: list[Any] = palette()[: count + 1].tolist()
    return colours


def _sizes() -> list[tuple[str, str]]:
    """Size of an object -> what stands in the list."""
    ends = [*(f"up to {limit} %" for limit in BUCKET_LIMITS), f"over {BUCKET_LIMITS[-1]} %"]
    told = [f"{name}: {end}" for name, end in zip(BUCKETS, ends, strict=True)]
    return [*zip(BUCKETS, told, strict=True), (ABSENT, "not in the mask")]
