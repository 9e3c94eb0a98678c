"""What the published lists say; each is checked for its form, and the lists against each other.

They lie under `<root>/downloads` by their published paths, whatever they came from, so that later
stages and other machines find them in one place.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets.classes import WNID, ilsvrc_classes, is_wnid
from imagenets.core.files import sha256
from imagenets.errors import CorruptError
from imagenets.tiers import ListFile, Tier, list_paths

Names = npt.NDArray[np.bytes_]

_IMAGE = re.compile(rf"({WNID})/([!-.0-~]{{1,32}})\.JPEG", re.ASCII)


@dataclass(frozen=True, slots=True)
class Records:
    """One list as columns, one row an image, sorted by (class folder, stem).

    Attributes:
        stems: S32, file stem.
        wnids: S9, class folder in ImageNet-S.
        sources: S9, the image's own ILSVRC class.
    """

    stems: Names
    wnids: Names
    sources: Names


@dataclass(frozen=True, slots=True)
class Lists:
    """What a tier's five lists say; `digests` holds their SHA-256 by list path."""

    classes: tuple[str, ...]
    splits: dict[str, Records]
    digests: dict[str, str]


def have_lists(name: str, folder: Path) -> bool:
    """Whether all lists of a tier lie in a folder, by their published paths."""
    return all((folder / path).is_file() for path in list_paths(name).values())


def lists_folder(index: Path) -> Path:
    """The folder in which lists lie by their published paths, of one that a user names.

    That is the folder itself, or its `data` where it is a checkout of the publishers' repository.
    """
    if not (index / "categories").is_dir() and (index / "data" / "categories").is_dir():
        return index / "data"
    return index


def check_published(path: Path, entry: ListFile, remedy: str) -> str:
    """Checks that a list is the published one, where one is published; returns its SHA-256.

    Args:
        path: The list.
        entry: Which one it should be.
        remedy: What to do if it is not.

    Raises:
        CorruptError: It is another.
    """
    digest = sha256(path)
    if entry.sha256 in (None, digest):
        return digest
    marked = path.read_bytes().startswith(BOM_UTF8)
    raise CorruptError(
        f"{path}: not the published list: its SHA-256 is {digest}, the published one is "
        f"{entry.sha256}."
        f"{' It begins with a byte order mark, which an editor has put there.' if marked else ''}"
        f" {remedy}"
    )


def source_classes(lists: Lists) -> tuple[str, ...]:
    """The classes that `ilsvrc` counts: ILSVRC's own where they hold all that occur, else those."""
    own = {
        wnid.decode() for records in lists.splits.values() for wnid in np.unique(records.sources)
    }
    own.update(lists.classes)
    return ilsvrc_classes() if own <= set(ilsvrc_classes()) else tuple(sorted(own))


def read_lists(tier: Tier, downloads: Path) -> Lists:
    """Reads a tier's lists and checks them against each other.

    Raises:
        CorruptError: A line has another form, or two lists contradict each other.
    """
    paths = {what: downloads / path for what, path in list_paths(tier.name).items()}
    classes = _read_categories(paths["categories"])
    splits = {
        "train-semi": _read_names(paths["names-train-semi"]),
        "validation": _read_mapping(paths["mapping-validation"]),
        "test": _read_mapping(paths["mapping-test"]),
    }
    _cross_check(tier, classes, splits, paths)
    digests = {entry.path: sha256(downloads / entry.path) for entry in tier.lists}
    return Lists(classes, splits, digests)


def _read_categories(path: Path) -> tuple[str, ...]:
    """Reads a categories list: one WordNet id a line, sorted; class id = 1 + rank."""
    classes = tuple(_text(path).split())
    if not classes or list(classes) != sorted(set(classes)) or not all(map(is_wnid, classes)):
        raise CorruptError(
            f"{path}: not a list of sorted, distinct WordNet ids, one a line. "
            "Fetch the published list again."
        )
    return classes


def _text(path: Path) -> str:
    """A list's text; the byte order mark that some editors put in front is no part of it."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorruptError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start:,}). Save it as UTF-8, "
            "or fetch the list again."
        ) from None


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        fields = line.split()
        if len(fields) != 2:
            raise CorruptError(f"{path}, line {number}: two fields expected, not {line!r}.")
        yield f"{path}, line {number}", fields


def _image(where: str, text: str) -> tuple[str, str]:
    match = _IMAGE.fullmatch(text)
    if match is None:
        raise CorruptError(f"{where}: {text!r} is not of the form <wnid>/<stem>.JPEG.")
    return match[1], match[2]


def _read_names(path: Path) -> Records:
    """Reads `IMAGE MASK` lines; a training image's own class is the prefix of its stem."""
    rows = []
    for where, (image, mask) in _lines(path):
        wnid, stem = _image(where, image)
        if mask != f"{wnid}/{stem}.png":
            raise CorruptError(f"{where}: {mask!r} is not the mask of {image!r}.")
        rows.append((stem, wnid, stem.partition("_")[0]))
    return _columns(path, rows)


def _read_mapping(path: Path) -> Records:
    """Reads `SRC DST` lines: the ILSVRC class folder and the one in ImageNet-S."""
    rows = []
    for where, (source, target) in _lines(path):
        own, stem = _image(where, source)
        wnid, name = _image(where, target)
        if name != stem:
            raise CorruptError(f"{where}: the two names differ ({stem}, {name}).")
        rows.append((stem, wnid, own))
    return _columns(path, rows)


def _columns(path: Path, rows: list[tuple[str, str, str]]) -> Records:
    table = np.array(rows, dtype="S32,S9,S9") if rows else np.zeros(0, "S32,S9,S9")
    if len(np.unique(table["f0"])) != len(table):
        raise CorruptError(f"{path}: an image is listed twice. Fetch the list again.")
    table = table[np.lexsort((table["f0"], table["f1"]))]
    return Records(*(np.ascontiguousarray(table[column]) for column in ("f0", "f1", "f2")))


def _cross_check(
    tier: Tier, classes: tuple[str, ...], splits: dict[str, Records], paths: dict[str, Path]
) -> None:
    known = np.array(classes, "S9")
    for split, records in splits.items():
        path = paths["names-train-semi" if split == "train-semi" else f"mapping-{split}"]
        unknown = np.setdiff1d(records.wnids, known)
        if len(unknown):
            raise CorruptError(
                f"{path}: class {unknown[0].decode()} is not in {paths['categories'].name}. "
                "Take all lists from one place."
            )
        expected = tier.counts.get(split, len(records.stems))
        if len(records.stems) != expected:
            raise CorruptError(f"{path}: {len(records.stems)} images, {expected} are published.")
    named, mapped = _read_names(paths["names-validation"]), splits["validation"]
    if not (
        np.array_equal(named.stems, mapped.stems) and np.array_equal(named.wnids, mapped.wnids)
    ):
        raise CorruptError(
            f"{paths['names-validation']}: its images are not those of "
            f"{paths['mapping-validation'].name}. Take all lists from one place."
        )
    both = np.intersect1d(mapped.stems, splits["test"].stems)
    if len(both):
        raise CorruptError(
            f"{paths['mapping-test']}: {both[0].decode()} is in the validation list, too. "
            "Take all lists from one place."
        )
