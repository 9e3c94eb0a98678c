"""`imagenets score`: matches and scores the validation masks of a run, or scores its test masks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from imagenets.cli.command import Verb
from imagenets.cli.options import add_all, add_json, add_run, add_workers, ranks
from imagenets.core.distributed import is_first


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--subset",
        choices=("validation", "test"),
        default="validation",
        help="test: the masks of `predict --subset test`, with the match of validation",
    )
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="DIR",
        help="folder of ground truth masks (default: those of the prepared set)",
    )
    add_workers(parser)
    add_json(parser)
    add_all(parser)


def _run(arguments: argparse.Namespace) -> None:
    with ranks():
        _score(arguments)


def _score(arguments: argparse.Namespace) -> None:
    from imagenets.api.score import score_run

    found = score_run(
        arguments.root,
        arguments.split,
        arguments.out,
        arguments.subset,
        arguments.gt,
        arguments.workers,
    )
    if is_first():
        print(json.dumps(found.document, indent=1) if arguments.json else found)


VERB = Verb(
    name="score",
    summary="match and score the validation masks of a run, or score its test masks",
    description="Matches the generated classes of a run to the classes of the tier on the "
    "validation images, as the benchmark does, and prints every metric. Leaves scores.json and "
    "match.json in the folder of the run; a run of `semi` needs no match. Those who have masks of "
    "the test images score them with that match: scores-test.json.",
    examples=(
        ("--root imagenet-s --split 50", "the run of tier 50"),
        ("--out my-run --json", "another run, for machines"),
        ("--split 50 --subset test --gt masks", "the test images, against masks that you have"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
