"""`imagenets-evaluate`: scores a folder of predicted masks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from imagenets.cli import add_root, run
from imagenets.errors import UsageError

DESCRIPTION = """Scores predicted masks (RGB PNGs, id = R + 256 * G, at <wnid>/<stem>.png) with
every figure of the benchmark. The ground truth decides which images are scored."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    arguments = _parser().parse_args(argv)
    return run(partial(_score, arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("imagenets-evaluate", description=DESCRIPTION)
    parser.add_argument(
        "--pred", type=Path, required=True, metavar="DIR", help="folder of predicted masks"
    )
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="DIR",
        help="folder of true masks (default: the validation masks of the prepared set)",
    )
    parser.add_argument(
        "--split", required=True, metavar="N", help="number of classes: 50, 300, 919 or any other"
    )
    matching = parser.add_mutually_exclusive_group()
    matching.add_argument(
        "--match", type=Path, metavar="FILE", help="JSON: predicted id -> class id, used as it is"
    )
    matching.add_argument(
        "--find-match",
        type=Path,
        metavar="FILE",
        help="find the best one-to-one match on these images, use it and write it here",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )
    add_root(parser)
    return parser


def _score(arguments: argparse.Namespace) -> None:
    from imagenets.cli.truth import class_names, true_masks
    from imagenets.evaluation import matching
    from imagenets.evaluation.folders import count_masks
    from imagenets.evaluation.metrics import Evaluator
    from imagenets.evaluation.tables import figures_text

    num_classes = _num_classes(arguments.split)
    if arguments.workers is not None and arguments.workers < 1:
        raise UsageError(f"--workers {arguments.workers}: give at least 1.")
    matched = matching.load(arguments.match, num_classes) if arguments.match else None
    truth = true_masks(arguments.gt, arguments.root, arguments.split)
    scored = count_masks(
        arguments.pred, truth, num_classes, matched=matched, workers=arguments.workers
    )
    _warn_extra(scored.extra, arguments.pred)
    counts = scored.counts
    if arguments.find_match:
        seen = matching.CoOccurrence(num_classes)
        seen.add(counts)
        found = matching.match(seen.matrix)
        matching.save(found, arguments.find_match)
        counts = counts.relabelled(matching.as_table(found, num_classes))
    evaluator = Evaluator(num_classes)
    evaluator.add(counts)
    figures = evaluator.compute()
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(figures_text(figures, counts.images, class_names(truth, num_classes)))


def _num_classes(split: str) -> int:
    if not split.isdecimal() or not 1 <= int(split) < 1000:
        raise UsageError(
            f"--split {split}: give the number of classes, 1 to 999 (50, 300 and 919 are the "
            "published tiers)."
        )
    return int(split)


def _warn_extra(extra: Sequence[str], pred: Path) -> None:
    for name in extra:
        print(f"warning: {pred / name}.png has no ground truth and is left out", file=sys.stderr)
