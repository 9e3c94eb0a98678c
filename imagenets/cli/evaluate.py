"""`imagenets-evaluate`: scores a folder of predicted masks."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.cli import add_root, run
from imagenets.core.pool import worker_count
from imagenets.errors import MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.evaluation.counts import Counts
    from imagenets.evaluation.folders import Masks, Scored

DESCRIPTION = """Scores predicted masks (RGB PNGs, id = R + 256 * G, at <wnid>/<stem>.png) with
every figure of the benchmark. The ground truth decides which images are scored."""

EPILOG = """Further commands: `imagenets-evaluate compare A B` tests two predictions against each
other; `imagenets-evaluate submit` builds or checks a submission. Each has its own --help."""

MATCHINGS = ("image", "pixel", "majority")
SORT_KEYS = ("id", "name", "iou", "biou", "pixels", "predicted", "images")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["compare"]:
        return run(partial(_compare, _compare_parser().parse_args(argv[1:])))
    if argv[:1] == ["submit"]:
        from imagenets.cli.submit import main as submit

        return submit(argv[1:])
    return run(partial(_score, _parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("imagenets-evaluate", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument(
        "--pred", type=Path, required=True, metavar="DIR", help="folder of predicted masks"
    )
    _add_common(parser)
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
    return parser


def _compare_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "imagenets-evaluate compare",
        description="Tests whether B scores better than A on the same images: paired bootstrap "
        "intervals of the differences, and p-values from random swaps.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="folder of predicted masks")
    parser.add_argument("b", type=Path, metavar="B", help="another one")
    _add_common(parser)
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
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gt",
        type=Path,
        metavar="DIR",
        help="folder of true masks (default: the validation masks of the prepared set)",
    )
    parser.add_argument(
        "--split", required=True, metavar="N", help="number of classes: 50, 300, 919 or any other"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument(
        "--level", type=float, default=0.95, help="of the intervals (default: 0.95)"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )
    add_root(parser)


def _score(arguments: argparse.Namespace) -> None:
    from imagenets.cli.ground_truth import class_names, true_masks
    from imagenets.evaluation import tables
    from imagenets.evaluation.bootstrap import intervals
    from imagenets.evaluation.metrics import Evaluator

    num_classes = number_of_classes(arguments.split)
    _check(arguments, arguments.csv, arguments.per_image, arguments.find_match)
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
        print(json.dumps({**figures, **({"intervals": _plain(found)} if found else {})}))
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
    _warn_extra(scored.extra, arguments.pred)
    if not arguments.find_match:
        return scored
    if arguments.matching != "image":
        print(
            f"note: {arguments.matching} matching is not the benchmark's; say so where you "
            "report these figures.",
            file=sys.stderr,
        )
    found = _found(scored.counts, arguments.matching)
    matching.save(found, arguments.find_match)
    if majority:  # ids become one, and the boundaries between them vanish: count anew
        return work(matched=found)
    return _relabelled(scored, found)


def _found(counts: Counts, kind: str) -> dict[int, int]:
    from imagenets.evaluation import matching

    if kind == "image":
        seen = matching.CoOccurrence(counts.num_classes)
        seen.add(counts)
        return matching.match(seen.matrix)
    matrix = matching.pixel_matrix(counts.confusion())
    return matching.match(matrix) if kind == "pixel" else matching.match_majority(matrix)


def _relabelled(scored: Scored, found: dict[int, int]) -> Scored:
    from dataclasses import replace

    from imagenets.evaluation.matching import as_table

    table = as_table(found, scored.counts.num_classes)
    return replace(scored, counts=scored.counts.relabelled(table))


def _compare(arguments: argparse.Namespace) -> None:
    from imagenets.cli.ground_truth import true_masks
    from imagenets.evaluation import matching
    from imagenets.evaluation.bootstrap import compare
    from imagenets.evaluation.folders import count_masks
    from imagenets.evaluation.tables import difference_text

    num_classes = number_of_classes(arguments.split)
    _check(arguments)
    truth = true_masks(arguments.gt, arguments.root, arguments.split)
    both = []
    for folder, file in ((arguments.a, arguments.match_a), (arguments.b, arguments.match_b)):
        matched = matching.load(file, num_classes) if file else None
        scored = count_masks(folder, truth, num_classes, matched=matched, workers=arguments.workers)
        _warn_extra(scored.extra, folder)
        if arguments.find_match and matched is None:
            scored = _relabelled(scored, _found(scored.counts, "image"))
        both.append(scored.counts)
    a, b = both
    found = compare(a, b, arguments.bootstrap, arguments.level, arguments.seed)
    print(json.dumps(_plain(found)) if arguments.json else difference_text(found, arguments.level))


def _plain(found: Any) -> Any:
    """Dataclasses as dicts, for JSON."""
    from dataclasses import asdict

    if isinstance(found, dict):
        return {name: _plain(item) for name, item in found.items()}
    return [_plain(item) for item in found] if isinstance(found, list) else asdict(found)


def number_of_classes(split: str) -> int:
    """K, from `--split`.

    Raises:
        UsageError: Not a number of 1 to 999 (1000 is the ignored id).
    """
    if not split.isdecimal() or not 1 <= int(split) < 1000:
        raise UsageError(
            f"--split {split}: give the number of classes, 1 to 999 (50, 300 and 919 are the "
            "published tiers)."
        )
    return int(split)


def _check(arguments: argparse.Namespace, *outputs: Path | None) -> None:
    """Refuses before the work what would fail after it."""
    if arguments.bootstrap is not None and arguments.bootstrap < 2:
        raise UsageError(f"--bootstrap {arguments.bootstrap}: give at least 2 samples.")
    worker_count(arguments.workers)
    if not 0 < arguments.level < 1:
        raise UsageError(f"--level {arguments.level}: give a number between 0 and 1.")
    for path in outputs:
        if path and not path.parent.is_dir():
            raise MissingError(f"{path}: there is no folder {path.parent}. Make it first.")


def _warn_extra(extra: Sequence[str], pred: Path) -> None:
    for name in extra:
        print(f"warning: {pred / name}.png has no ground truth and is left out", file=sys.stderr)
