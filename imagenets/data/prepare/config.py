"""What a run of preparing is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imagenets import paths
from imagenets.core.pool import Pool
from imagenets.data.prepare.fetch import Origin
from imagenets.data.prepare.pack_shard import Options
from imagenets.data.prepare.tree import Link

Layout = Literal["shards", "tree", "both"]


@dataclass(frozen=True)
class PrepareConfig:
    """What a run is asked for.

    Attributes:
        root: Where everything goes.
        imagenet: Raw ImageNet, in any form.
        origin: Where lists and mask archives come from.
        kind: The raw form to take, None to tell by looking.
        layout: Shards, the published tree, or both.
        subsets: Splits; None for all that the sources can serve but `train-full`.
        link: How a tree gets image files.
        options: How shards store images.
        pool: Where the work is done.
        allow_missing: Whether to go on without images that are not found.
    """

    root: Path
    imagenet: tuple[Path, ...]
    origin: Origin = field(default_factory=Origin)
    kind: str | None = None
    layout: Layout = "shards"
    subsets: tuple[str, ...] | None = None
    link: Link = "symlink"
    options: Options = field(default_factory=Options)
    pool: Pool = field(default_factory=Pool)
    allow_missing: bool = False

    @property
    def downloads(self) -> Path:
        """Where lists and archives lie."""
        return paths.downloads(self.root)

    @property
    def sources(self) -> Path:
        """Where the indexes of raw archives are kept."""
        return paths.state(self.root) / "sources"

    def state(self, tier: str) -> Path:
        """Where runs on a tier leave what later runs need."""
        return paths.state(self.root) / paths.set_name(tier)
