"""A split in the published folders."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets import paths
from imagenets.classes import class_folders, ilsvrc_classes, ranks
from imagenets.core.files import is_litter
from imagenets.data.dataset.store import REPLACE, digest
from imagenets.data.lists import Lists, have_lists, read_lists, source_classes
from imagenets.errors import CorruptError, MissingError
from imagenets.pixels.image import DecodeError, size
from imagenets.tiers import SPLITS, TIERS, get_tier, list_paths

log = logging.getLogger(__name__)


class TreeStore:
    """A split in the published folder layout; see `Store`.

    Which ILSVRC class a validation or test image is from stands in the lists; without them
    below `<root>/downloads`, the class folder has to do.
    """

    def __init__(self, root: Path, tier: str, split: str) -> None:
        self._base = paths.tree(root, tier)
        self._split = split
        self._masks = self._base / paths.segmentation(split)
        self.has_masks = self._masks.is_dir()
        downloads = paths.downloads(root)
        there = have_lists(tier, downloads)
        lists = read_lists(get_tier(tier, downloads), downloads) if there else None
        known = None if lists is None or split == "train-full" else lists.classes
        self._folders = class_folders(self._base / split, known)
        stems = [_stems(self._base / split / folder) for folder in self._folders]
        counts = [len(part) for part in stems]
        if not any(counts):
            raise MissingError(
                f"{self._base / split}: holds no <wnid>/*.JPEG. "
                f"Run imagenets-prepare --split {tier} --root {root} --layout tree"
            )
        self._codes = np.repeat(np.arange(len(stems), dtype=np.int16), counts)
        self._stems = np.array([stem for part in stems for stem in part], np.bytes_)
        self.unlisted = 0
        own = self._find_classes(tier, lists)
        merges = TIERS[tier].merges if tier in TIERS else {}
        ids = {wnid: rank for rank, wnid in enumerate(self.classes, 1)}
        by_folder = [ids.get(merges.get(wnid, wnid), 0) for wnid in self._folders]
        self.class_ids = np.array(by_folder, np.int16)[self._codes]
        self.ilsvrc = ranks(self.source_classes, own)
        if self.unlisted:
            log.warning(
                "%s: no list says the ILSVRC class of %d of its images: `ilsvrc` is that of the "
                "class folder instead, which for one image in eight is another.",
                *(self._base / split, self.unlisted),
            )

    def name(self, row: int) -> str:
        return f"{self._folders[self._codes[row]]}/{os.fsdecode(self._stems[row])}"

    def where(self, row: int) -> str:
        return str(self._base / self._split / f"{self.name(row)}.JPEG")

    def mask_where(self, row: int) -> str:
        return str(self._masks / f"{self.name(row)}.png")

    def image(self, row: int) -> bytes:
        return _read(self._base / self._split / f"{self.name(row)}.JPEG")

    def mask(self, row: int) -> bytes | None:
        return _read(self._masks / f"{self.name(row)}.png") if self.has_masks else None

    def segments(self, row: int) -> npt.NDArray[np.uint16] | None:
        return None

    def sizes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        sizes = np.empty((len(rows), 2), np.int32)
        for place, row in enumerate(rows.tolist()):
            try:
                sizes[place] = size(Path(self.where(row)))
            except DecodeError as error:
                raise CorruptError(
                    f"{self.where(row)}: not a readable image ({error}). {REPLACE}"
                ) from error
        return sizes

    def digest(self) -> str:
        return digest(self._files())

    def _files(self) -> Iterator[str]:
        """Every file of the split and its size."""
        for path in (self._base / self._split, self._masks):
            for folder in class_folders(path) if path.is_dir() else ():
                with os.scandir(path / folder) as entries:
                    found = [entry for entry in entries if not is_litter(entry.name)]
                    rows = sorted((entry.name, entry.stat().st_size) for entry in found)
                yield from (f"{path.name}/{folder}/{name} {size}" for name, size in rows)

    def _find_classes(self, tier: str, lists: Lists | None) -> npt.NDArray[np.bytes_]:
        """Finds `classes` and `source_classes`; returns each image's own ILSVRC class."""
        folders = np.array(self._folders, np.bytes_)[self._codes]
        training = self._split.startswith("train")
        own = self._stems.astype("S9") if training else folders  # S9: the stem's prefix
        if lists is not None:
            self.classes, self.source_classes = lists.classes, source_classes(lists)
            records = lists.splits.get(self._split)
            if records is not None and not training:
                listed = dict(zip(records.stems.tolist(), records.sources.tolist(), strict=True))
                pairs = zip(self._stems.tolist(), folders.tolist(), strict=True)
                self.unlisted = sum(stem not in listed for stem in self._stems.tolist())
                own = np.array([listed.get(stem, wnid) for stem, wnid in pairs], "S9")
            return own
        self.unlisted = 0 if training else len(own)
        self.classes = self._guess_classes(tier)
        seen = {wnid.decode(errors="replace") for wnid in np.unique(own)}
        seen |= {*self._folders, *self.classes}
        ilsvrc = ilsvrc_classes()
        official = tier in TIERS or seen <= set(ilsvrc)
        self.source_classes = ilsvrc if official else tuple(sorted(seen))
        return own

    def _guess_classes(self, tier: str) -> tuple[str, ...]:
        """The classes are the class folders of the tier's splits."""
        splits = [name for name in SPLITS if name != "train-full" and (self._base / name).is_dir()]
        classes = sorted({wnid for name in splits for wnid in class_folders(self._base / name)})
        if tier in TIERS and len(classes) != int(tier):
            lists = paths.downloads(self._base.parent) / list_paths(tier)["categories"]
            raise MissingError(
                f"{self._base}: its folders show {len(classes)} classes of {tier}, so class ids "
                f"cannot be told without the list {lists}. Run imagenets-prepare --split {tier} "
                f"--root {self._base.parent}"
            )
        return tuple(classes)


def _stems(folder: Path) -> list[bytes]:
    names = os.listdir(os.fsencode(folder))  # noqa: PTH208 - bytes, for a million names
    return sorted(n[:-5] for n in names if n.endswith(b".JPEG") and not n.startswith(b"._"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingError(
            f"{path}: is missing (or links to an image that has moved). "
            "Run imagenets-prepare again with --layout tree."
        ) from None
