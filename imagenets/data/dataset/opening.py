"""Finds a split of a prepared set: in shards, or in a tree of files."""

from __future__ import annotations

from pathlib import Path

from imagenets import paths
from imagenets.data.dataset.shard_store import ShardStore
from imagenets.data.dataset.store import Store
from imagenets.data.dataset.tree_store import TreeStore
from imagenets.data.shards import MANIFEST, Manifest
from imagenets.errors import MissingError, UsageError
from imagenets.tiers import SPLITS, TIERS


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
    if not isinstance(split, str):
        raise UsageError(f"split is {split!r}: give its name; the tier is classes={split!r}.")
    root, tier = _resolve(root.expanduser(), tier)
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
    others = [f"tier {tier} is here: classes={_shown(tier)}" for tier in paths.prepared(root)]
    there = f"{'; '.join(others).capitalize()}. " if others else ""
    form = "" if layout == "auto" else f" (--layout {layout})"
    return f"{root}: no {name} is prepared here{form}. {there}To prepare it, run {command}"


def _shown(tier: str) -> str:
    return tier if tier.isdecimal() else repr(tier)
