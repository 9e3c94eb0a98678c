"""The published lists and mask archives: where they come from, and what the lists say.

Lists lie under `<root>/downloads` by their published paths, whatever they came from, so that
later stages and other machines find them in one place. Every list is checked against its pinned
digest, or for a custom tier for its form, and the lists against each other.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets.core.files import write_file
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.tiers import (
    ARCHIVES_URL,
    LISTS_URL,
    TIERS,
    ListFile,
    Tier,
    get_tier,
    list_paths,
    read_categories,
)

Names = npt.NDArray[np.bytes_]

_IMAGE = re.compile(r"(n\d{8})/([!-.0-~]{1,32})\.JPEG", re.ASCII)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where lists and archives are taken from.

    Attributes:
        index: Folder with the lists by their published paths; None: download them.
        annotations: Mask archives given as files.
        mirror: Base URL that serves `<list path>` and `<archive name>`; None: the publishers.
        archive: Name of a custom tier's archive at the mirror; published tiers have theirs.
        offline: Whether only what is already there may be used.
    """

    index: Path | None = None
    annotations: tuple[Path, ...] = ()
    mirror: str | None = None
    archive: str | None = None
    offline: bool = False


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


def check_name(name: str, index: Path | None, downloads: Path) -> None:
    """Raises unless a tier is published, or its lists are at hand; touches nothing.

    Raises:
        UsageError: There is no such tier, and nothing is given that defines it.
    """
    if index is None and not _all_there(name, downloads):
        get_tier(name)


def fetch_lists(name: str, origin: Origin, downloads: Path) -> Tier:
    """Brings a tier's lists to `<downloads>/<list path>`, and says which tier they make.

    Raises:
        UsageError: There is no such tier, and nothing is given that defines it.
        MissingError: The index folder lacks a list.
        CorruptError: A list does not have its published digest.
        DownloadError: A list cannot be fetched.
    """
    if origin.index is not None:
        folder = origin.index
        if not (folder / "categories").is_dir() and (folder / "data" / "categories").is_dir():
            folder = folder / "data"  # a checkout of the publishers' repository
        tier = get_tier(name, folder)
        for entry in tier.lists:
            _take(entry, folder / entry.path, downloads / entry.path)
        return tier
    known = TIERS.get(name)
    if known is None and (origin.mirror is None or _all_there(name, downloads)):
        return get_tier(name, downloads if _all_there(name, downloads) else None)
    from imagenets.data.prepare.download import fetch

    lists = known.lists if known else [ListFile(path) for path in list_paths(name).values()]
    for entry in lists:
        fetch(
            f"{(origin.mirror or LISTS_URL).rstrip('/')}/{entry.path}",
            downloads / entry.path,
            size=entry.bytes,
            sha256=entry.sha256,
            offline=origin.offline,
            quiet=True,
        )
    return known or get_tier(name, downloads)


def local_archive(tier: Tier, origin: Origin, downloads: Path) -> Path | None:
    """A tier's mask archive where it needs no download: given, told by content, or there already.

    Raises:
        MissingError: An archive that was named is not there.
        CorruptError: It is no zip.
    """
    from imagenets.data.prepare.archive import holds_tier

    for path in origin.annotations:
        if not path.is_file():
            raise MissingError(f"{path}: no such mask archive. Check --annotations.")
    for path in origin.annotations:
        if holds_tier(path, tier.folder):
            return path
    if name := _archive_name(tier, origin):
        return downloads / name if (downloads / name).is_file() else None
    return next(iter(sorted(downloads.glob(f"{tier.folder}-*.zip"))), None)


def fetch_archive(tier: Tier, origin: Origin, downloads: Path) -> Path:
    """Finds a tier's mask archive: given, already downloaded, or fetched now.

    Raises:
        UsageError: A custom tier's archive is not given.
        MissingError: An archive that was named is not there.
        DownloadError: It cannot be fetched.
    """
    if path := local_archive(tier, origin, downloads):
        return path
    name = _archive_name(tier, origin)
    if name is None:
        raise UsageError(
            f"tier {tier.name} is a custom one, so its mask archive is not published: give it with "
            f"--annotations {tier.folder}-<md5>.zip, or prepare only --subsets train test."
        )
    from imagenets.data.prepare.download import fetch

    if origin.annotations:
        given = ", ".join(map(str, origin.annotations))
        print(f"{given}: no archive of tier {tier.name}; taking the published", file=sys.stderr)
    base = (origin.mirror or ARCHIVES_URL).rstrip("/")
    return fetch(f"{base}/{name}", downloads / name, offline=origin.offline)


def _archive_name(tier: Tier, origin: Origin) -> str | None:
    return tier.archive or (origin.archive if origin.mirror else None)


def read_lists(tier: Tier, downloads: Path) -> Lists:
    """Reads a tier's lists and holds them against each other.

    Raises:
        CorruptError: A line has another form, or two lists contradict each other.
    """
    paths = {what: downloads / path for what, path in list_paths(tier.name).items()}
    classes = read_categories(paths["categories"])
    splits = {
        "train-semi": _read_names(paths["names-train-semi"]),
        "validation": _read_mapping(paths["mapping-validation"]),
        "test": _read_mapping(paths["mapping-test"]),
    }
    _cross_check(tier, classes, splits, paths)
    digests = {entry.path: sha256(downloads / entry.path) for entry in tier.lists}
    return Lists(classes, splits, digests)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _all_there(name: str, folder: Path) -> bool:
    return all((folder / path).is_file() for path in list_paths(name).values())


def _take(entry: ListFile, source: Path, target: Path) -> None:
    digest = sha256(source)
    if entry.sha256 not in (None, digest):
        raise CorruptError(
            f"{source}: not the published list: its SHA-256 is {digest}, the published one is "
            f"{entry.sha256}. Leave --index out to download it, or fetch it again."
        )
    if target.is_file() and (target.samefile(source) or sha256(target) == digest):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, source.read_bytes())


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    text = path.read_text("utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
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
        strange = np.setdiff1d(records.wnids, known)
        if len(strange):
            raise CorruptError(
                f"{path}: class {strange[0].decode()} is not in {paths['categories'].name}. "
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
