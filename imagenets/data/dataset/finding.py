"""Finds images and masks by the stems of their file names, in whatever folders they lie."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets import paths
from imagenets.classes import is_wnid
from imagenets.core.files import is_litter, listing
from imagenets.core.log import progress
from imagenets.data.dataset.originals import Cells, Files, Members, Originals
from imagenets.data.mask_archive import MaskArchive, members
from imagenets.data.parquet import ParquetImages, list_images
from imagenets.data.stems import Stems, is_image_name, split_name, split_names, stem_of

log = logging.getLogger(__name__)

_MASKS = os.fsencode(paths.segmentation(""))  # what the names of folders of masks end in

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for some wanted stems.

    Attributes:
        originals: One a wanted stem; those that are not there must not be read.
        there: bool, one a wanted stem.
        seen: What lies there, in words, for the message about what is missing.
        example: One of the names there; empty where there is none.
    """

    originals: Originals
    there: npt.NDArray[np.bool_]
    seen: str
    example: str


class _Taken:
    """The files that were found first for each wanted stem, and those left out after them."""

    def __init__(self, count: int) -> None:
        self.paths = [b""] * count
        self.doubles: list[tuple[bytes, bytes]] = []  # what is left out, and what is taken

    def add(self, row: int, path: bytes) -> None:
        if self.paths[row]:
            self.doubles.append((path, self.paths[row]))
        else:
            self.paths[row] = path


class _Walk:
    """A walk through a folder, which notes the files of wanted stems."""

    def __init__(self, stems: Stems, *, masks: bool) -> None:
        self.row = {stem: row for row, stem in enumerate(stems.tolist())}
        self.masks = masks
        self._jpegs, self._pngs = _Taken(len(stems)), _Taken(len(stems))
        self.named, self.example = 0, b""  # files with an ILSVRC name, and one of them
        self.others, self.other = 0, b""  # pictures without
        self.archives: list[str] = []

    @property
    def taken(self) -> _Taken:
        """The files. A PNG beside JPEGs is no image: it is the mask of one, most likely."""
        return self._jpegs if any(self._jpegs.paths) else self._pngs

    def visit(self, top: bytes) -> None:
        """Walks through a folder and all folders in it, by name."""
        left, known = [b""], set()
        while left:
            below = left.pop()
            folder = os.path.join(top, below) if below else top  # noqa: PTH118 - bytes
            status = os.stat(folder)  # noqa: PTH116 - bytes
            if (status.st_dev, status.st_ino) in known:  # a link that leads back
                continue
            known.add((status.st_dev, status.st_ino))
            needed = not below or is_wnid(os.path.basename(below))  # noqa: PTH119 - bytes
            names = listing(folder, needed=needed)
            left += reversed(list(self._folder(folder, below, names)))

    def _folder(self, folder: bytes, below: bytes, names: list[bytes]) -> Iterator[bytes]:
        """Notes the files of a folder; gives the folders in it."""
        prefix = below + b"/" if below else b""
        pictures = split_names(names)
        for stem, suffix in pictures:
            png = suffix.lower().endswith(b".png")
            if png or not self.masks:
                self._note(stem, prefix + stem + suffix, self._pngs if png else self._jpegs)
        if len(pictures) == len(names):
            return
        for name in names:
            if split_name(name) is not None or is_litter(os.fsdecode(name)):
                continue
            if is_image_name(name):
                self.others += 1
                self.other = self.other or prefix + name
            elif name.endswith((b".tar", b".zip")):
                self.archives.append(os.fsdecode(prefix + name))
            elif self._enters(name) and os.path.isdir(folder + b"/" + name):  # noqa: PTH112 - bytes
                yield prefix + name

    def _enters(self, name: bytes) -> bool:
        """Whether a folder is looked into: not a hidden one, nor one of masks for images."""
        return not name.startswith(b".") and (self.masks or not name.endswith(_MASKS))

    def _note(self, stem: bytes, path: bytes, taken: _Taken) -> None:
        self.named += 1
        self.example = self.example or path
        row = self.row.get(stem)
        if row is not None:
            taken.add(row, path)

    def seen(self) -> str:
        """What the folder holds, in words."""
        what = "PNGs" if self.masks else "pictures"
        if self.named:
            text = f"It holds {self.named:,} {what} such as {os.fsdecode(self.example)}"
        elif self.others:
            text = (
                f"It holds {self.others:,} pictures such as {os.fsdecode(self.other)}, but none "
                "by its ILSVRC file name (n01440764_10026.JPEG, ILSVRC2012_val_00000293.JPEG), "
                "which is how an image is known"
            )
        else:
            text = f"It holds no {what}"
        if self.archives and not self.named:
            shown = ", ".join(self.archives[:_SHOWN])
            text += f"; of archives it holds {shown}: unpack the right one"
            if self.masks:
                text += ", or give the zip of masks itself"
        return f"{text}."


