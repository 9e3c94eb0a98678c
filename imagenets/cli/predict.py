"""`imagenets predict`: masks of a trained run, of a split or of any photographs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.api.predict import photo_folders, predict_photos, predict_split
from imagenets.cli.command import Verb
from imagenets.cli.options import (
    add_device,
    add_regions,
    add_trained_run,
    check_alone,
    regions_folder,
    trained_run,
)
from imagenets.core.distributed import is_first
from imagenets.errors import UsageError

if TYPE_CHECKING:
    from imagenets.methods.pass_.settings import Changes


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
    from imagenets.methods.pass_.settings import Changes

    changes = Changes(
        regions=regions_folder(arguments),
        regions_from=arguments.regions_from,
        assignments=tuple(arguments.set),
    )
    if arguments.images is None:
        _predict_split(arguments, changes)
    else:
        _predict_photos(arguments, changes)


def _predict_split(arguments: argparse.Namespace, changes: Changes) -> None:
    if arguments.run_folder and arguments.out:
        raise UsageError("--run and --out both name the run here: give one of them.")
    arguments.run_folder = arguments.run_folder or arguments.out
    masks = predict_split(trained_run(arguments), arguments.subset or "test", changes)
    if is_first():
        print(masks)


def _predict_photos(arguments: argparse.Namespace, changes: Changes) -> None:
    images, out = arguments.images, arguments.out
    if out is None:
        raise UsageError("--images: name the folder for masks and overlays with --out.")
    if arguments.subset:
        raise UsageError("give --subset or --images, not both.")
    images, out = photo_folders(images, out)
    check_alone("--images")
    made = predict_photos(trained_run(arguments), images, out, arguments.overlays, changes)
    print(f"{out}: {made.count} masks and overlays")


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
