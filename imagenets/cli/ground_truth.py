"""What a prepared set, a folder or lists say: ground truth masks, images and their sizes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from imagenets import paths
from imagenets.data.shards import MANIFEST, Manifest
from imagenets.errors import MissingError, UsageError
from imagenets.evaluation.mask_folders import Masks, list_masks


def ground_truth_masks(folder: Path | None, root: Path, tier: str) -> Masks:
    """Finds the ground truth masks.

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
    shards = paths.shards(root, tier)
    if (shards / MANIFEST).is_file():  # as everywhere: shards before a tree
        return _packed_masks(root, shards, tier)
    tree = paths.tree(root, tier) / paths.segmentation("validation")
    if tree.is_dir():
        return list_masks(tree)
    raise MissingError(
        f"{root}: there is no prepared {paths.set_name(tier)} with validation masks. Give "
        f"the folder of ground truth masks with --gt, or prepare the set: imagenets-prepare "
        f"--split {tier} --root {root}"
    )


def _packed_masks(root: Path, folder: Path, tier: str) -> Masks:
    from imagenets.data.dataset.imagenets import ImageNetS

    if "validation" not in Manifest.load(folder).splits:
        raise MissingError(
            f"{folder}: this set was prepared without the validation split. Run "
            f"imagenets-prepare --split {tier} --subsets validation, or give --gt."
        )
    return ImageNetS(root, "validation", tier, layout="shards").mask_files()


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
    from imagenets.data.dataset.opening import open_store
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


def number_of_classes(tier: str, root: Path, index: Path | None = None) -> int:
    """K: of the published tier, of the lists, of the prepared set; else the number that was given.

    Args:
        tier: The tier's name, or a number of classes.
        root: Root of the prepared sets.
        index: Folder with the lists, if given.

    Raises:
        UsageError: No such set is prepared, and it is not a number of 1 to 999 (1000 is the
            ignored id).
        CorruptError: The set or the lists are damaged.
    """
    from imagenets.data.dataset.tree_store import TreeStore
    from imagenets.data.lists import read_lists
    from imagenets.tiers import SPLITS, TIERS, get_tier

    if tier in TIERS:
        return int(tier)
    if index is not None:
        return len(read_lists(get_tier(tier, index), index).classes)
    if (shards := paths.shards(root, tier) / MANIFEST).is_file():
        return len(Manifest.load(shards.parent).classes)
    for split in SPLITS:
        if (paths.tree(root, tier) / split).is_dir():
            return len(TreeStore(root, tier, split).classes)
    if tier.isdecimal() and 1 <= int(tier) < 1000:
        return int(tier)
    here = ", ".join(paths.prepared(root)) or "none"
    raise UsageError(
        f"--split {tier}: no such set is prepared in {root} (there: {here}). Give its --root, or "
        "the number of classes, 1 to 999."
    )
