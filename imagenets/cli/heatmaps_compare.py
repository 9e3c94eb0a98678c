"""`imagenets heatmaps compare`: tests two methods' heat maps against each other."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

from imagenets.cli import heatmap_scoring as scoring
from imagenets.cli.command import Verb


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", type=Path, metavar="A", help="heat maps, as `heatmaps --maps`")
    parser.add_argument("b", type=Path, metavar="B", help="those of another method")
    scoring.add_common(parser)
    parser.set_defaults(bootstrap=1000)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.evaluation.localization import compare
    from imagenets.evaluation.localization.tables import difference_text

    data, view = scoring.open_targets(arguments)
    paths = (arguments.a, arguments.b)
    both = [
        scoring.measure(path, data, view, baselines=False, at=arguments.maps_at) for path in paths
    ]
    for measured, path in zip(both, paths, strict=True):
        scoring.tell(measured, path, view)
    a, b = (measured.maps for measured in both)
    found = compare(a, b, arguments.bootstrap, arguments.level, arguments.seed)
    if arguments.json:
        plain = {name: asdict(one) for name, one in found.items()}
        for one in plain.values():  # JSON has no NaN
            one["p"] = None if math.isnan(one["p"]) else one["p"]
        print(json.dumps(plain))
    else:
        print(difference_text(found, arguments.level))


VERB = Verb(
    name="heatmaps-compare",
    summary="test whether one method's heat maps are better than another's",
    description="Tests whether the heat maps of B are better than those of A on the same images: "
    "paired bootstrap intervals of the differences, and p-values from random swaps.",
    examples=(
        ("gradients gradcam --split 50", "against the validation masks of ./imagenet-s"),
        ("a.h5 b.h5 --split 919 --view resize256-crop224", "maps of the usual crop"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
