"""One HTML page of a run, everything inside the file; a new section is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from imagenets.core.files import write_file
from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import page

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        name: f"imagenets.pages.sections.{name}:SECTION"
        for name in (
            "scores",
            "protocols",
            "curves",
            "threshold",
            "sizes",
            "classes",
            "confusions",
            "gallery",
            "clusters",
            "settings",
        )
    }
)
"""Name -> `module:SECTION`, in the order of the page."""


def write_report(
    root: Path, tier: str, out: Path, path: Path | None = None, workers: int | None = None
) -> Path:
    """Writes the page of a scored run.

    Args:
        root: The prepared set.
        tier: Its tier.
        out: The folder of the run.
        path: Where the page is written; `report.html` in the run by default.
        workers: Processes that count masks; all available CPUs by default.

    Returns:
        The page, a single file that needs no other.

    Raises:
        MissingError: The run is not scored yet, or its masks are not there.
        CorruptError: The match is that of another network, or a file is damaged.
        BadMasksError: Some masks are missing or cannot be read.
    """
    run = RunFiles(root, tier, out, workers)
    _ = run.scores  # raises before anything is counted
    facts = (
        f"tier {tier}",
        f"{len(run.data):,} validation images",
        f"{len(run.data.classes):,} classes",
        *(str(run.settings[name]) for name in ("arch", "model") if name in run.settings),
    )
    note = f"Run {out.absolute().name}. Metrics in percent."
    text = page(f"ImageNet-S {tier}: {run.method}", facts, SECTIONS, run, note)
    path = path or out / "report.html"
    write_file(path, text)
    return path
