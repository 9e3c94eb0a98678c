"""`imagenets export`: a trained network under the published names, or a set in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from imagenets.cli.command import Verb
from imagenets.cli.options import add_trained_run, add_workers, check_tier, only_tier
from imagenets.data.export.formats import FORMATS, make
from imagenets.errors import MissingError, UsageError
from imagenets.paths import is_own
from imagenets.tiers import SPLITS

STEPS = ("pretrain", "attention", "finetune")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_trained_run(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="of a network the file, .pt, .pth or .tar: as torch.save writes it, as published, or "
        ".safetensors; of a set the folder",
    )
    network = parser.add_argument_group("a network")
    network.add_argument("--stage", choices=STEPS, help="the step whose network is written")
    group = parser.add_argument_group("a prepared set")
    group.add_argument("--to", choices=FORMATS, help="the format that the set is written in")
    group.add_argument(
        "--subsets",
        nargs="+",
        choices=SPLITS,
        metavar="SPLIT",
        help=f"splits out of {', '.join(SPLITS)} (default: validation)",
    )
    group.add_argument(
        "--shard-samples",
        type=int,
        metavar="N",
        help="samples in a file of webdataset and parquet (default: 1000)",
    )
    group.add_argument(
        "--target",
        choices=["label"],
        help="coco: the object of the label alone, instead of every class of the mask",
    )
    add_workers(group)


_OF_SETS = ("subsets", "shard_samples", "target", "workers")


def _run(arguments: argparse.Namespace) -> None:
    if arguments.to is None:
        given = [name for name in _OF_SETS if getattr(arguments, name) is not None]
        if given:
            option = given[0].replace("_", "-")
            raise UsageError(f"--{option} is for exports of a prepared set: say --to FORMAT, too.")
        if arguments.stage is None:
            raise UsageError(
                "say what to export: --stage STEP, the network of a trained step; or --to FORMAT, "
                f"a prepared set ({', '.join(FORMATS)})."
            )
        _export_network(arguments)
        return
    for option, value in (("--stage", arguments.stage), ("--run", arguments.run_folder)):
        if value is not None:
            raise UsageError(
                f"{option} is for exports of a network, --to for those of a prepared set: leave "
                "one of them out."
            )
    if arguments.target and arguments.to != "coco":
        raise UsageError(f"--target is for --to coco; {arguments.to} does not need it.")
    _export_set(arguments)


def _export_set(arguments: argparse.Namespace) -> None:
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.data.export.exporting import export

    form = make(arguments.to, shard_samples=arguments.shard_samples)
    if is_own(arguments.root, arguments.out.expanduser()):
        raise UsageError(
            f"--out {arguments.out}: belongs to the prepared root, which would take it for a set "
            "of its own. Name another folder."
        )
    tier = arguments.split or only_tier(arguments.root)
    for split in arguments.subsets or ["validation"]:
        data = ImageNetS(arguments.root, split, tier, target=arguments.target)
        done = export(data, form, arguments.out, workers=arguments.workers)
        print(
            f"{arguments.out}: {split}, {done.samples:,} images in {done.files:,} files, "
            f"{done.size / 1e6:,.1f} MB; {done.made:,} of {done.pieces:,} pieces written now"
        )


def _export_network(arguments: argparse.Namespace) -> None:
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
    summary="write a trained network under the published names, or a set in another format",
    description="With --stage: writes the network of a trained step of a run of PASS into one "
    "file, with the names of the published checkpoints: those of the backbone bare, as torchvision "
    "and timm have them. `imagenets train --init` puts such a file in the place of a step; "
    "`distance`, `semi` and `probe` take it as --weights. With --to: writes splits of a prepared "
    "set in another format, images as they are stored. What was stopped goes on when it is run "
    "again, what is done stays.",
    examples=(
        ("--split 50 --stage pretrain --out pass50.pt", "the pretrained network"),
        ("--run runs/50 --stage finetune --out pass50.safetensors", "the fine-tuned one"),
        ("--to webdataset --split 50 --subsets validation --out wds", "tars for WebDataset"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
