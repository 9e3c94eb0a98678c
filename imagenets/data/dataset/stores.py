"""Where the samples of a split lie: in shards, or in a tree of files. Both look alike from here."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imagenets import paths
from imagenets.classes import class_folders, ilsvrc_classes, ranks
from imagenets.data.lists import Lists, have_lists, read_lists
from imagenets.data.shards import MANIFEST, Manifest, ShardReader
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.tiers import SPLITS, TIERS, get_tier, list_paths

_OPEN_SHARDS = 256
"""Shards that one process keeps mapped: each holds a file descriptor, of which 1024 are usual."""


class Store(Protocol):
    """The samples of one split in canonical order, as encoded bytes and columns of facts.

    Attributes:
        classes: WordNet ids of the tier; class id = 1 + rank.
        source_classes: WordNet ids that `ilsvrc` counts.
        class_ids: int16, one a sample, 0 outside the tier.
        ilsvrc: int16, rank of the image's own ILSVRC class, -1 when it is none of them.
        has_masks: Whether the samples have masks.
    """

    classes: tuple[str, ...]
    source_classes: tuple[str, ...]
    class_ids: npt.NDArray[np.int16]
    ilsvrc: npt.NDArray[np.int16]
    has_masks: bool

    def name(self, row: int) -> str:
        """`<class folder>/<stem>`."""

    def where(self, row: int) -> str:
        """The file to name in an error."""

    def image(self, row: int) -> bytes | memoryview:
        """The encoded image."""

    def mask(self, row: int) -> bytes | memoryview | None:
        """The encoded mask."""

    def segments(self, row: int) -> npt.NDArray[np.uint16] | None:
        """Bytes of each restart segment of the image; None without an index of them."""

    def sizes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Width and height of some images, n x 2."""

    def digest(self) -> str:
        """SHA-256 that changes when the split does: of the shards' own digests, or of the names
        and sizes of all files of a tree.
        """


def open_store(root: Path, split: str, tier: str, layout: str) -> tuple[str, Store]:
    """Finds a split of a prepared set.

    Args:
        root: A prepared root, or the set's own folder in it, whose tier then counts if `tier` is
            the default "919".
        split: Name of the split.
        tier: Name of the tier.
        layout: "shards", "tree", or "auto": shards where they are there.

    Returns:
        The tier's name and the samples.

    Raises:
        UsageError: There is no such split or layout, or the folder is of another tier.
        MissingError: The set, or this split of it, is not prepared.
        CorruptError: A file of it is damaged.
    """
    root, tier = _resolve(root, tier)
    splits = TIERS[tier].splits if tier in TIERS else SPLITS
    if split not in splits:
        raise UsageError(
            f"there is no split {split!r} of tier {tier}: choose from {', '.join(splits)}."
        )
    if layout not in ("auto", "shards", "tree"):
        raise UsageError(f"there is no layout {layout!r}: choose auto, shards or tree.")
    shards, tree = paths.shards(root, tier), paths.tree(root, tier)
    found = []
    if layout != "tree" and shards.is_dir() and (layout == "shards" or _finished(shards, tree)):
        manifest = Manifest.load(shards)
        if split in manifest.splits:
            return tier, ShardStore(shards, manifest, split)
        found += list(manifest.splits)
    if layout != "shards" and tree.is_dir():
        if (tree / split).is_dir():
            return tier, TreeStore(root, tier, split)
        found += [name for name in SPLITS if (tree / name).is_dir()]
    raise MissingError(_missing(root, split, tier, layout, found))


def _resolve(root: Path, tier: str) -> tuple[Path, str]:
    found = paths.parse_set(root.name)
    if not found or not any((root / name).exists() for name in (MANIFEST, *SPLITS)):
        return root, tier
    if tier not in (found[0], "919"):
        raise UsageError(
            f"{root}: this is a set of tier {found[0]}, not {tier}. "
            f"Leave `classes` out, or give the folder above it."
        )
    return root.parent, found[0]