def in_folder(folder: Path, stems: Stems, *, masks: bool = False) -> Found:
    """Finds files by their stems in a folder and the folders in it; links are followed.

    What operating systems leave, hidden folders and, when images are looked for, folders of masks
    (`*-segmentation`) are passed over, and so are PNGs where there are JPEGs. Of a stem that is
    there twice, the first by name counts, which a warning tells.

    Args:
        folder: Where to look.
        stems: What is wanted.
        masks: Whether PNGs alone count.

    Raises:
        MissingError: A folder cannot be listed.
    """
    walk = _Walk(stems, masks=masks)
    walk.visit(os.fsencode(folder))
    if doubles := walk.taken.doubles:
        left, taken = map(os.fsdecode, doubles[0])
        log.warning(
            "%s: %d files are there more than once by name; the first is taken, such as %s, not %s",
            *(folder, len(doubles), taken, left),
        )
    found = np.array(walk.taken.paths, np.bytes_)
    return Found(Files(folder, found), found != b"", walk.seen(), os.fsdecode(walk.example))


def in_parquet(files: Sequence[Path], stems: Stems) -> tuple[Found, Cells | None] | None:
    """Finds images by the names of rows of parquet files; of two of a name the first counts.

    Args:
        files: The files.
        stems: What is wanted.

    Returns:
        The images, and the masks beside them where the files have masks; None where no file has a
        column of images.

    Raises:
        DependencyError: pyarrow is not installed.
        CorruptError: A file is damaged.
    """
    row_of = {stem: row for row, stem in enumerate(stems.tolist())}
    tables: list[ParquetImages] = []
    file = np.full(len(stems), -1, np.int16)
    cell = np.zeros(len(stems), np.int64)
    count, doubles, example = 0, 0, b""
    for path in progress(files, "list parquet files", len(files), unit="file"):
        if (listed := list_images(path)) is None:
            continue
        table, names = listed
        for at, name in enumerate(names):
            row = row_of.get(stem_of(name) or b"")
            if row is not None and file[row] < 0:
                file[row], cell[row] = len(tables), at
            elif row is not None:
                doubles += 1
        count += len(names)
        example = example or next(filter(None, names), b"")
        tables.append(table)
    if doubles:
        log.warning(
            "%s: %d rows are there more than once by name; the first is taken",
            *(files[0].parent, doubles),
        )
    if not tables:
        return None
    shown = os.fsdecode(example)
    seen = f"It has {count:,} rows {f'such as {shown}' if shown else 'without file names'}."
    found = Found(Cells(tables, file, cell), file >= 0, seen, shown)
    used = np.unique(file[file >= 0])
    masked = len(used) and all(tables[rank].has_masks for rank in used.tolist())
    return found, Cells(tables, file, cell, masks=True) if masked else None


def in_archive(path: Path, wanted: Sequence[str]) -> Found:
    """Finds members of a zip of masks.

    Args:
        path: The zip.
        wanted: Names of members.

    Raises:
        CorruptError: It is no zip of masks.
    """
    archive = MaskArchive(path)
    held: Mapping[str, object] = members(path)
    there = np.array([name in held for name in wanted], np.bool_)
    example = min(held, default="")
    seen = f"It holds {len(held):,} members{f' such as {example}' if example else ''}."
    return Found(Members(archive, wanted), there, seen, example)
