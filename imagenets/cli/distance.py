"""`imagenets distance`: masks of any backbone by distance matching, without training."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.cli import scoring
from imagenets.cli.command import Verb
from imagenets.cli.declaring import add_pretraining, check_entry, said_of
from imagenets.cli.options import (
    add_all,
    add_device,
    add_json,
    add_root,
    decoding_workers,
    only_tier,
    ranks,
)
from imagenets.errors import UsageError
from imagenets.protocols import PROTOCOLS, REFERENCES, Used, verdicts_text

if TYPE_CHECKING:
    from imagenets.methods.distance import Matching
    from imagenets.models.backbone import Backbone

log = logging.getLogger(__name__)

PRETRAINED = "pretrained"
"""Stands for the weights that a library brings."""

ALLOWED = ("distance", "free")
"""Protocols that masks of distance matching may be entered for."""


def add_backbone(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Adds what says which backbone is used, with which weights."""
    parser.add_argument(
        "--backbone",
        required=required,
        metavar="NAME",
        help="one of ours (resnet18, resnet50, ...), timm:NAME, or hf:NAME (a model of the Hugging "
        "Face Hub, or a folder of one)",
    )
    weights = parser.add_mutually_exclusive_group(required=required)
    weights.add_argument("--weights", type=Path, metavar="FILE", help="a checkpoint of it")
    weights.add_argument(
        "--pretrained",
        action="store_true",
        help="the weights that timm or transformers bring, from their cache or the network",
    )
    weights.add_argument("--random-weights", action="store_true", help="weights as they start")
    parser.add_argument(
        "--allow-partial",
        action="store_true",
        help="accept a checkpoint that lacks weights of the backbone; they stay random",
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_backbone(parser)
    add_root(parser)
    parser.add_argument("--split", metavar="N", help="tier (default: the one that is prepared)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="where masks and scores go"
    )
    parser.add_argument(
        "--subset",
        choices=("validation", "test"),
        default="validation",
        help="test: a submission instead of scores",
    )
    parser.add_argument("--k", type=int, default=10, help="references that vote for a pixel")
    parser.add_argument(
        "--temperature", type=float, default=0.07, help="of votes: exp(cosine / temperature)"
    )
    parser.add_argument(
        "--factor", type=int, default=4, help="how many times feature maps are enlarged"
    )
    parser.add_argument("--side", type=int, default=256, help="short side of images, pixels")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="images a step")
    parser.add_argument("--seed", type=int, default=0, help="of random weights")
    parser.add_argument(
        "--protocol",
        choices=ALLOWED,
        help="what a submission is entered for: `free` for weights that saw labels or other images",
    )
    parser.add_argument("--method-name", metavar="TEXT", help="goes into method.txt")
    parser.add_argument("--training-data", default="", metavar="TEXT", help="likewise")
    add_pretraining(parser)
    add_device(parser)
    add_json(parser)
    add_all(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.core import distributed
    from imagenets.methods.distance import Matching, Settings
    from imagenets.training.provenance import declared
    from imagenets.training.run import pick_device

    if arguments.subset == "test" and not arguments.protocol:
        raise UsageError("--subset test: say with --protocol what the submission is entered for.")
    tier = arguments.split or only_tier(arguments.root)
    asked: str = arguments.protocol or ""
    settings = Settings(
        arguments.k, arguments.temperature, arguments.factor, arguments.side, arguments.batch_size
    )
    device, workers = pick_device(arguments.device), decoding_workers(arguments.workers)
    pretraining = said_of(arguments)
    if arguments.subset == "test":
        check_entry(Used(tier, pretraining or declared(arguments.out), REFERENCES, "given"), asked)
    with ranks(device):
        backbone, out = load_backbone(arguments), arguments.out
        place = (arguments.root, tier, out)
        matching = Matching(backbone, *place, settings, device, workers, pretraining)
        matching.predict(arguments.subset)
        if not distributed.is_first():
            return
    found = _scored(matching, arguments) if arguments.subset == "validation" else _packed(arguments)
    if arguments.json:
        print(json.dumps(found, indent=1))


def load_backbone(arguments: argparse.Namespace) -> Backbone:
    """The backbone that the options of `add_backbone` name, with its weights; see `named`."""
    weights = PRETRAINED if arguments.pretrained else arguments.weights
    return named(arguments.backbone, weights, arguments.seed, arguments.allow_partial)


def named(
    name: str, weights: Path | str | None, seed: int = 0, allow_partial: bool = False
) -> Backbone:
    """A backbone by its name, with its weights.

    Args:
        name: As in the registry.
        weights: A file; `PRETRAINED`: those that its library brings; None: random ones.
        seed: Of random weights.
        allow_partial: Accept a file that lacks weights of the backbone.

    Raises:
        UsageError: There is none, or the weights are not those of it.
        MissingError: There is no such file of weights.
        CorruptError: The file cannot be read.
    """
    import torch

    from imagenets.models.checkpoints import load_weights, read_state
    from imagenets.models.registry import make_backbone

    torch.manual_seed(seed)
    backbone = make_backbone(name, pretrained=weights == PRETRAINED)
    if isinstance(weights, Path):
        file = weights.expanduser()
        report = load_weights(
            backbone, read_state(file), source=str(file), allow_partial=allow_partial
        )
        log.info("%s: %s", file, report)
    return backbone


def _scored(matching: Matching, arguments: argparse.Namespace) -> dict[str, Any]:
    from imagenets.evaluation.tables import metrics_text

    scores = matching.score()
    scoring.warn(scores, arguments.out)
    found: dict[str, Any] = json.loads((arguments.out / "scores.json").read_bytes())
    if not arguments.json:
        print(metrics_text(scores.metrics, scores.counts.images, empty=scores.empty))
        print(f"\n{verdicts_text(found)}")
    return found


def _packed(arguments: argparse.Namespace) -> dict[str, Any]:
    from imagenets.cli.ground_truth import image_sizes, number_of_classes
    from imagenets.evaluation.submission import Method, build
    from imagenets.methods.distance import used_by

    check_entry(used_by(arguments.out), arguments.protocol)
    tier = arguments.split or only_tier(arguments.root)
    images = image_sizes(arguments.root, tier, "test", None)
    protocol = PROTOCOLS[arguments.protocol]
    method = Method(
        arguments.method_name or f"Distance matching of {arguments.backbone}",
        training_data=arguments.training_data,
        networks=arguments.backbone,
        description=f"distance matching, k = {arguments.k}, temperature {arguments.temperature}",
    )
    out = arguments.out / "submission.zip"
    classes = number_of_classes(tier, arguments.root)
    build(arguments.out / "test", images, classes, protocol, method, out)
    if not arguments.json:
        print(f"{out}: a valid submission of {len(images)} masks\n{protocol.text()}")
    return {"submission": str(out), "images": len(images), "protocol": arguments.protocol}


VERB = Verb(
    name="distance",
    summary="masks of any backbone by distance matching, without training",
    description="Takes one reference vector for each class in each labelled image (train-semi) "
    "from the features of a backbone, and gives every pixel the class for which its nearest "
    "references vote. Validation masks are scored as they are, without a match; test masks become "
    "a submission. Masks that are there already are kept: an interrupted run goes on.",
    examples=(
        ("--backbone resnet50 --weights pass50.pt --split 50 --out distance", "weights of PASS"),
        (
            "--backbone timm:vit_small_patch14_dinov2.lvd142m --pretrained --out dinov2",
            "a model of timm with the weights that timm brings",
        ),
        (
            "--backbone resnet50 --weights mine.pt --out mine --subset test --protocol distance",
            "a submission of the test images",
        ),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
