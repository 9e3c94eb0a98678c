"""`imagenets.report`: one HTML page of a run, or of two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imagenets.api.places import tier_and_run
from imagenets.api.session import root_folder, session
from imagenets.errors import MissingError, UsageError


def report(
    root: str | Path | None = None,
    *,
    split: str | int | None = None,
    out: str | Path | None = None,
    compare: Sequence[str | Path] | None = None,
    page: str | Path | None = None,
    workers: int | None = None,
) -> Path:
    """Writes the page of a scored run: curves, scores and pictures in one file.

    What `imagenets report` does, with its options.

    Args:
        root: Folder of the prepared set; None: $IMAGENETS_ROOT, else ./imagenet-s.
        split: The tier; None: that of the run, else the one that is prepared.
        out: Folder of the run; None: ROOT/runs/TIER.
        compare: Folders of two runs, to be shown side by side in the place of one.
        page: The file to write; None: report.html in the run, comparison.html in the second one.
        workers: Processes; one for each core by default.

    Returns:
        The page.

    Raises:
        UsageError: The run is of another tier, or options do not go together.
        MissingError: The run is not scored yet, or something else is not there.
        CorruptError: A file cannot be read, or the match is that of another network.
    """
    from imagenets.pages.comparison import write_comparison
    from imagenets.pages.report import write_report

    file = None if page is None else Path(page).expanduser()
    if file and file.is_dir():
        raise UsageError(f"{file}: is a folder. Name the file to write.")
    if file and not file.parent.is_dir():
        raise MissingError(f"{file}: there is no folder {file.parent}. Make it first.")
    place, tier = root_folder(root), None if split is None else str(split)
    with session():
        if compare is None:
            tier, run = tier_and_run(place, tier, None if out is None else Path(out).expanduser())
            return write_report(place, tier, run, file, workers)
        if out is not None:
            raise UsageError("--out names one run, --compare two: give one of them.")
        several = (compare,) if isinstance(compare, str | Path) else tuple(compare)
        if len(several) != 2:
            raise UsageError(f"--compare: give two runs, not {len(several)}.")
        first, second = (Path(run).expanduser() for run in several)
        tier, first = tier_and_run(place, tier, first)
        file = file or second / "comparison.html"
        return write_comparison(place, tier, (first, second), file, workers)
