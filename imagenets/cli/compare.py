"""`imagenets compare`: tests two predictions against each other."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.cli import scoring
from imagenets.cli.command import Verb

if TYPE_CHECKING:
    from imagenets.evaluation.score import Matching


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="folder of predicted masks")
    parser.add_argument("b", type=Path, metavar="B", help="another one")
    scoring.add_common(parser)
    for name in "ab":
        parser.add_argument(
            f"--match-{name}", type=Path, metavar="FILE", help=f"match of {name.upper()}"
        )
    parser.add_argument(
        "--find-match",
        action="store_true",
        help="find the match of each on these images, unless it is given",
    )
    parser.add_argument(
        "--bootstrap", type=int, default=1000, metavar="R", help="samples (default: 1000)"
    )


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.cli.ground_truth import ground_truth_masks, number_of_classes
    from imagenets.evaluation import matching
    from imagenets.evaluation.bootstrap import compare
    from imagenets.evaluation.score import score
    from imagenets.evaluation.tables import difference_text

    num_classes = number_of_classes(arguments.split, arguments.root)
    scoring.check(arguments)
    ground_truth = ground_truth_masks(arguments.gt, arguments.root, arguments.split)
    both = []
    for folder, file in ((arguments.a, arguments.match_a), (arguments.b, arguments.match_b)):
        given = matching.load(file, num_classes) if file else None
        match: Mapping[int, int] | Matching | None = given
        if arguments.find_match and given is None:
            match = "image"
        scores = score(
            folder,
            ground_truth,
            num_classes,
            match=match,
            form=arguments.format,
            workers=arguments.workers,
        )
        scoring.warn(scores, folder)
        both.append(scores)
    a, b = (scores.counts for scores in both)
    found = compare(a, b, arguments.bootstrap, arguments.level, arguments.seed)
    if arguments.json:
        warnings = {name: scores.warnings for name, scores in zip("ab", both, strict=True)}
        notes = {"warnings": warnings} if any(warnings.values()) else {}
        print(json.dumps({**scoring.plain(found), **notes}))
    else:
        print(difference_text(found, arguments.level, both[0].empty))


VERB = Verb(
    name="compare",
    summary="test whether one prediction scores better than another",
    description="Tests whether B scores better than A on the same images: paired bootstrap "
    "intervals of the differences, and p-values from random swaps.",
    examples=(
        ("masks-a masks-b --split 50", "against the validation masks of ./imagenet-s"),
        ("masks-a masks-b --split 50 --find-match", "each matched to the classes first"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
