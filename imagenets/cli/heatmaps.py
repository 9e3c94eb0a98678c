"""`imagenets heatmaps`: measures heat maps against the mask of each image's label."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.cli import heatmap_scoring as scoring
from imagenets.cli.command import Verb
from imagenets.errors import MissingError

if TYPE_CHECKING:
    from imagenets.evaluation.bootstrap import Interval


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--maps",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder of heat maps by name (.npy, .npz, grey .png or .tiff), or one .npz or .h5",
    )
    scoring.add_common(parser)
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table of all classes")
    parser.add_argument(
        "--per-image", type=Path, metavar="FILE", help="write every image's measures"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write an HTML page with all tables, and the best, median and worst maps",
    )


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.evaluation.localization import intervals, tables

    for path in (arguments.csv, arguments.per_image, arguments.report):
        if path and not path.parent.is_dir():
            raise MissingError(f"{path}: there is no folder {path.parent}. Make it first.")
    data, view = scoring.open_targets(arguments)
    found = scoring.measure(
        arguments.maps, data, view, baselines=True, at=arguments.maps_at, seed=arguments.seed
    )
    scoring.tell(found, arguments.maps, view)
    own = found.maps
    if arguments.csv and own.classes:
        tables.write_classes(own.classes, data.classes, arguments.csv)
    if arguments.per_image:
        tables.write_images(own.per_image, arguments.per_image)
    sure = None
    if arguments.bootstrap is not None:
        sure = intervals(own, arguments.bootstrap, arguments.level, arguments.seed)
    if arguments.report:
        _write_page(arguments, found, sure, data.classes)
    if arguments.json:
        document = {
            "view": None if view is None else str(view),
            "maps": own.as_dict(),
            "baselines": {name: one.as_dict() for name, one in found.baselines.items()},
            "constant": found.constant,
            "resized": found.resized,
            "unclear": found.unclear,
            "extra": found.extra,
        }
        if sure:
            document["intervals"] = {name: asdict(one) for name, one in sure.items()}
        print(json.dumps(document))
        return
    print(tables.metrics_text(own, found.baselines, None if view is None else str(view)))
    if sure:
        print("\n" + tables.interval_text(sure, arguments.level))


def _write_page(
    arguments: argparse.Namespace,
    found: scoring.Measured,
    sure: Mapping[str, Interval] | None,
    wnids: tuple[str, ...],
) -> None:
    from imagenets.pages.heatmaps import HeatMaps, Shown, write_heatmaps

    def see(name: str) -> Shown:
        photo, seen = found.reader.see(name)
        assert seen.heat is not None  # it was measured
        return Shown(photo, seen.target, seen.heat)

    measured = HeatMaps(found.maps, found.baselines, sure, arguments.level, wnids, see)
    write_heatmaps(measured, arguments.maps.name, arguments.view, arguments.report)


VERB = Verb(
    name="heatmaps",
    summary="measure heat maps against the mask of the label",
    description="Measures heat maps, one for each validation image, against the mask of the object "
    "that the image's ImageNet-1k label names: pointing games, energy, rank accuracy, IoU, average "
    "precision, ROC AUC, beside what a constant, a random and a centred map and the mask itself "
    "reach. `heatmaps compare A B` tests two methods against each other.",
    examples=(
        ("--maps gradients --split 50", "maps of whole images"),
        (
            "--maps gradcam.h5 --split 919 --view resize256-crop224 --bootstrap 1000",
            "maps of the usual crop, with intervals",
        ),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
