"""What the prepared set (or a folder, or lists) says: true masks, images and their sizes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from imagenets import paths
from imagenets.data.shards import MANIFEST, Manifest, ShardReader
from imagenets.errors import CorruptError, MissingError
from imagenets.evaluation.folders import Mask, Masks, list_masks


@dataclass(frozen=True, slots=True)
class ShardMask:
    """A mask in a shard: which file, which row of its table, and the sample's name."""

    shard: Path
    row: int
    name: str

    def read(self) -> memoryview:
        """The encoded mask, checked against its checksum."""
        data = _reader(self.shard).mask(self.row)
        if data is None:
            raise CorruptError(f"{self}: this sample has no mask. Run imagenets-prepare again.")
        return data

    def __str__(self) -> str:
        return f"{self.shard}: {self.name}"


@lru_cache(maxsize=16)
def _reader(shard: Path) -> ShardReader:
    return ShardReader(shard, verify=True)


def true_masks(folder: Path | None, root: Path, tier: str) -> Masks:
    """Finds the true masks.

    Args:
        folder: The folder that holds them; None for the validation masks of the prepared set.
        root: Root of the prepared set.
        tier: Its name.

    Returns:
        Masks by name, sorted.

    Raises:
        MissingError: There is no such folder, or no prepared validation masks.
    """
    if folder is not None:
        return list_masks(folder)
    tree = paths.tree(root, tier) / paths.segmentation("validation")
    shards = paths.shards(root, tier)
    if tree.is_dir():
        return list_masks(tree)
    if (shards / MANIFEST).is_file():
        return _shard_masks(shards)
    raise MissingError(
        f"{root}: there is no prepared {paths.set_name(tier)} with validation masks. Give "
        f"the folder of true masks with --gt, or prepare the set: imagenets-prepare --split {tier} "
        f"--root {root}"
    )


def _shard_masks(folder: Path) -> Masks:
    manifest = Manifest.load(folder)
    if "validation" not in manifest.splits:
        raise MissingError(
            f"{folder}: this set was prepared without the validation split. Run "
            f"imagenets-prepare --split {manifest.tier} --subsets validation, or give --gt."
        )
    found: dict[str, Mask] = {}
    for shard in manifest.of_split("validation"):
        path = folder / shard.file
        for row, sample in enumerate(_reader(path).samples):
            name = f"{sample['wnid'].decode()}/{sample['name'].decode()}"
            found[name] = ShardMask(path, row, name)
    return found


def image_sizes(
    root: Path, tier: str, split: str, index: Path | None
) -> dict[str, tuple[int, int] | None]:
    """The images of a split, `<wnid>/<stem>`, with (width, height) where images are at hand.

    Args:
        root: Root of the prepared set.
        tier: Its name.
        split: Name of the split.
        index: Folder with the lists, instead of the prepared set.

    Raises:
        MissingError: Neither a prepared split nor its lists are there.
    """
    from imagenets.data.dataset.stores import open_store
    from imagenets.data.lists import have_lists, read_lists
    from imagenets.tiers import get_tier

    if index is None:
        try:
            _, store = open_store(root, split, tier, "auto")
        except MissingError:
            index = paths.downloads(root)
            if not have_lists(tier, index):
                raise
        else:
            sizes = store.sizes(np.arange(len(store.class_ids))).tolist()
            return {store.name(i): (width, height) for i, (width, height) in enumerate(sizes)}
    records = read_lists(get_tier(tier, index), index).splits[split]
    rows = zip(records.wnids.tolist(), records.stems.tolist(), strict=True)
    return {f"{wnid.decode()}/{stem.decode()}": None for wnid, stem in rows}


def class_names(masks: Iterable[str], num_classes: int) -> list[str] | None:
    """The class folders, sorted, where there is exactly one for each class; else None."""
    folders = {name.rpartition("/")[0] for name in masks}
    return sorted(folders) if len(folders) == num_classes and "" not in folders else None
