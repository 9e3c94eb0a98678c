"""`imagenets probe`: k-NN, linear probe and clusters of frozen features, for several backbones."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.cli.command import Verb
from imagenets.cli.distance import PRETRAINED, named
from imagenets.cli.options import (
    add_device,
    add_json,
    add_root,
    check_alone,
    decoding_workers,
    only_tier,
)
from imagenets.errors import MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.methods.probes import Probed
    from imagenets.models.backbone import Backbone

log = logging.getLogger(__name__)

RANDOM = "random"
"""Stands for weights as they start."""

COLUMNS = {
    "knn_mIoU": "k-NN mIoU",
    "linear_mIoU": "linear mIoU",
    "knn_accuracy": "image k-NN",
    "cluster_accuracy": "clusters",
    "cluster_NMI": "NMI",
}
"""Measure -> what stands above it."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backbone",
        required=True,
        nargs="+",
        metavar="NAME[=WEIGHTS]",
        help="what is probed: NAME as `imagenets distance` takes it; WEIGHTS a file, `pretrained` "
        "(those that timm or transformers bring) or `random`. Without: theirs, and for our own "
        "networks random ones",
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept files that lack some weights"
    )
    add_root(parser)
    parser.add_argument("--split", metavar="N", help="tier (default: the one that is prepared)")
    parser.add_argument("--k", type=int, default=20, help="neighbours that vote")
    parser.add_argument(
        "--temperature", type=float, default=0.07, help="of votes: exp(cosine / temperature)"
    )
    parser.add_argument(
        "--bank", type=int, default=200_000, metavar="N", help="labelled patches, at most"
    )
    parser.add_argument(
        "--steps", type=int, default=1000, metavar="N", help="of the linear classifier"
    )
    parser.add_argument("--rate", type=float, default=3e-3, help="of the linear classifier")
    parser.add_argument("--restarts", type=int, default=10, metavar="N", help="of k-means")
    parser.add_argument("--side", type=int, default=256, help="short side of images, pixels")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images at once")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    add_device(parser)
    add_json(parser)


@dataclass(frozen=True)
class _Asked:
    """A backbone of the command line: its name, and a file, `PRETRAINED`, or None for random."""

    name: str
    weights: Path | str | None

    @classmethod
    def parse(cls, text: str) -> _Asked:
        name, equals, weights = text.partition("=")
        if not name or (equals and not weights):
            raise UsageError(f"--backbone {text}: give NAME or NAME=WEIGHTS.")
        if weights == RANDOM or (not equals and ":" not in name):
            return cls(name, None)
        if not equals or weights == PRETRAINED:
            return cls(name, PRETRAINED)
        path = Path(weights).expanduser()
        if not path.is_file():
            raise MissingError(f"--backbone {text}: {path} is not there.")
        return cls(name, path)

    def make(self, arguments: argparse.Namespace) -> Backbone:
        return named(self.name, self.weights, arguments.seed, arguments.allow_partial)

    def __str__(self) -> str:
        return RANDOM if self.weights is None else str(self.weights)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.methods.probes import Probes, Settings
    from imagenets.training.run import pick_device

    check_alone("probe")
    asked = [_Asked.parse(text) for text in arguments.backbone]
    names = ("k", "temperature", "bank", "steps", "rate", "restarts", "side", "seed")
    numbers = {name: getattr(arguments, name) for name in names}
    settings = Settings(**numbers, batch=arguments.batch_size)
    tier = arguments.split or only_tier(arguments.root)
    device, workers = pick_device(arguments.device), decoding_workers(arguments.workers)
    made = [one.make(arguments) for one in asked]  # what is wrong is told before the work
    rows: list[tuple[str, Probed]] = []
    for one in asked:
        backbone = made.pop(0)  # its memory is free after its turn
        found = Probes(backbone, arguments.root, tier, settings, device, workers).run()
        said = ", ".join(f"{name} {value:.1f}" for name, value in found.metrics.items())
        log.info("%s (%s): %s", one.name, one, said)
        rows.append((str(one), found))
    if arguments.json:
        found_of = [{"from": source, **asdict(found)} for source, found in rows]
        document = {"tier": tier, "settings": asdict(settings), "backbones": found_of}
        print(json.dumps(document, indent=1))
    else:
        print(_table(rows))


def _table(rows: Sequence[tuple[str, Probed]]) -> str:
    header = ["backbone", "weights", *COLUMNS.values()]
    cells = [
        [found.backbone, source, *(f"{found.metrics[name]:.2f}" for name in COLUMNS)]
        for source, found in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = []
    for row in (header, *cells):
        words = [text.ljust(width) for text, width in zip(row[:2], widths, strict=False)]
        words += [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(words))
    return "\n".join(lines)


VERB = Verb(
    name="probe",
    summary="k-NN, a linear probe and clusters of frozen features, one table of backbones",
    description="Trains nothing but a linear classifier: features of train-semi, the images with "
    "labels, against validation. Patches: mIoU of their nearest neighbours and of a linear "
    "classifier. Images: accuracy of their nearest neighbours, and of k-means, matched to the "
    "classes. In percent; docs/protocols.md defines each.",
    examples=(
        ("--backbone resnet50=pass.pt resnet50=random --split 50", "two rows"),
        (
            "--backbone timm:vit_small_patch14_dinov2.lvd142m timm:vit_small_patch16_224.dino "
            "--json",
            "two models of timm with the weights that timm brings, for machines",
        ),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
