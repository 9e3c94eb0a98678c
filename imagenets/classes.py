"""Classes by their WordNet ids: those of ILSVRC and their words, ranks, folders named after them.

    >>> from imagenets import classes
    >>> crane = classes.words("n03126707")
    >>> crane.name, crane.lemmas, crane.index
    ('crane (machine)', ('crane',), 517)
    >>> [found.name for found in classes.find("crane")]
    ['crane (bird)', 'crane (machine)']
    >>> classes.names(["n01440764", "n03126707"])
    ('tench', 'crane (machine)')

Lemmas and definitions are those of WordNet 3.0, copied word for word into `wordnet/classes.tsv`;
its licence is `wordnet/LICENSE`. Source: Fellbaum (ed.), "WordNet: An Electronic Lexical
Database", MIT Press 1998.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError

log = logging.getLogger(__name__)

WNID = "n[0-9]{8}"
"""Pattern of a WordNet id, for patterns of which it is a part."""

OTHER = "other"
"""The published word for id 0 where names of the ids 0..K are shown: no class of the tier."""

_WNID = re.compile(WNID)


def is_wnid(name: str | bytes) -> bool:
    """Whether a name is a WordNet id: n and eight digits."""
    return _WNID.fullmatch(os.fsdecode(name)) is not None


def class_folders(path: Path, known: Collection[str] | None = None) -> list[str]:
    """Finds the class folders in a folder; other folders are told once, in a warning.

    Args:
        path: The folder, such as a split of a tree.
        known: The classes that count; None: all that are WordNet ids.

    Returns:
        Their names, sorted.

    Raises:
        OSError: The folder cannot be listed.
    """
    with os.scandir(path) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir())
    found = [name for name in folders if (is_wnid(name) if known is None else name in known)]
    if len(found) < len(folders):
        _tell(path, tuple(sorted(set(folders) - set(found))))
    return found


@cache
def _tell(path: Path, strangers: tuple[str, ...]) -> None:
    shown = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
    log.warning("%s: %d folders name no class and are left out: %s", path, len(strangers), shown)


@dataclass(frozen=True, slots=True)
class Words:
    """What WordNet 3.0 says of one of the 1,000 classes of ILSVRC 2012.

    Attributes:
        wnid: WordNet id, such as "n02012849".
        lemmas: WordNet's words for it, the first one first.
        name: A short name that no other of the 1,000 has, whatever its case: the first lemma. Where
            two classes share it, a word in brackets tells them apart: "crane (bird)".
        definition: WordNet's definition, without its examples.
        index: ImageNet-1k index, 0..999: the rank of the WordNet id among the 1,000, sorted.
    """

    wnid: str
    lemmas: tuple[str, ...]
    name: str
    definition: str
    index: int


@cache
def all_words() -> tuple[Words, ...]:
    """The words of the 1,000 classes of ILSVRC 2012: `all_words()[i]` are those of index i."""
    text = files("imagenets").joinpath("wordnet", "classes.tsv").read_text("ascii")
    rows = [line.split("\t") for line in text.splitlines()[1:]]
    return tuple(
        Words(wnid, tuple(lemmas.split(", ")), name, definition, index)
        for index, (wnid, name, lemmas, definition) in enumerate(rows)
    )


@cache
def _by_wnid() -> Mapping[str, Words]:
    return MappingProxyType({one.wnid: one for one in all_words()})


def words(wnid: str) -> Words:
    """The words of a class of ILSVRC.

    Args:
        wnid: Its WordNet id.

    Raises:
        UsageError: It is none of the 1,000.
    """
    found = _by_wnid().get(wnid)
    if found is None:
        raise UsageError(
            f"{wnid!r} is none of the 1,000 WordNet ids of ILSVRC 2012: give one such as "
            f"{all_words()[0].wnid!r}. `classes.find` looks for one by a word."
        )
    return found


def names(wnids: Sequence[str]) -> tuple[str, ...]:
    """The short name of each class, in the order given.

    Args:
        wnids: Their WordNet ids, such as `ImageNetS.classes`. One that is not among the 1,000 of
            ILSVRC, as a custom tier may have, is its own name.

    Raises:
        UsageError: It is one string, not a sequence of them.
    """
    if isinstance(wnids, str):
        raise UsageError(f"{wnids!r} is one string: give a list of WordNet ids, or see `words`.")
    known = _by_wnid()
    return tuple(known[wnid].name if wnid in known else wnid for wnid in wnids)


def find(text: str) -> tuple[Words, ...]:
    """The classes of ILSVRC with this text in a lemma or the name, in the order of their index.

    Args:
        text: A word or a part of one, in any case. Not looked for in definitions.
    """
    part = text.casefold()
    return tuple(
        one
        for one in all_words()
        if any(part in word.casefold() for word in (one.name, *one.lemmas))
    )


@cache
def ilsvrc_classes() -> tuple[str, ...]:
    """The 1,000 WordNet ids of ILSVRC 2012, sorted: the rank is the ImageNet-1k label."""
    return tuple(one.wnid for one in all_words())


def ranks(classes: Sequence[str], wnids: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int16]:
    """Rank of each WordNet id among classes.

    Args:
        classes: Sorted and distinct; at least one.
        wnids: Bytes array.

    Returns:
        int16 ranks from 0, -1 for what is none of the classes.
    """
    known = np.array(classes, np.bytes_)
    found = np.searchsorted(known, wnids).clip(0, len(known) - 1)
    found[known[found] != wnids] = -1
    return found.astype(np.int16)
