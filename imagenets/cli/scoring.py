"""What `evaluate` and `compare` share: their options, warnings."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.cli.options import add_all, add_json, add_root, add_workers
from imagenets.core.pool import worker_count
from imagenets.errors import MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.evaluation.score import Scores

FORMATS = ("rgb", "gray16", "npy")  # as evaluation.mask_formats has them; a test compares


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds the options that both have."""
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="DIR",
        help="folder of ground truth masks (default: the validation masks of the prepared set)",
    )
    parser.add_argument(
        "--split",
        required=True,
        metavar="N",
        help="tier: 50, 300, 919, a custom one that is prepared, or else the number of classes",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="rgb",
        help="of the predicted masks: rgb as published, gray16 (PNGs of one channel, 16 bits), npy",
    )
    add_json(parser)
    add_all(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument(
        "--level", type=float, default=0.95, help="of the intervals (default: 0.95)"
    )
    add_workers(parser)
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


def plain(found: Any) -> Any:
    """Dataclasses as dicts, for JSON."""
    if isinstance(found, dict):
        return {name: plain(item) for name, item in found.items()}
    return [plain(item) for item in found] if isinstance(found, list) else asdict(found)


def warn(scores: Scores, pred: Path) -> None:
    """Warns of predictions that no ground truth asks for, and of scores that look misread."""
    scores.warn(pred)
