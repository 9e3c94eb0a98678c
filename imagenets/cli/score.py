"""`imagenets score`: matches and scores the validation masks of a run, or scores its test masks."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from imagenets.cli import scoring
from imagenets.cli.command import Verb
from imagenets.cli.options import add_all, add_json, add_run, add_workers, ranks, tier_and_run
from imagenets.core.distributed import is_first
from imagenets.errors import UsageError
from imagenets.protocols import verdicts_text


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
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.evaluation.results import results_text
    from imagenets.evaluation.tables import metrics_text
    from imagenets.methods.pass_.score import SCORES, TEST_SCORES, score_run, score_test
    from imagenets.methods.semi import score as semi
    from imagenets.methods.semi.run import is_semi

    tier, out = tier_and_run(arguments)
    data = ImageNetS(arguments.root, arguments.subset, tier)
    truth, workers = arguments.gt, arguments.workers
    if arguments.subset == "test" and truth is None and not data.has_masks:
        raise UsageError(
            "the masks of the test images were never released, and the prepared set has none. "
            "Give the folder that holds yours with --gt."
        )
    if is_semi(out):
        scores = semi.score_run(data, out, workers, truth)
        file = semi.SCORES[arguments.subset]
    elif arguments.subset == "validation":
        scores, file = score_run(data, out, workers, truth), SCORES
    else:
        scores = score_test(data, out, truth or data.mask_files(), workers)
        file = TEST_SCORES
    if not is_first():
        return
    scoring.warn(scores, out)
    document = json.loads((out / file).read_text("utf-8"))
    if arguments.json:
        print(json.dumps(document, indent=1))
        return
    print(metrics_text(scores.metrics, scores.counts.images, empty=scores.empty))
    print(f"\n{verdicts_text(document)}")
    if "results" in document:
        print(f"\nThe metrics: {document['protocol']}, as published. Beside the others:\n")
        print(results_text(document["results"]))


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
