"""`imagenets evaluate`, and `imagenets-evaluate`: scores a folder of predicted masks."""

from __future__ import annotations

import argparse
import difflib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from imagenets.cli import compare, heatmaps, heatmaps_compare, scoring, submit
from imagenets.cli.command import Verb, run_verb

MATCHINGS = ("image", "pixel", "majority")  # as evaluation.score has them; a test compares
SORT_KEYS = ("id", "name", "class_name", "iou", "biou", "pixels", "predicted", "images")

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """`imagenets-evaluate [compare | submit | heatmaps [compare]]`; returns the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    inner = {
        ("heatmaps", "compare"): heatmaps_compare.VERB,
        ("heatmaps",): heatmaps.VERB,
        ("compare",): compare.VERB,
        ("submit",): submit.VERB,
    }
    for spelled, verb in inner.items():
        if tuple(words[: len(spelled)]) == spelled:
            program = " ".join(("imagenets-evaluate", *spelled))
            return run_verb(verb, program, words[len(spelled) :])
    if words and not words[0].startswith("-"):
        names = [" ".join(spelled) for spelled in inner]
        near = difflib.get_close_matches(" ".join(words[:1]), names, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        known = ", ".join(sorted(names))
        print(f"error: there is no {words[0]!r}.{hint} Choose {known}, or --pred.", file=sys.stderr)
        return 2
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
        "--per-image", type=Path, metavar="FILE", help="write every image's metrics, worst first"
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
    from imagenets.cli.ground_truth import class_names, ground_truth_masks, number_of_classes
    from imagenets.evaluation import matching, tables
    from imagenets.evaluation.bootstrap import intervals
    from imagenets.evaluation.score import score

    num_classes = number_of_classes(arguments.split, arguments.root)
    scoring.check(arguments, arguments.csv, arguments.per_image, arguments.find_match)
    ground_truth = ground_truth_masks(arguments.gt, arguments.root, arguments.split)
    given = matching.load(arguments.match, num_classes) if arguments.match else None
    scores = score(
        arguments.pred,
        ground_truth,
        num_classes,
        match=arguments.matching if arguments.find_match else given,
        form=arguments.format,
        published=arguments.published,
        workers=arguments.workers,
    )
    scoring.warn(scores, arguments.pred)
    if arguments.find_match and scores.matched is not None:
        _say_matching(arguments.matching)
        matching.save(scores.matched, arguments.find_match)
    classes = class_names(ground_truth, num_classes)
    rows = tables.class_rows(scores.counts, classes)
    if arguments.csv:
        tables.write_csv(rows, arguments.csv)
    if arguments.per_image:
        tables.write_csv(tables.image_rows(scores.counts, scores.names), arguments.per_image)
    found = None
    if arguments.bootstrap is not None:
        found = intervals(scores.counts, arguments.bootstrap, arguments.level, arguments.seed)
    if arguments.json:
        extra = {"intervals": scoring.plain(found)} if found else {}
        print(json.dumps({**scores.document(classes), **extra}))
        return
    print(tables.metrics_text(scores.metrics, scores.counts.images, rows, scores.empty))
    if found:
        print("\n" + tables.interval_text(found, arguments.level, scores.empty))
    if arguments.per_class:
        print("\n" + tables.class_text(rows, arguments.sort, arguments.descending))


def _say_matching(kind: str) -> None:
    if kind != "image":
        log.info(
            "note: %s matching is not the benchmark's; say so where you report these metrics.", kind
        )


VERB = Verb(
    name="evaluate",
    summary="score a folder of predicted masks",
    description="Scores predicted masks (RGB PNGs, id = R + 256 * G, at <wnid>/<stem>.png) with "
    "every metric of the benchmark. The ground truth decides which images are scored. "
    "`compare` tests two predictions against each other, `submit` builds or checks a submission, "
    "`heatmaps` measures heat maps.",
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
