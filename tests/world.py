"""A tiny raw ImageNet on the disk, and the steps of preparing it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from tiny import Tiny, tiny

from imagenets.cli.prepare import main
from imagenets.data.lists import read_lists
from imagenets.data.mask_archive import MaskArchive
from imagenets.data.prepare.plan import Plan
from imagenets.data.prepare.planning import make_plan
from imagenets.data.raw import RawImages, open_sources
from imagenets.tiers import get_tier

SPLITS = ("train", "train-semi", "validation", "test")


class World:
    """The files that a person has before preparing, and where the prepared ones go.

    Args:
        path: The folder that all of it lies in.
        world: What the raw ImageNet consists of.
        form: Class folders, or the official archives.
    """

    def __init__(
        self, path: Path, world: Tiny | None = None, form: Literal["folders", "tars"] = "folders"
    ) -> None:
        self.tiny = world or tiny()
        self.path = path
        self.raw = getattr(self.tiny, form)(path / "raw")
        self.index = self.tiny.index(path / "index")
        self.archive = self.tiny.archive(path)
        self.root = path / "root"
        self.tree = self.root / f"ImageNetS{self.tiny.name}"
        self.shards = self.root / f"ImageNetS{self.tiny.name}.shards"
        self.given = [
            *("--split", self.tiny.name, "--root", str(self.root), "--imagenet", str(self.raw)),
            *("--index", str(self.index), "--annotations", str(self.archive)),
        ]

    @cached_property
    def images(self) -> RawImages:
        """The raw images, found."""
        return open_sources([self.raw])

    @cached_property
    def masks(self) -> MaskArchive:
        """The archive of masks, opened."""
        return MaskArchive(self.archive)

    @cached_property
    def plan(self) -> Plan:
        """What is stored of all splits."""
        return self.plan_of(SPLITS)

    def plan_of(self, subsets: tuple[str, ...]) -> Plan:
        """What is stored of some splits, by the lists as they are in `tiny` now."""
        tier = get_tier(self.tiny.name, self.tiny.index(self.index))
        return make_plan(tier, read_lists(tier, self.index), self.images, subsets)

    def run(self, *more: str, workers: int = 1) -> int:
        """Runs the command on it."""
        return main([*self.given, "--workers", str(workers), *more])
