"""The mask archive, checked member by member.

What the content says counts for more than the digest in the file name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets import masks, paths
from imagenets.core import files
from imagenets.core.pool import Pool
from imagenets.data.mask_archive import MaskArchive, members
from imagenets.errors import CorruptError, ImageNetSError
from imagenets.pixels import png

if TYPE_CHECKING:
    from imagenets.data.raw import RawImages

_CHUNK = 256
_SHOWN = 5
_REMEDY = "Delete it and fetch it again, or give another copy with --annotations."


@dataclass(frozen=True, slots=True)
class Digest:
    """What a manifest records of an archive."""

    name: str
    bytes: int
    md5: str

    def warning(self) -> str | None:
        """What to say when the digest is not the one that the file's name claims."""
        claimed = self.name.removesuffix(".zip").rpartition("-")[2].lower()
        if len(claimed) != 32 or claimed == self.md5:
            return None
        return (
            f"{self.name}: its md5 is {self.md5}, its name says {claimed}. "
            "Every member is checked, and that decides."
        )


def digest(path: Path) -> Digest:
    """Size and md5 of an archive."""
    return Digest(path.name, path.stat().st_size, files.digest(path, "md5"))


def tiers_of(path: Path) -> set[str]:
    """The tiers that an archive has members of, told by its content (`ImageNetS50/...`).

    Raises:
        CorruptError: There are none.
    """
    names = members(path)
    found = {parsed[0] for name in names if (parsed := paths.parse_set(name.partition("/")[0]))}
    if not found:
        shown = f"{len(names):,} members such as {min(names)}" if names else "no members"
        expected = paths.mask_member("<tier>", "<split>", "<wnid>/<stem>")
        raise CorruptError(
            f"{path}: no mask archive: it holds {shown}, where {expected} are expected. Give the "
            "archive as it is published, or pack it again with these names."
        )
    return found


def check(
    archive: MaskArchive, names: Sequence[str], classes: int, note: Path, pool: Pool
) -> Digest:
    """Checks that an archive has exactly the masks of the lists, and that each is sound.

    Args:
        archive: The archive.
        names: The members it must have.
        classes: Number of classes of the tier; other ids but 1000 are faults.
        note: File that remembers that this archive was found sound.
        pool: Where the work is done.

    Returns:
        Its name, size and md5.

    Raises:
        CorruptError: Names the first bad members.
    """
    status = archive.path.stat()
    listed = hashlib.sha256("\n".join(names).encode()).hexdigest()
    key = [str(archive.path), status.st_size, status.st_mtime_ns, listed, classes]
    known = _read_note(note, key)
    if known is not None:
        return Digest(archive.path.name, status.st_size, known)
    found = digest(archive.path)
    archive.check_names(names)
    _check_masks(archive, names, classes, pool)
    files.write_json(note, {"key": key, "md5": found.md5})
    return found


def _read_note(note: Path, key: list[Any]) -> str | None:
    try:
        content = json.loads(note.read_bytes())
        return str(content["md5"]) if content["key"] == key else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _check_masks(archive: MaskArchive, names: Sequence[str], classes: int, pool: Pool) -> None:
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    work = partial(_check_chunk, archive, classes)
    bad: list[str] = []
    for _, faults in pool.map(work, chunks, "checking masks", [len(chunk) for chunk in chunks]):
        bad += faults
    if bad:
        more = f" And {len(bad) - _SHOWN} more." if len(bad) > _SHOWN else ""
        raise CorruptError(" ".join(sorted(bad)[:_SHOWN]) + more)


def read_mask(
    archive: MaskArchive | None, images: RawImages, member: str, position: int
) -> tuple[str, bytes]:
    """Reads a mask from the archive or, without one, from the source that holds its image.

    Returns:
        What to call it in an error, and the PNG.

    Raises:
        CorruptError: It is not there or cannot be read.
    """
    if archive is not None:
        return f"{archive.path}: {member}", archive.read(member)
    what = f"{images.location(position).path}: mask of {images.stems[position].decode()}"
    data = images.mask(position)
    if data is None:
        raise CorruptError(f"{what}: is not there. Give the mask archive with --annotations.")
    return what, data


def mask_size(data: bytes | memoryview, what: str) -> tuple[int, int]:
    """Width and height of a PNG, from its header.

    Raises:
        CorruptError: It is no PNG, or its header claims a size that no image has.
    """
    header = png.header(data)
    if header is None:
        raise CorruptError(f"{what}: not a PNG. {_REMEDY}")
    width, height, _ = header
    if not 0 < width * height <= masks.MAX_PIXELS:
        raise CorruptError(f"{what}: claims {width} x {height} pixels. {_REMEDY}")
    return width, height


def decode_mask(data: bytes | memoryview, what: str, classes: int) -> masks.Ids:
    """Decodes a mask whose ids must be 0..classes or 1000.

    Returns:
        H x W uint16 ids.

    Raises:
        CorruptError: It does not decode, or has an id outside the tier.
    """
    from imagenets.pixels.png_filters import count_strange

    mask_size(data, what)
    ids = masks.decode(data, what)
    if count_strange(ids, classes, masks.IGNORED):
        strange = ids[(ids > classes) & (ids != masks.IGNORED)]
        raise CorruptError(
            f"{what}: has id {strange[0]} in {strange.size} pixels, the tier has {classes} "
            f"classes. {_REMEDY}"
        )
    return ids


def _check_chunk(archive: MaskArchive, classes: int, names: Sequence[str]) -> list[str]:
    bad = []
    for name in names:
        try:
            decode_mask(archive.read(name), f"{archive.path}: {name}", classes)
        except ImageNetSError as error:
            bad.append(str(error))
    return bad
