"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets import paths
from imagenets.api import places
from imagenets.api.places import decoding_workers as decoding_workers
from imagenets.api.places import only_tier as only_tier
from imagenets.api.session import absolute as absolute
from imagenets.api.session import ranks as ranks
from imagenets.errors import UsageError
from imagenets.protocols import REGIONS

if TYPE_CHECKING:
    from imagenets.training.run import Run


def add_root(parser: argparse.ArgumentParser) -> None:
    """Adds `--root`."""
    parser.add_argument(
        "--root",
        type=Path,
        default=paths.default_root(),
        metavar="PATH",
        help="folder of the prepared set (default: $IMAGENETS_ROOT, then ./imagenet-s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_workers(parser: argparse._ActionsContainer) -> None:
    """Adds `--workers`."""
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one for each core)"
    )


def add_all(parser: argparse.ArgumentParser) -> None:
    """Adds `--all`, which `command.execute` looks at."""
    parser.add_argument(
        "--all", action="store_true", help="list all faults, not just some of each kind"
    )


def add_run(parser: argparse.ArgumentParser) -> None:
    """Adds what says which run of training is meant: `--root`, `--split`, `--out`."""
    add_root(parser)
    _add_tier(parser)
    parser.add_argument(
        *("--out", "--run"),
        dest="out",
        type=Path,
        metavar="RUN",
        help="folder of the run (default: ROOT/runs/TIER)",
    )


def add_trained_run(parser: argparse.ArgumentParser) -> None:
    """Adds what says which trained run is used: `--root`, `--split`, `--run`."""
    add_root(parser)
    _add_tier(parser)
    parser.add_argument(
        "--run",
        dest="run_folder",
        type=Path,
        metavar="RUN",
        help="folder of the run, which knows its tier (default: ROOT/runs/TIER)",
    )


def _add_tier(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--split", metavar="N", help="tier: 50, 300, 919 or custom (default: the one prepared)"
    )


def add_settings(parser: argparse.ArgumentParser, example: str = "pretrain.base_rate=0.3") -> None:
    """Adds what changes the settings of a preset: `--config`, `--set`, with an example of it."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE.toml",
        help="settings that replace those of the preset; `imagenets config` prints such a file",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"change one setting, such as {example}; may be given several times",
    )


def add_tensorboard(parser: argparse.ArgumentParser) -> None:
    """Adds `--tensorboard`."""
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write what the log holds for TensorBoard, too: RUN/tensorboard",
    )


def add_regions(parser: argparse.ArgumentParser) -> None:
    """Adds what names the segments that vote: `--regions`, `--regions-from`."""
    parser.add_argument(
        "--regions",
        type=Path,
        metavar="FOLDER",
        help="segments of the images, FOLDER/<wnid>/<stem>.png (grey, 8 or 16 bits): each takes "
        "the id that most of its pixels have; 0 is no segment",
    )
    parser.add_argument(
        "--regions-from",
        choices=REGIONS,
        help="what made them: all but superpixels leave the unsupervised protocol",
    )


def regions_folder(arguments: argparse.Namespace) -> str | None:
    """The folder that `--regions` names, in a form that stays right; None: not given."""
    return None if arguments.regions is None else str(absolute(arguments.regions))


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds `--device`, and `--workers` for those who decode images beside it."""
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that decode images")


def check_alone(option: str) -> None:
    """Refuses an option that is not made for ranks.

    Raises:
        UsageError: This process is one of several ranks.
    """
    from imagenets.core.launch import launched

    launch = launched()
    if launch is not None and launch.world > 1:
        raise UsageError(f"{option} is the work of one process: start it without torchrun.")


def tier_and_run(arguments: argparse.Namespace) -> tuple[str, Path]:
    """The tier and the folder of the run that the options of `add_run` name.

    Raises:
        UsageError: The run is of another tier.
    """
    return places.tier_and_run(arguments.root, arguments.split, arguments.out)


def check_tier(arguments: argparse.Namespace, out: Path, tier: str) -> None:
    """Refuses a --split that is not the tier of the run.

    Raises:
        UsageError: It is another one.
    """
    places.check_tier(arguments.split, out, tier)


def trained_run(arguments: argparse.Namespace) -> Run[Any]:
    """The run that the options of `add_trained_run` and `add_device` name, as it was set up.

    A `SemiRun` where it is one of `imagenets semi`.

    Raises:
        UsageError: It is of another tier, or there is no such device.
        MissingError: There is no such run.
        CorruptError: Its settings cannot be read.
    """
    return places.trained_run(
        arguments.root,
        arguments.split,
        arguments.run_folder,
        arguments.device,
        arguments.workers,
    )
