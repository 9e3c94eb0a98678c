"""`imagenets export`: the network of a trained step as a file, under the published names."""

from __future__ import annotations

import argparse
from pathlib import Path

from imagenets.cli.command import Verb
from imagenets.cli.options import add_trained_run, check_tier, only_tier
from imagenets.errors import MissingError, UsageError

STEPS = ("pretrain", "attention", "finetune")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run(parser)
    parser.add_argument(
        "--stage", choices=STEPS, required=True, help="the step whose network is written"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help=".pt, .pth or .tar: as torch.save writes it, as published; or .safetensors",
    )


def _run(arguments: argparse.Namespace) -> None:
    import torch

    from imagenets import paths
    from imagenets.methods.pass_.trained import averages, run_settings
    from imagenets.methods.semi.run import is_semi
    from imagenets.models.exporting import check_name, published_state, write_weights
    from imagenets.training.loop import trained_state
    from imagenets.training.run import Run

    file, out = arguments.out.expanduser(), arguments.run_folder
    check_name(file)
    if not file.parent.is_dir():
        raise MissingError(f"{file}: there is no folder {file.parent}.")
    if out is None:
        out = paths.run(arguments.root, arguments.split or only_tier(arguments.root))
    if is_semi(out):
        raise UsageError(
            f"{out}: a run of `imagenets semi` keeps its network as train/checkpoint.pt."
        )
    tier, config = run_settings(out)
    check_tier(arguments, out, tier)
    run = Run(arguments.root, tier, out, config, torch.device("cpu"))
    stage = arguments.stage
    averaged = stage == "finetune" and averages(config)
    epochs = getattr(config, stage).epochs
    state = published_state(trained_state(run, stage, epochs, averaged))
    write_weights(file, state)
    size = sum(value.nbytes for value in state.values())
    print(f"{file}: {len(state)} weights of {config.arch}, step {stage}, {size / 1e6:,.1f} MB")


VERB = Verb(
    name="export",
    summary="write a trained network under the published names",
    description="Writes the network of a trained step of a run of PASS into one file, with the "
    "names of the published checkpoints: those of the backbone bare, as torchvision and timm have "
    "them. `imagenets train --init` puts such a file in the place of a step; `distance`, `semi` "
    "and `probe` take it as --weights.",
    examples=(
        ("--split 50 --stage pretrain --out pass50.pt", "the pretrained network"),
        ("--run runs/50 --stage finetune --out pass50.safetensors", "the fine-tuned one"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
