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
    """Tells WordNet ids from other names, such as those of folders.

    Args:
        name: Any name, as text or as the file system's bytes.

    Returns:
        Whether it is n and eight digits, and nothing else.
    """
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
    """Reads the words of the 1,000 classes of ILSVRC 2012; from the disk once, then from memory.

    Returns:
        The words of every class; position i holds those of the ImageNet-1k index i.
    """
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
    """Looks up a class of ILSVRC.

    Args:
        wnid: Its WordNet id, such as "n03126707".

    Returns:
        Its words and its ImageNet-1k index.

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
    """Looks up the short names of classes.

    Args:
        wnids: Their WordNet ids, such as `ImageNetS.classes`. One that is not among the 1,000 of
            ILSVRC, as a custom tier may have, is its own name.

    Returns:
        One `Words.name` for each, in the order given.

    Raises:
        UsageError: It is one string, not a sequence of them.
    """
    if isinstance(wnids, str):
        raise UsageError(f"{wnids!r} is one string: give a list of WordNet ids, or see `words`.")
    known = _by_wnid()
    return tuple(known[wnid].name if wnid in known else wnid for wnid in wnids)


def find(text: str) -> tuple[Words, ...]:
    """Finds the classes of ILSVRC that have this text in a lemma or in the short name.

    Args:
        text: A word or a part of one, in any case. Not looked for in definitions.

    Returns:
        Their words, in the order of their index; empty where no class has the text.
    """
    part = text.casefold()
    return tuple(
        one
        for one in all_words()
        if any(part in word.casefold() for word in (one.name, *one.lemmas))
    )


@cache
def ilsvrc_classes() -> tuple[str, ...]:
    """Gives the WordNet ids of ILSVRC 2012.

    Returns:
        The 1,000 ids, sorted; the position of an id is its ImageNet-1k label.
    """
    return tuple(one.wnid for one in all_words())


def ranks(classes: Sequence[str], wnids: npt.NDArray[np.bytes_]) -> npt.NDArray[np.int16]:
    """Finds the rank of each WordNet id among classes.

    Args:
        classes: WordNet ids, sorted and distinct; at least one.
        wnids: N WordNet ids, of a bytes dtype such as S9.

    Returns:
        N int16 ranks from 0; -1 for what is none of the classes.
    """
    known = np.array(classes, np.bytes_)
    found = np.searchsorted(known, wnids).clip(0, len(known) - 1)
    found[known[found] != wnids] = -1
    return found.astype(np.int16)
