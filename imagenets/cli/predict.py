"""`imagenets predict`: masks of a trained run, of a split or of any photographs."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.cli.command import Verb
from imagenets.cli.options import (
    add_device,
    add_regions,
    add_trained_run,
    check_alone,
    ranks,
    regions_folder,
    trained_run,
)
from imagenets.core.distributed import is_first, on_first
from imagenets.errors import CorruptError, MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.data.dataset.pictures import Pictures
    from imagenets.methods.pass_.pictures import Kind
    from imagenets.training.run import Run

log = logging.getLogger(__name__)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run(parser)
    parser.add_argument(
        "--subset",
        choices=("validation", "test"),
        help="predict the images of this split (default: test)",
    )
    parser.add_argument(
        "--images", type=Path, metavar="FOLDER", help="predict the photographs in FOLDER instead"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="with --images: where masks and overlays go; else the folder of the run, as --run",
    )
    parser.add_argument(
        "--overlays", choices=("jpg", "png"), default="jpg", help="form of the overlays"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting that prediction alone reads, such as grid=8, scales=[1,1.5], "
        "flip=true, refine=10; of a split, the run keeps it",
    )
    add_regions(parser)
    add_device(parser)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.images is None:
        _predict_split(arguments)
    else:
        _predict_pictures(arguments)


def _predict_split(arguments: argparse.Namespace) -> None:
    from imagenets.methods.pass_.mask_files import PREDICTS
    from imagenets.methods.pass_.predict import check_regions
    from imagenets.methods.pass_.trained import keep_settings

    if arguments.run_folder and arguments.out:
        raise UsageError("--run and --out both name the run here: give one of them.")
    arguments.run_folder = arguments.run_folder or arguments.out
    split = arguments.subset or "test"
    before = trained_run(arguments)
    run = _changed(before, arguments)
    with ranks(run.device):
        if run.config != before.config:
            on_first(lambda: check_regions(run, split))
            on_first(lambda: keep_settings(run))
        predict_split(run, split)
        if is_first():
            print(run.out / PREDICTS[split] / split)


def _changed(run: Run[Any], arguments: argparse.Namespace) -> Run[Any]:
    """The run, with the settings of prediction that the options give."""
    from imagenets.methods.pass_.settings import Changes, with_prediction
    from imagenets.methods.semi.run import SemiRun

    changes = Changes(
        regions=regions_folder(arguments),
        regions_from=arguments.regions_from,
        assignments=tuple(arguments.set),
    )
    if changes == Changes():
        return run
    if isinstance(run, SemiRun):
        raise UsageError("--set and --regions are for runs of `imagenets train`.")
    return replace(run, config=with_prediction(run.config, changes))


def predict_split(run: Run[Any], split: str) -> None:
    """Predicts a split, or what of it is left, with the run's network as it is now."""
    from imagenets.methods import semi
    from imagenets.methods.pass_ import ALL_STAGES
    from imagenets.methods.pass_.mask_files import PREDICTS
    from imagenets.methods.semi.run import SemiRun
    from imagenets.training.stage import Stages

    stages = semi.STAGES if isinstance(run, SemiRun) else ALL_STAGES
    Stages(stages, run).run([PREDICTS[split]])


def _predict_pictures(arguments: argparse.Namespace) -> None:
    from imagenets.data.dataset.pictures import Pictures
    from imagenets.methods.semi.pictures import predict_pictures
    from imagenets.methods.semi.run import SemiRun

    images, out = arguments.images.expanduser(), arguments.out
    if out is None:
        raise UsageError("--images: name the folder for masks and overlays with --out.")
    if arguments.subset:
        raise UsageError("give --subset or --images, not both.")
    out = out.expanduser()
    if out.resolve() == images.resolve():
        raise UsageError(f"--out {out}: is the folder of the photographs. Give another one.")
    check_alone("--images")
    run = _changed(trained_run(arguments), arguments)
    pictures = Pictures(images, without=out)
    if isinstance(run, SemiRun):
        predict_pictures(run, pictures, out, arguments.overlays)
    else:
        _generated(run, pictures, out, arguments.overlays)
    print(f"{out}: {len(pictures)} masks and overlays")


def _generated(run: Run[Any], pictures: Pictures, out: Path, kind: Kind) -> None:
    """Masks of a run of PASS; matched to the classes where the run is scored."""
    from imagenets.methods.pass_.pictures import number_of_classes, predict_pictures
    from imagenets.methods.pass_.score import class_names, load_match

    count = number_of_classes(run)
    matched, names = None, []
    try:
        matched, names = load_match(run.out, count), list(class_names(run.out))
    except MissingError:
        log.info("note: this run is not scored, so ids are generated categories without names")
    except CorruptError as error:
        log.warning("%s Ids are generated categories here.", error)
    predict_pictures(run, pictures, out, matched=matched, names=names, kind=kind)


VERB = Verb(
    name="predict",
    summary="predict masks with a trained run: of a split, or of any photographs",
    description="Writes the masks of the test or validation images of the set that a run was "
    "trained on, or a mask and an overlay of each photograph in a folder. Masks are RGB PNGs, id = "
    "R + 256 * G. Those of a split hold generated ids, which `score` and `submit` match to the "
    "classes; those of photographs hold class ids where the run is scored. A run of `semi` always "
    "gives class ids. A split that was interrupted goes on.",
    examples=(
        ("--root imagenet-s --split 50 --subset test", "the test images, with the run of tier 50"),
        ("--run runs/50 --images photos --out masks", "photographs: masks, overlays, names of ids"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
