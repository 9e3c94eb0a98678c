"""One HTML page of two runs side by side; a new section is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from imagenets.core.files import write_file
from imagenets.errors import UsageError
from imagenets.evaluation.tables import ImageRow
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import page

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        name: f"imagenets.pages.comparing.{name}:SECTION"
        for name in ("scores", "curves", "threshold", "classes", "gallery", "settings")
    }
)
"""Name -> `module:SECTION`, in the order of the page."""


@dataclass(frozen=True)
class Pair:
    """Two scored runs of one tier.

    Attributes:
        a: The first one.
        b: The second one.
    """

    a: RunFiles
    b: RunFiles

    @property
    def runs(self) -> dict[str, RunFiles]:
        """Both by the letters that the page calls them."""
        return {"A": self.a, "B": self.b}

    @cached_property
    def images(self) -> list[tuple[ImageRow, ImageRow]]:
        """What is to be said of each image in A and in B, in the order of the names."""
        rows = [sorted(run.images, key=lambda row: row.name) for run in (self.a, self.b)]
        return list(zip(*rows, strict=True))


def write_comparison(
    root: Path, tier: str, outs: tuple[Path, Path], path: Path, workers: int | None = None
) -> Path:
    """Writes the page of two scored runs side by side.

    Args:
        root: The prepared set.
        tier: Its tier.
        outs: The folders of the runs.
        path: Where the page is written.
        workers: Processes that count masks; all available CPUs by default.

    Returns:
        The page, a single file that needs no other.

    Raises:
        UsageError: A run is of another tier.
        MissingError: A run is not scored yet, or its masks are not there.
        CorruptError: A match is that of another network, or a file is damaged.
        BadMasksError: Some masks are missing or cannot be read.
    """
    a, b = (RunFiles(root, tier, out, workers) for out in outs)
    for run in (a, b):
        own = run.settings.get("tier", tier)
        if own != tier:
            raise UsageError(
                f"{run.out}: this run is of tier {own}, not {tier}. Compare two runs of one tier."
            )
        _ = run.scores  # raises before anything is counted
    facts = (f"A: {a.out}", f"B: {b.out}", f"{len(a.data):,} validation images")
    note = "Metrics in percent; differences are B - A in percentage points."
    write_file(path, page(f"ImageNet-S {tier}: two runs", facts, SECTIONS, Pair(a, b), note))
    return path
