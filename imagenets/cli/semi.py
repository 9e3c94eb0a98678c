"""`imagenets semi`: fine-tunes a backbone on the images with labels, predicts and scores."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets import paths
from imagenets.cli.command import Verb
from imagenets.cli.declaring import add_pretraining, check_entry, said_of
from imagenets.cli.options import (
    add_device,
    add_run,
    add_settings,
    add_tensorboard,
    decoding_workers,
    only_tier,
    ranks,
)
from imagenets.cli.run_submission import SEMI, semi_method
from imagenets.core.distributed import is_first
from imagenets.errors import MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.methods.semi.run import SemiRun


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument("--model", metavar="NAME", help="what is fine-tuned, see docs/protocols.md")
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--weights", type=Path, metavar="FILE", help="checkpoint of the pretrained backbone"
    )
    start.add_argument(
        "--pretrained",
        action="store_true",
        help="the weights that timm or transformers bring, from their cache or the network",
    )
    start.add_argument("--random-weights", action="store_true", help="weights as they start")
    parser.add_argument(
        "--search",
        type=Path,
        metavar="FILE",
        help="of rfsingle and rfmultiple: checkpoint of the run that searched the dilations",
    )
    parser.add_argument(
        "--allow-partial", action="store_true", help="accept weights that lack some of the backbone"
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="settings: published ones, or `few` for a hundred labelled images and less "
        "(default: those published for the model)",
    )
    add_settings(parser, "multipliers=[1.0, 10.0]")
    _add_settings(parser)
    parser.add_argument(
        "--evaluate-every",
        type=int,
        default=0,
        metavar="N",
        help="score validation every N epochs, too; 0: at the end alone",
    )
    parser.add_argument(
        "--subset",
        choices=("validation", "test"),
        default="validation",
        help="whose masks are predicted; those of validation are scored",
    )
    parser.add_argument(
        "--submit",
        type=Path,
        metavar="ZIP",
        help="predict the test images and pack a submission, checked",
    )
    parser.add_argument(
        "--save-every",
        metavar="TIME | Nsteps",
        default="10m",
        help="how often what is done is kept, such as 30s, 10m, 2h or 200steps",
    )
    add_tensorboard(parser)
    add_pretraining(parser)
    add_device(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("settings, in place of the preset's")
    group.add_argument("--epochs", type=int, metavar="N", help="passes over train-semi")
    group.add_argument("--batch-size", type=int, metavar="N", help="images a step")
    group.add_argument(
        "--accumulate", type=int, metavar="N", help="take each step in N parts, with less memory"
    )
    group.add_argument("--blr", type=float, metavar="R", help="rate for 256 images a step")
    group.add_argument(
        "--decay", metavar="D[,D]", help="factor of the rate from layer to layer, by layer group"
    )
    group.add_argument("--weight-decay", type=float, metavar="W", help="of AdamW")
    group.add_argument("--warmup", type=int, metavar="N", help="epochs in which the rate grows")
    group.add_argument("--drop-path", type=float, metavar="P", help="of the last block")
    group.add_argument("--crop", type=int, metavar="N", help="side of the random crops, pixels")
    group.add_argument("--side", type=int, metavar="N", help="short side for inference, pixels")
    group.add_argument("--seed", type=int, metavar="N", help="of everything random")


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.methods.pass_.mask_files import PREDICTS
    from imagenets.methods.semi import STAGES
    from imagenets.methods.semi.score import used_by
    from imagenets.training.provenance import declare
    from imagenets.training.stage import Stages

    archive: Path | None = arguments.submit
    if archive is not None and not archive.parent.is_dir():
        raise MissingError(f"{archive}: there is no folder {archive.parent}.")
    split = "test" if archive is not None else arguments.subset
    run = _made(arguments)
    used = used_by(run.out, {"tier": run.tier, **run.config.to_json()})
    said = said_of(arguments)
    if said is not None:
        used = replace(used, pretraining=said)
    if archive is not None:
        check_entry(used, SEMI)
    with ranks(run.device):
        Stages(STAGES, run).run(["train", PREDICTS[split]])
        first = is_first()
    if not first:
        return
    if said is not None:
        declare(run.out, said)
    place = run.out / PREDICTS[split] / split
    if archive is not None:
        _submit(run, archive, arguments.workers or None)
    elif split == "validation":
        _score(run, arguments.workers or None)
    else:
        words = shlex.join(["--root", str(run.root), "--run", str(run.out)])
        print(place)
        print(f"next: imagenets submit {words}")


def _made(arguments: argparse.Namespace) -> SemiRun:
    from imagenets.core.files import sha256
    from imagenets.methods.semi.presets import PRETRAINED, make_config
    from imagenets.methods.semi.run import SemiRun
    from imagenets.training.run import pick_device
    from imagenets.training.saving import SaveEvery
    from imagenets.training.watch import Watch, tensorboard

    weights, search = arguments.weights, arguments.search
    if arguments.evaluate_every < 0:
        raise UsageError(f"--evaluate-every {arguments.evaluate_every}: give 0 or more.")
    config = make_config(
        arguments.model,
        arguments.preset,
        file=arguments.config,
        assignments=arguments.set,
        **_changes(arguments),
    )
    for path in (weights, search):
        if path is not None and not path.is_file():
            raise MissingError(f"{path}: not there.")
    tier = arguments.split or only_tier(arguments.root)
    name = f"{tier}-{config.model.replace(':', '-').replace('/', '-')}"
    out = arguments.out or paths.run(arguments.root, name)
    return SemiRun(
        root=arguments.root,
        tier=tier,
        out=out,
        config=config.starting(
            weights=sha256(weights) if weights else PRETRAINED if arguments.pretrained else "",
            search="" if search is None else sha256(search),
            partial=arguments.allow_partial,
        ),
        device=pick_device(arguments.device),
        workers=decoding_workers(arguments.workers),
        save_every=SaveEvery.parse(arguments.save_every),
        watch=Watch(tensorboard(out / "tensorboard") if arguments.tensorboard else None),
        weights=weights,
        search=search,
        evaluate_every=arguments.evaluate_every,
    )


def _changes(arguments: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by their names in `Config`."""
    names = ("epochs", "accumulate", "blr", "weight_decay", "warmup", "drop_path", "crop", "side")
    found = {name: getattr(arguments, name) for name in (*names, "seed")}
    found["batch"] = arguments.batch_size
    found["decays"] = None if arguments.decay is None else _decays(arguments.decay)
    return {name: value for name, value in found.items() if value is not None}