def _finished(shards: Path, tree: Path) -> bool:
    """Unfinished shards count only where no tree can stand in: then opening them says so."""
    return (shards / MANIFEST).is_file() or not tree.is_dir()


def _missing(root: Path, split: str, tier: str, layout: str, found: list[str]) -> str:
    name = paths.set_name(tier)
    command = f"imagenets-prepare --split {tier} --root {root}"
    if not root.is_dir():
        return f"{root}: there is no such folder. Give the root of a prepared set, or run {command}"
    if found:
        return (
            f"{root}: {name} is prepared here without the split {split}, it has "
            f"{', '.join(dict.fromkeys(found))}. To add it, run {command} --subsets {split}"
        )
    others = [path.name for found in paths.prepared(root).values() for path in found]
    there = f"There is {', '.join(others)} (choose with classes=...). " if others else ""
    form = "" if layout == "auto" else f" (--layout {layout})"
    return f"{root}: no {name} is prepared here{form}. {there}To prepare it, run {command}"


class ShardStore:
    """A split in shards; see `Store`. Tables stay in memory, 101 bytes a sample; files are mapped
    when needed, `_OPEN_SHARDS` at most.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str) -> None:
        self.classes = tuple(manifest.classes)
        self.source_classes = tuple(manifest.source_classes)
        self.has_masks = manifest.splits[split].masks
        infos = manifest.of_split(split)
        self._digest = _digest(f"{info.file} {info.sha256}" for info in infos)
        self._readers = [ShardReader(folder / info.file, verify=True) for info in infos]
        tables = [reader.samples for reader in self._readers]
        for info, table in zip(infos, tables, strict=True):
            if len(table) != info.samples:
                raise CorruptError(
                    f"{folder / info.file}: holds {len(table)} samples, the manifest says "
                    f"{info.samples}. Delete this file and run imagenets-prepare again."
                )
        self._starts = np.cumsum([0, *(len(table) for table in tables)])
        self._raw = split == "train-full"
        self._order = self._sorted(tables) if self._raw else None
        self.class_ids = self._column(tables, "class_id", np.int16)
        self.ilsvrc = self._column(tables, "ilsvrc", np.int16)
        sides = [self._column(tables, side, np.uint16) for side in ("width", "height")]
        self._sizes = np.stack(sides, axis=1)  # 65,535 is the most that a JPEG can have
        self._mapped: OrderedDict[int, None] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": OrderedDict()}

    def name(self, row: int) -> str:
        shard, index = self._find(row)
        record = self._readers[shard].samples[index]
        stem: str = record["name"].decode()
        folder = stem.partition("_")[0] if self._raw else record["wnid"].decode()
        return f"{folder}/{stem}"

    def where(self, row: int) -> str:
        shard, index = self._find(row)
        return f"{self._readers[shard].path}: sample {index}"

    def image(self, row: int) -> memoryview:
        shard, index = self._find(row)
        return self._reader(shard).image(index)

    def mask(self, row: int) -> memoryview | None:
        shard, index = self._find(row)
        return self._reader(shard).mask(index)

    def segments(self, row: int) -> npt.NDArray[np.uint16] | None:
        shard, index = self._find(row)
        return self._reader(shard).segments(index)

    def sizes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return self._sizes[rows].astype(np.int32)

    def digest(self) -> str:
        return self._digest

    @staticmethod
    def _sorted(tables: list[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
        """The order of raw ILSVRC: by class and stem, which is by stem, as it starts so."""
        stems = np.concatenate([table["name"] for table in tables] or [np.zeros(0, "S32")])
        return np.argsort(stems, kind="stable")  # two sorted runs or so: fast

    def _column(
        self, tables: list[npt.NDArray[Any]], field: str, kind: type[np.integer[Any]]
    ) -> npt.NDArray[Any]:
        parts = [table[field] for table in tables] or [np.zeros(0, kind)]
        column = np.concatenate(parts).astype(kind, copy=False)
        return column if self._order is None else column[self._order]

    def _find(self, row: int) -> tuple[int, int]:
        position = row if self._order is None else int(self._order[row])
        shard = int(np.searchsorted(self._starts, position, "right")) - 1
        return shard, position - int(self._starts[shard])

    def _reader(self, shard: int) -> ShardReader:
        self._mapped[shard] = None
        self._mapped.move_to_end(shard)
        if len(self._mapped) > _OPEN_SHARDS:
            oldest, _ = self._mapped.popitem(last=False)
            self._readers[oldest].close()
        return self._readers[shard]


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
        own = self._find_classes(tier, lists)
        merges = TIERS[tier].merges if tier in TIERS else {}
        ids = {wnid: rank for rank, wnid in enumerate(self.classes, 1)}
        by_folder = [ids.get(merges.get(wnid, wnid), 0) for wnid in self._folders]
        self.class_ids = np.array(by_folder, np.int16)[self._codes]
        self.ilsvrc = ranks(self.source_classes, own)

    def name(self, row: int) -> str:
        return f"{self._folders[self._codes[row]]}/{os.fsdecode(self._stems[row])}"

    def where(self, row: int) -> str:
        return str(self._base / self._split / f"{self.name(row)}.JPEG")

    def image(self, row: int) -> bytes:
        return _read(self._base / self._split / f"{self.name(row)}.JPEG")

    def mask(self, row: int) -> bytes | None:
        return _read(self._masks / f"{self.name(row)}.png") if self.has_masks else None

    def segments(self, row: int) -> npt.NDArray[np.uint16] | None:
        return None

    def sizes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        from PIL import Image

        sizes = np.empty((len(rows), 2), np.int32)
        for place, row in enumerate(rows.tolist()):
            try:
                with Image.open(self.where(row)) as image:  # reads the header only
                    sizes[place] = image.size
            except (OSError, SyntaxError, ValueError) as error:
                raise CorruptError(f"{self.where(row)}: not a readable image ({error}).") from error
        return sizes

    def digest(self) -> str:
        return _digest(self._files())

    def _files(self) -> Iterator[str]:
        """Every file of the split and its size."""
        for path in (self._base / self._split, self._masks):
            for folder in class_folders(path) if path.is_dir() else ():
                with os.scandir(path / folder) as entries:
                    rows = sorted((entry.name, entry.stat().st_size) for entry in entries)
                yield from (f"{path.name}/{folder}/{name} {size}" for name, size in rows)

    def _find_classes(self, tier: str, lists: Lists | None) -> npt.NDArray[np.bytes_]:
        """Finds `classes` and `source_classes`; returns each image's own ILSVRC class."""
        folders = np.array(self._folders, np.bytes_)[self._codes]
        training = self._split.startswith("train")
        own = self._stems.astype("S9") if training else folders  # S9: the stem's prefix
        seen = set(self._folders) | {wnid.decode(errors="replace") for wnid in np.unique(own)}
        if lists is not None:
            self.classes = lists.classes
            records = lists.splits.get(self._split)
            if records is not None and not training:
                listed = dict(zip(records.stems.tolist(), records.sources.tolist(), strict=True))
                pairs = zip(self._stems.tolist(), folders.tolist(), strict=True)
                own = np.array([listed.get(stem, wnid) for stem, wnid in pairs], "S9")
            every = (np.unique(records.sources) for records in lists.splits.values())
            seen = {wnid.decode() for part in every for wnid in part}
        else:
            self.classes = self._guess_classes(tier)
        seen |= set(self.classes)
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


def _digest(lines: Iterable[str]) -> str:
    found = hashlib.sha256()
    for line in lines:
        found.update(line.encode() + b"\n")
    return found.hexdigest()


def _stems(folder: Path) -> list[bytes]:
    names = os.listdir(os.fsencode(folder))  # noqa: PTH208 - bytes, for a million names
    return sorted(name[:-5] for name in names if name.endswith(b".JPEG"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingError(
            f"{path}: is missing (or links to an image that has moved). "
            "Run imagenets-prepare again with --layout tree."
        ) from None
