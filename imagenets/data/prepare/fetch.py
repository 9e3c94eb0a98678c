"""Brings a tier's lists and mask archive to `<root>/downloads`: given, there, or fetched."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from imagenets.core.files import sha256, write_file
from imagenets.data.lists import check_published, have_lists, lists_folder
from imagenets.data.prepare.archive import tiers_of
from imagenets.data.prepare.download import fetch
from imagenets.errors import MissingError, UsageError
from imagenets.tiers import ARCHIVES_URL, LISTS_URL, TIERS, ListFile, Tier, get_tier, list_paths

log = logging.getLogger(__name__)


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


def check_name(name: str, index: Path | None, downloads: Path) -> None:
    """Raises unless a tier is published, or its lists are at hand; touches nothing.

    Raises:
        UsageError: There is no such tier, and nothing is given that defines it.
    """
    if index is None and not have_lists(name, downloads):
        get_tier(name)


def lists_at_hand(name: str, origin: Origin, downloads: Path) -> Tier | None:
    """The tier that `fetch_lists` gives, where it has nothing to bring; None where it has.

    Writes nothing and needs no network.
    """
    given = None if origin.index is None else lists_folder(origin.index)
    if not have_lists(name, downloads) or not (given is None or have_lists(name, given)):
        return None
    tier = get_tier(name, downloads)
    for entry in tier.lists:
        digest = sha256(downloads / entry.path)
        wanted = sha256(given / entry.path) if given else entry.sha256
        if wanted not in (None, digest):
            return None
    return tier


def fetch_lists(name: str, origin: Origin, downloads: Path) -> Tier:
    """Brings a tier's lists to `<downloads>/<list path>`, and says which tier they make.

    Raises:
        UsageError: There is no such tier, and nothing is given that defines it.
        MissingError: The index folder lacks a list.
        CorruptError: A list does not have its published digest.
        DownloadError: A list cannot be fetched.
    """
    if origin.index is not None:
        folder = lists_folder(origin.index)
        tier = get_tier(name, folder)
        for entry in tier.lists:
            _take(entry, folder / entry.path, downloads / entry.path)
        return tier
    known = TIERS.get(name)
    if known is None and (origin.mirror is None or have_lists(name, downloads)):
        return get_tier(name, downloads if have_lists(name, downloads) else None)
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
        CorruptError: One is no zip, or holds the masks of no tier.
    """
    for path in origin.annotations:
        if not path.is_file():
            raise MissingError(f"{path}: no such mask archive. Check --annotations.")
    held = [tiers_of(path) for path in origin.annotations]  # all are looked at: none may be odd
    for path, tiers in zip(origin.annotations, held, strict=True):
        if tier.name in tiers:
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
    given = ", ".join(map(str, origin.annotations))
    if name is None:
        other = f" ({given} is of another tier)" if given else ""
        raise UsageError(
            f"tier {tier.name} is a custom one, so its mask archive is not published: give it with "
            f"--annotations {tier.folder}-<md5>.zip{other}, or prepare only --subsets train test."
        )
    if given:
        log.warning("%s: no archive of tier %s; taking the published one", given, tier.name)
    base = (origin.mirror or ARCHIVES_URL).rstrip("/")
    return fetch(f"{base}/{name}", downloads / name, offline=origin.offline)


def check_archive(tier: Tier, origin: Origin, downloads: Path) -> Path | None:
    """The archive that `fetch_archive` gives; None where it would be downloaded.

    Raises:
        ImageNetSError: As `fetch_archive`, without touching the network.
    """
    if path := local_archive(tier, origin, downloads):
        return path
    if origin.offline or _archive_name(tier, origin) is None:
        return fetch_archive(tier, origin, downloads)  # which raises
    return None


def _archive_name(tier: Tier, origin: Origin) -> str | None:
    return tier.archive or (origin.archive if origin.mirror else None)


def _take(entry: ListFile, source: Path, target: Path) -> None:
    remedy = "Leave --index out to download it, or fetch it again."
    digest, data = check_published(source, entry, remedy), source.read_bytes()
    if target.is_file() and (target.samefile(source) or sha256(target) == digest):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    write_file(target, data)
