"""What `evaluate` and `compare` share: their options, the match of a prediction, warnings."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.cli.options import add_json, add_root
from imagenets.core.pool import worker_count
from imagenets.errors import MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.evaluation.counts import Counts
    from imagenets.evaluation.folders import Scored

log = logging.getLogger(__name__)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds the options that both have."""
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="DIR",
        help="folder of ground truth masks (default: the validation masks of the prepared set)",
    )
    parser.add_argument(
        "--split", required=True, metavar="N", help="number of classes: 50, 300, 919 or any other"
    )
    add_json(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument(
        "--level", type=float, default=0.95, help="of the intervals (default: 0.95)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )
    add_root(parser)


def check(arguments: argparse.Namespace, *outputs: Path | None) -> None:
    """Refuses before the work what would fail after it."""
    if arguments.bootstrap is not None and arguments.bootstrap < 2:
        raise UsageError(f"--bootstrap {arguments.bootstrap}: give at least 2 samples.")
    worker_count(arguments.workers)
    if not 0 < arguments.level < 1:
        raise UsageError(f"--level {arguments.level}: give a number between 0 and 1.")
    for path in outputs:
        if path and not path.parent.is_dir():
            raise MissingError(f"{path}: there is no folder {path.parent}. Make it first.")


def find_match(counts: Counts, kind: str) -> dict[int, int]:
    """Finds the match of a prediction: by images, by pixels, or by majority."""
    from imagenets.evaluation import matching

    if kind == "image":
        seen = matching.CoOccurrence(counts.num_classes)
        seen.add(counts)
        return matching.match(seen.matrix)
    matrix = matching.pixel_matrix(counts.confusion())
    return matching.match(matrix) if kind == "pixel" else matching.match_majority(matrix)


def relabelled(scored: Scored, found: dict[int, int]) -> Scored:
    """The same counts with ids replaced by a match."""
    from imagenets.evaluation.matching import as_table

    table = as_table(found, scored.counts.num_classes)
    return replace(scored, counts=scored.counts.relabelled(table))


def plain(found: Any) -> Any:
    """Dataclasses as dicts, for JSON."""
    if isinstance(found, dict):
        return {name: plain(item) for name, item in found.items()}
    return [plain(item) for item in found] if isinstance(found, list) else asdict(found)


def warn_extra(extra: Sequence[str], pred: Path) -> None:
    """Warns of predictions that no ground truth asks for."""
    for name in extra:
        log.warning("%s.png has no ground truth and is left out", pred / name)