def _decays(text: str) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise UsageError(f"--decay {text}: give a number, or two such as 0.6,0.9.") from None


def _score(run: SemiRun, workers: int | None) -> None:
    from imagenets.cli import scoring
    from imagenets.evaluation.tables import metrics_text
    from imagenets.methods.semi.score import SCORES, score_run
    from imagenets.protocols import verdicts_text

    data = run.dataset("validation", masks=True)
    scores = score_run(data, run.out, workers)
    scoring.warn(scores, run.out)
    print(metrics_text(scores.metrics, scores.counts.images, empty=scores.empty))
    document = json.loads((run.out / SCORES["validation"]).read_bytes())
    print(f"\n{verdicts_text(document)}\n")
    print(f"everything lies in {run.out}")


def _submit(run: SemiRun, archive: Path, workers: int | None) -> None:
    from imagenets.core.pool import worker_count
    from imagenets.evaluation.submission import Method, build
    from imagenets.methods.semi.score import predictions
    from imagenets.protocols import PROTOCOLS
    from imagenets.training.provenance import declared

    data, protocol = run.dataset("test"), PROTOCOLS[SEMI]
    method = semi_method(run.tier, run.config, declared(run.out))
    sizes = {name: (w, h) for name, (w, h) in zip(data.names, data.sizes.tolist(), strict=True)}
    build(
        predictions("test", run.out),
        sizes,
        len(data.classes),
        protocol,
        Method(method.pop("method_name"), **method),
        archive,
        workers=worker_count(workers),
    )
    print(f"{archive}: a valid submission of {len(sizes)} masks")
    print(protocol.text())


VERB = Verb(
    name="semi",
    summary="fine-tune a backbone on the images with labels, predict, score, pack",
    description="The semi-supervised protocol: fine-tunes a pretrained backbone with a linear head "
    "on train-semi, the 1 % of images with labels, predicts the masks of validation and scores "
    "them; with --submit it packs the masks of the test images. What was interrupted goes on with "
    "the same command. Tells which of the given weights were taken over, which are missing and "
    "which are left over.",
    examples=(
        (
            "--model vit_base_patch16 --weights mae.pth --split 919",
            "the published settings of MAE's ViT-B",
        ),
        ("--model resnet50 --weights pass.pt --submit my.zip", "masks of the test images, packed"),
        ("--preset few --model resnet18 --weights w.pt --split 8", "a set of few labelled images"),
        (
            "--config my.toml --set drop_path=0.2 --weights w.pt",
            "settings of a file, as `imagenets config` prints them, one of them changed",
        ),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
