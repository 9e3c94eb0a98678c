"""`imagenets score`: matches and scores the validation masks of a run."""

from __future__ import annotations

import argparse
import json

from imagenets.cli import scoring
from imagenets.cli.command import Verb
from imagenets.cli.options import add_all, add_json, add_run, add_workers, tier_and_run


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    add_workers(parser)
    add_json(parser)
    add_all(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.evaluation.tables import metrics_text
    from imagenets.methods.pass_.score import score_run

    tier, out = tier_and_run(arguments)
    data = ImageNetS(arguments.root, "validation", tier)
    scores = score_run(data, out, arguments.workers)
    scoring.warn(scores, out)
    if arguments.json:
        print(json.dumps(scores.document(data.classes), indent=1))
    else:
        print(metrics_text(scores.metrics, scores.counts.images, empty=scores.empty))


VERB = Verb(
    name="score",
    summary="match and score the validation masks of a run",
    description="Matches the generated classes of a run to the classes of the tier on the "
    "validation images, as the benchmark does, and prints every metric. Leaves scores.json and "
    "match.json in the folder of the run.",
    examples=(
        ("--root imagenet-s --split 50", "the run of tier 50"),
        ("--out my-run --json", "another run, for machines"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
