"""`imagenets submit`: builds a submission, from masks or from a run, or checks one."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.cli.command import Verb
from imagenets.cli.options import add_all, add_root, add_workers, only_tier
from imagenets.cli.run_submission import fill_from_run
from imagenets.core.pool import worker_count
from imagenets.errors import MissingError, UsageError
from imagenets.protocols import PROTOCOLS, Protocol

if TYPE_CHECKING:
    from imagenets.evaluation.submission import Sizes

log = logging.getLogger(__name__)

METHOD_OPTIONS = ("training-data", "training-scheme", "networks", "link", "description")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--pred", type=Path, metavar="DIR", help="folder of predicted masks")
    what.add_argument("--check", type=Path, metavar="ZIP", help="an archive to check")
    what.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="RUN",
        help="folder of a run of training: its masks, predicted if need be, and its match "
        "(default, without --pred and --check: ROOT/runs/TIER)",
    )
    parser.add_argument(
        "--split", metavar="N", help="tier: 50, 300, 919, custom (default: of the run)"
    )
    parser.add_argument(
        "--subset",
        choices=("test", "validation"),
        default="test",
        help="whose images it covers (default: test)",
    )
    parser.add_argument(
        "--protocol",
        choices=tuple(PROTOCOLS),
        help="what it is entered for; a run of train for unsupervised, of semi for semi "
        "(default) or free",
    )
    parser.add_argument(
        "--match", type=Path, metavar="FILE", help="goes in as match.json; a run has its own"
    )
    parser.add_argument("--method-name", metavar="TEXT", help="goes into method.txt")
    for name in METHOD_OPTIONS:
        parser.add_argument(f"--{name}", default="", metavar="TEXT", help="likewise")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("submission.zip"),
        metavar="ZIP",
        help="archive to write (default: submission.zip)",
    )
    parser.add_argument(
        "--index",
        type=Path,
        metavar="PATH",
        help="folder with the lists, instead of a prepared set",
    )
    parser.add_argument(
        "--device", default="auto", help="where a run predicts: auto, cpu, cuda or cuda:N"
    )
    add_all(parser)
    add_workers(parser)
    add_root(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.cli.ground_truth import image_sizes, number_of_classes
    from imagenets.evaluation.submission import BadSubmissionError, check

    if not arguments.check and not arguments.out.parent.is_dir():
        raise MissingError(f"{arguments.out}: there is no folder {arguments.out.parent}.")
    if not arguments.check and not arguments.pred:
        fill_from_run(arguments)
    arguments.split = arguments.split or only_tier(arguments.root)
    num_classes = number_of_classes(arguments.split, arguments.root, arguments.index)
    protocol = PROTOCOLS[arguments.protocol] if arguments.protocol else None
    workers = worker_count(arguments.workers)
    if arguments.pred and (protocol is None or not (arguments.method_name or "").strip()):
        raise UsageError("a submission needs --protocol and --method-name.")
    images = image_sizes(arguments.root, arguments.split, arguments.subset, arguments.index)
    if None in images.values():
        log.info("note: only lists are at hand, so sizes are not checked")
    if arguments.check:
        faults = check(arguments.check, images, num_classes, protocol, workers=workers)
        if faults:
            raise BadSubmissionError(arguments.check, faults)
        print(f"{arguments.check}: a valid submission of {len(images)} masks")
    else:
        assert protocol is not None
        _build(arguments, images, num_classes, protocol)
    if protocol:
        print(protocol.text())


def _build(
    arguments: argparse.Namespace, images: Sizes, num_classes: int, protocol: Protocol
) -> None:
    from imagenets.evaluation import matching
    from imagenets.evaluation.submission import Method, build

    fields = [getattr(arguments, name.replace("-", "_")) for name in METHOD_OPTIONS]
    _check_subset(arguments, images)
    extra = build(
        arguments.pred,
        images,
        num_classes,
        protocol,
        Method(arguments.method_name, *fields),
        arguments.out,
        matched=matching.load(arguments.match, num_classes) if arguments.match else None,
        workers=worker_count(arguments.workers),
    )
    if extra:
        log.warning(
            "%d masks such as %s.png are of no image of the split, left out", len(extra), extra[0]
        )
    print(f"{arguments.out}: a valid submission of {len(images)} masks")


def _check_subset(arguments: argparse.Namespace, images: Collection[str]) -> None:
    """Refuses masks of which none is of the split, but which are of the other one."""
    from imagenets.cli.ground_truth import image_sizes
    from imagenets.evaluation.mask_folders import list_masks, pair, what_is_there

    preds = list_masks(arguments.pred)
    if any(pair(preds, images)[0].values()):
        return
    other = "validation" if arguments.subset == "test" else "test"
    try:
        others = image_sizes(arguments.root, arguments.split, other, arguments.index)
    except MissingError:
        return
    if any(pair(preds, others)[0].values()):
        raise UsageError(
            f"no mask is of an image of the split {arguments.subset}; "
            f"{what_is_there(preds, arguments.pred)}. Did you mean --subset {other}?"
        )


VERB = Verb(
    name="submit",
    summary="build a submission, or check one",
    description="Builds a submission archive and checks it, or checks someone's archive. Of a run "
    "of training, what is missing is made first: the masks, and the match of validation. The "
    "images and their sizes come from the prepared set; without one the lists give the names, and "
    "sizes are not checked.",
    examples=(
        ("--run runs/50", "the test images of a run of training, with its match"),
        (
            '--pred masks --split 50 --protocol free --method-name "Mine"',
            "masks of the test images, zipped and checked",
        ),
        ("--check submission.zip --split 50", "whether an archive is valid"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
