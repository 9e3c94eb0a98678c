"""`imagenets train`: runs the stages of the LUSS baseline, or continues them."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from imagenets.api.training import Trained, Way, epochs_of, set_up, steps, train_run
from imagenets.cli import train_dry_run, train_given, train_seeds
from imagenets.cli.command import Verb
from imagenets.cli.declaring import said_of
from imagenets.cli.options import (
    add_device,
    add_regions,
    add_run,
    add_settings,
    add_tensorboard,
    check_alone,
    ranks,
    regions_folder,
    tier_and_run,
)
from imagenets.core.distributed import is_first
from imagenets.methods.pass_ import STAGES

if TYPE_CHECKING:
    from imagenets.methods.pass_.settings import Changes


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="pass50, pass300, pass919, or sample for a small network (default: by tier); plus50, "
        "plus300, plus919, sample-plus: with what goes beyond the published baseline",
    )
    add_settings(parser)
    parser.add_argument(
        "--stages",
        metavar="A,B",
        help=f"only these of {', '.join(STAGES)} (default: all, in this order); those that "
        "weights are given for come by themselves",
    )
    train_given.add_given(parser)
    parser.add_argument(
        "--epochs",
        metavar="N | STEP=N,...",
        help="epochs of every trained step, or of those named: pretrain, attention, finetune",
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="images a step; rates, queues and freezes follow, see docs/baseline.md",
    )
    parser.add_argument(
        "--accumulate",
        type=int,
        metavar="N",
        help="take each step of finetune in N parts, which need less memory; batch norm then sees "
        "one part at a time. pretrain and attention need the whole batch at once",
    )
    parser.add_argument(
        "--features",
        metavar="TYPE",
        help="what cluster keeps its features in: float32 (default), or float16 in half the space",
    )
    add_regions(parser)
    parser.add_argument("--seed", type=int, metavar="N", help="of everything random")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="train and score a run for each of these seeds, in RUN/seed-N, and tabulate them with "
        "their spread: RUN/seeds.json",
    )
    parser.add_argument(
        "--save-every",
        metavar="TIME | Nsteps",
        default="10m",
        help="how often what is done is kept, such as 30s, 10m, 2h or 200steps",
    )
    parser.add_argument(
        "--png",
        action="store_true",
        help="write the pseudo labels as PNGs, too: pseudo-png/train/<wnid>/<stem>.png",
    )
    add_tensorboard(parser)
    parser.add_argument(
        "--ignore-collapse",
        action="store_true",
        help="go on where the loss stays at ln M, at which nothing is learned",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="take a few steps of each step, and say what all would take and what does not fit",
    )
    add_device(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.methods.pass_.presets import preset_for
    from imagenets.methods.pass_.settings import make_config

    if arguments.seeds:
        train_seeds.run(arguments, _run)
        return
    tier, out = tier_and_run(arguments)
    config = make_config(arguments.preset or preset_for(tier), _changes(arguments), out=out)
    config, given = train_given.given(arguments, config)
    run = set_up((arguments.root, tier, out), config, given, _way(arguments))
    if arguments.dry_run:
        check_alone("--dry-run")
        train_dry_run.show(run)
        return
    with ranks(run.device):
        names = steps(config, arguments.stages, arguments.png)
        trained = train_run(run, names, said_of(arguments))
        if is_first():
            _say(trained)


def _way(arguments: argparse.Namespace) -> Way:
    return Way(
        arguments.device,
        arguments.workers,
        arguments.save_every,
        arguments.tensorboard and not arguments.dry_run,
        arguments.ignore_collapse,
    )


def _changes(arguments: argparse.Namespace) -> Changes:
    from imagenets.methods.pass_.settings import Changes

    return Changes(
        epochs=epochs_of(arguments.epochs),
        batch=arguments.batch_size,
        seed=arguments.seed,
        accumulate=arguments.accumulate,
        features=arguments.features,
        regions=regions_folder(arguments),
        regions_from=arguments.regions_from,
        file=arguments.config,
        assignments=tuple(arguments.set),
    )


def _say(trained: Trained) -> None:
    place = ["--root", str(trained.root), "--split", trained.tier, "--out", str(trained.out)]
    print(f"done: {', '.join(trained.done)}. Everything lies in {trained.out}")
    if trained.left:
        print(f"next: the same command without --stages, for {', '.join(trained.left)}")
    else:
        print(f"next: imagenets-baseline score {shlex.join(place)}")


VERB = Verb(
    name="train",
    summary="train the baseline: run its six steps, or continue them",
    description="Runs the six steps of PASS on a prepared set: pretrain, attention, cluster, "
    "pseudo labels, finetune, predict. A step that is done with the same data and settings is "
    "not done again; one that was interrupted goes on.",
    examples=(
        ("--root imagenet-s --split 50", "all steps with the published settings, or what is left"),
        ("--stages cluster,pseudo --device cuda", "two of the steps, on the GPU"),
        (
            "--config my.toml --set pretrain.base_rate=0.3",
            "settings of a file, one of them changed",
        ),
        (
            "--backbone timm:vit_small_patch14_dinov2.lvd142m --pretrained "
            "--stages cluster,pseudo,finetune,predict",
            "another backbone in the place of pretraining",
        ),
        ("--init pretrain=pass50.pth.tar", "a published checkpoint in the place of pretraining"),
        ("--split 919 --dry-run", "time, memory and disk that it would take, and what would fit"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
