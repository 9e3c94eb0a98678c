"""A static page to look through a prepared set: it opens from a disk, and on any web server."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import escape

from imagenets.core.files import part_of, remove_parts, write_file
from imagenets.core.lock import hold, wait_for_workers
from imagenets.core.pool import Pool, worker_count
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import UsageError
from imagenets.pages.browsing import drawing
from imagenets.pages.browsing.page import MARK, Shown, browser_page, title
from imagenets.pages.browsing.pieces import KINDS, Piece, open_split, write_piece
from imagenets.paths import is_own
from imagenets.tiers import SPLITS

log = logging.getLogger(__name__)

PAGE = "index.html"
"""The page, beside the folders of its pieces."""

_FORM = 1
"""Changes with what the pieces hold."""

_WORK = ".work"
"""Locks: in a folder of their own, which no page needs."""

_FOLDER = re.compile(f"({'|'.join(SPLITS)})-[0-9a-f]{{16}}")


@dataclass(frozen=True)
class Browser:
    """A page that was written.

    Attributes:
        page: It.
        images: Images of each split.
        made: Images that were drawn now; the others were there.
        size: Bytes of all files.
    """

    page: Path
    images: dict[str, int]
    made: int
    size: int


def write_browser(
    root: str | Path,
    tier: str,
    splits: Sequence[str],
    out: str | Path,
    workers: int | None = None,
) -> Browser:
    """Writes the page over some splits of a prepared set, or goes on where a run was stopped.

    Args:
        root: The prepared set.
        tier: Its tier.
        splits: Its splits, such as "validation".
        out: The folder of the page; made if need be.
        workers: Processes; all available CPUs by default.

    Returns:
        What was written.

    Raises:
        UsageError: There is no such tier or split, or the folder holds something else.
        MissingError: A split is not prepared here.
        CorruptError: An image or mask is damaged; names it.
        BusyError: Another run is at work in the folder.
        OSError: A file cannot be written, as on a full disk; names it.
    """
    count = worker_count(workers)
    root, out = (Path(path).expanduser().absolute() for path in (root, out))
    opened = {split: open_split(root, tier, split) for split in dict.fromkeys(splits)}
    for unknown in filter(None, (unknown for _, unknown in opened.values())):
        log.warning("labels are left out: %s", unknown)
    _check(root, out, tier)
    with hold(out / _WORK, out):
        wait_for_workers(out / _WORK / "workers")
        shown = [
            Shown(data, f"{split}-{_key(data, unknown is None)}", unknown is None)
            for split, (data, unknown) in opened.items()
        ]
        pieces = [piece for one in shown for piece in _pieces(root, one, out)]
        made = _write(pieces, count, out)
        text = browser_page(tier, shown)
        page = out / PAGE
        if not page.exists() or page.read_text("utf-8") != text:
            write_file(page, text)
        _remove_old(out, shown)
    sizes = [path.stat().st_size for one in shown for path in (out / one.folder).iterdir()]
    images = {one.data.split: len(one.data) for one in shown}
    return Browser(page, images, made, sum(sizes) + page.stat().st_size)


def _check(root: Path, out: Path, tier: str) -> None:
    """Refuses a folder in which something else lies."""
    if is_own(root, out):
        raise UsageError(f"{out}: belongs to the prepared root. Name another folder for the page.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file. Name a folder for the page.")
    page = out / PAGE
    text = page.read_text("utf-8", errors="replace") if page.exists() else None
    if text is not None and f'content="{MARK}"' not in text:
        raise UsageError(
            f"{page}: was not written by `imagenets browse`. Choose another folder, or move it."
        )
    if text is not None and f"<title>{escape(title(tier))}</title>" not in text:
        raise UsageError(
            f"{page}: is over another tier than {tier}, and its pictures would be removed. Choose "
            "another folder, or delete this one."
        )
    if text is not None or not out.exists():
        return
    for path in out.iterdir():  # of a run that was stopped before it wrote the page
        if path.name not in (_WORK, part_of(page).name) and not _FOLDER.fullmatch(path.name):
            raise UsageError(f"{path}: is not of `imagenets browse`. Name a folder of its own.")


def _key(data: ImageNetS, labelled: bool) -> str:
    """Names the folder of a split's pieces: another set, or pieces of another form, get another."""
    sizes = [drawing.LARGE, drawing.SMALL, *KINDS.values()]
    what = [_FORM, sizes, labelled, data.tier, data.digest]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]


def _pieces(root: Path, one: Shown, out: Path) -> list[Piece]:
    data, folder, digest = one.data, out / one.folder, one.data.digest
    count, step = len(data), KINDS["index"]
    return [
        Piece(root, data.tier, data.split, digest, folder, at, min(at + step, count))
        for at in range(0, count, step)
    ]


def _write(pieces: Sequence[Piece], workers: int, out: Path) -> int:
    """Writes the pieces that are not there yet; returns how many images were drawn."""
    for folder in dict.fromkeys(piece.folder for piece in pieces):
        folder.mkdir(parents=True, exist_ok=True)
        remove_parts(folder)
    left = [piece for piece in pieces if not piece.is_done]
    pool = Pool(min(workers, max(1, len(left))), lock=out / _WORK / "workers")
    weights = [piece.last - piece.first for piece in left]
    return sum(images for _, images in pool.map(write_piece, left, "images", weights))


def _remove_old(out: Path, shown: Sequence[Shown]) -> None:
    """Removes older pieces of the splits of the page; those of other splits stay, and it says so.

    They may be hours of work: the page has them again as soon as it is asked for their split.
    """
    own = {one.folder: one.data.split for one in shown}
    for path in sorted(out.iterdir()):
        found = _FOLDER.fullmatch(path.name)
        if not found or not path.is_dir() or path.name in own:
            continue
        if found[1] in own.values():
            shutil.rmtree(path)
        else:
            log.warning("%s: stays, but is not on the page, which was asked for without it", path)
    part_of(out / PAGE).unlink(missing_ok=True)
