"""`imagenets evaluate`, and `imagenets-evaluate`: scores a folder of predicted masks."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.cli import compare, scoring, submit
from imagenets.cli.command import Verb, run_verb
from imagenets.cli.options import number_of_classes

if TYPE_CHECKING:
    from imagenets.evaluation.folders import Masks, Scored

MATCHINGS = ("image", "pixel", "majority")
SORT_KEYS = ("id", "name", "iou", "biou", "pixels", "predicted", "images")

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """`imagenets-evaluate [compare | submit]`; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    for verb in (compare.VERB, submit.VERB):
        if words[:1] == [verb.name]:
            return run_verb(verb, f"imagenets-evaluate {verb.name}", words[1:])
    return run_verb(VERB, "imagenets-evaluate", words)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pred", type=Path, required=True, metavar="DIR", help="folder of predicted masks"
    )
    scoring.add_common(parser)
    matching = parser.add_mutually_exclusive_group()
    matching.add_argument(
        "--match", type=Path, metavar="FILE", help="JSON: predicted id -> class id, used as it is"
    )
    matching.add_argument(
        "--find-match",
        type=Path,
        metavar="FILE",
        help="find the match on these images, use it and write it here",
    )
    parser.add_argument(
        "--matching",
        choices=MATCHINGS,
        default="image",
        help="what --find-match maximises: images in common, one to one (the benchmark's); "
        "pixels in common, one to one; or each id to the class it shares most pixels with",
    )
    parser.add_argument("--per-class", action="store_true", help="print a table of all classes")
    parser.add_argument("--sort", choices=SORT_KEYS, default="id", help="its order (default: id)")
    parser.add_argument("--descending", action="store_true", help="the largest first")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table of all classes")
    parser.add_argument(
        "--per-image", type=Path, metavar="FILE", help="write every image's figures, worst first"
    )
    parser.add_argument(
        "--bootstrap", type=int, metavar="R", help="intervals from R samples of the images"
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="add up in float32 as the published code does (differs in the last digits)",
    )


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.cli.ground_truth import class_names, true_masks
    from imagenets.evaluation import tables
    from imagenets.evaluation.bootstrap import intervals
    from imagenets.evaluation.metrics import Evaluator

    num_classes = number_of_classes(arguments.split)
    scoring.check(arguments, arguments.csv, arguments.per_image, arguments.find_match)
    truth = true_masks(arguments.gt, arguments.root, arguments.split)
    scored = _matched(arguments, truth, num_classes)
    counts = scored.counts
    evaluator = Evaluator(num_classes, published=arguments.published)
    evaluator.add(counts)
    figures = evaluator.compute()
    rows = tables.class_rows(counts, class_names(truth, num_classes))
    if arguments.csv:
        tables.write_csv(rows, arguments.csv)
    if arguments.per_image:
        tables.write_csv(tables.image_rows(counts, scored.names), arguments.per_image)
    found = None
    if arguments.bootstrap is not None:
        found = intervals(counts, arguments.bootstrap, arguments.level, arguments.seed)
    if arguments.json:
        print(json.dumps({**figures, **({"intervals": scoring.plain(found)} if found else {})}))
        return
    print(tables.figures_text(figures, counts.images, rows))
    if found:
        print("\n" + tables.interval_text(found, arguments.level))
    if arguments.per_class:
        print("\n" + tables.class_text(rows, arguments.sort, arguments.descending))


def _matched(arguments: argparse.Namespace, truth: Masks, num_classes: int) -> Scored:
    """Counts the predictions, with the match that was given or is to be found."""
    from imagenets.evaluation import matching
    from imagenets.evaluation.folders import count_masks

    matched = matching.load(arguments.match, num_classes) if arguments.match else None
    work = partial(count_masks, arguments.pred, truth, num_classes, workers=arguments.workers)
    majority = arguments.find_match and arguments.matching == "majority"
    scored = work(matched=matched, boundaries=not majority)
    scoring.warn_extra(scored.extra, arguments.pred)
    if not arguments.find_match:
        return scored
    if arguments.matching != "image":
        log.info(
            "note: %s matching is not the benchmark's; say so where you report these metrics.",
            arguments.matching,
        )
    found = scoring.find_match(scored.counts, arguments.matching)
    matching.save(found, arguments.find_match)
    if majority:  # ids become one, and the boundaries between them vanish: count anew
        return work(matched=found)
    return scoring.relabelled(scored, found)


VERB = Verb(
    name="evaluate",
    summary="score a folder of predicted masks",
    description="Scores predicted masks (RGB PNGs, id = R + 256 * G, at <wnid>/<stem>.png) with "
    "every metric of the benchmark. The ground truth decides which images are scored. "
    "`compare` tests two predictions against each other, `submit` builds or checks a submission.",
    examples=(
        ("--pred my-masks --split 50", "against the validation masks of ./imagenet-s"),
        (
            "--pred clusters --gt masks --split 50 --find-match match.json",
            "generated classes, matched to those of the tier first",
        ),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
