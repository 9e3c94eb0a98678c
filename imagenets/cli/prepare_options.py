"""The options of preparing, and the config that they make."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.api.prepare import QUALITY, Asked, make_pool
from imagenets.api.prepare import tiers as named_tiers
from imagenets.cli.options import absolute, add_json, add_root
from imagenets.errors import UsageError
from imagenets.tiers import SPLITS

if TYPE_CHECKING:
    from imagenets.core.pool import Pool
    from imagenets.data.prepare.config import PrepareConfig


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """Adds the options of preparing: what goes in, what comes out, how."""
    add_tier(parser)
    add_root(parser)
    _add_inputs(parser)
    add_outputs(parser)
    add_work(parser)
    add_json(parser)


def add_tier(parser: argparse.ArgumentParser) -> None:
    """Adds `--split`."""
    parser.add_argument(
        "--split",
        metavar="TIER",
        help="50, 300, 919, all, or the name of a custom tier whose lists --index holds",
    )


def _add_inputs(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("what goes in")
    group.add_argument(
        "--imagenet",
        type=Path,
        action="append",
        metavar="PATH",
        help="raw ImageNet: folder or archive, in any usual form; may be repeated "
        "(default: $IMAGENET_DIR)",
    )
    group.add_argument(
        "--source-kind", metavar="KIND", help="take only this raw form (default: tell by looking)"
    )
    group.add_argument(
        "--index",
        type=Path,
        metavar="DIR",
        help="folder with the lists (categories/, mapping/, names/); default: download them",
    )
    group.add_argument(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="mask archive (ImageNetS50-....zip); may be repeated; default: download it",
    )
    group.add_argument(
        "--mirror", metavar="URL", help="fetch lists and archives from URL/<list path>, URL/<name>"
    )
    group.add_argument(
        "--offline", action="store_true", help="fetch nothing: use what is given or there already"
    )
    group.add_argument(
        "--allow-missing", action="store_true", help="go on without images that are not found"
    )


def add_outputs(made: argparse.ArgumentParser) -> None:
    """Adds what comes out."""
    group = made.add_argument_group("what comes out")
    group.add_argument(
        "--layout",
        choices=("shards", "tree", "both"),
        default="shards",
        help="shards to train from (default), the published folders, or both",
    )
    group.add_argument(
        "--subsets",
        nargs="+",
        choices=SPLITS,
        metavar="SPLIT",
        help=f"splits out of {', '.join(SPLITS)}; default: all that the sources can serve, but "
        "train-full, which stores the remaining ILSVRC classes, too",
    )
    group.add_argument(
        "--link",
        choices=("symlink", "hardlink", "copy"),
        default="symlink",
        help="how a tree gets image files (default: symlink); those in archives are written out",
    )
    group.add_argument(
        "--resize",
        type=int,
        metavar="N",
        help="shards: re-encode images with a short side above N pixels (default: keep the bytes)",
    )
    group.add_argument(
        "--restart",
        action="store_true",
        help="shards: put restart markers into JPEGs, without any loss, so that training decodes "
        "no more than its crops; about 3 %% larger (--resize does it, too)",
    )
    group.add_argument(
        "--quality", type=int, metavar="Q", help=f"JPEG quality of --resize (default: {QUALITY})"
    )


def add_work(parser: argparse.ArgumentParser) -> None:
    """Adds where the work is done, and what may be left out."""
    group = add_pool(parser)
    group.add_argument(
        "--no-decode",
        action="store_true",
        help="do not decode each image once to see that it can be",
    )


def add_pool(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds where the work is done."""
    group = parser.add_argument_group("how it works")
    group.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one a processor)"
    )
    group.add_argument(
        "--backend",
        choices=("loky", "dask"),
        default="loky",
        help="processes of this machine (default), or a Dask cluster that sees the same folders",
    )
    group.add_argument("--scheduler", metavar="ADDRESS", help="of the Dask cluster")
    return group


def add_instead(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Adds what may be done instead of preparing."""
    group = parser.add_argument_group("do this instead").add_mutually_exclusive_group()
    group.add_argument(
        "--dry-run",
        action="store_true",
        help="say what is there, what is missing, and what it would take",
    )
    group.add_argument(
        "--download-only",
        action="store_true",
        help="only fetch and check lists and masks, into <root>/downloads",
    )
    return group


def asked(arguments: argparse.Namespace) -> Asked:
    """The options that were given."""
    return Asked(**{field.name: getattr(arguments, field.name) for field in fields(Asked)})


def tiers(arguments: argparse.Namespace) -> list[str]:
    """The tiers that `--split` names.

    Raises:
        UsageError: It is missing, or there is no such tier.
    """
    if arguments.split is None:
        raise UsageError("--split is missing: choose 50, 300, 919, all or a custom tier.")
    return named_tiers(arguments.split, asked(arguments), absolute(arguments.root))


def config(arguments: argparse.Namespace, *, images: bool = True) -> PrepareConfig:
    """What is asked for.

    Args:
        arguments: The command line.
        images: Whether raw images are needed.

    Raises:
        UsageError: A number out of range, or no raw ImageNet.
    """
    return asked(arguments).config(arguments.root, arguments.imagenet, images)


def pool(arguments: argparse.Namespace, *, writes: bool = True) -> Pool:
    """Where the work is done.

    Args:
        arguments: The command line.
        writes: Whether workers write: another run then waits until they are gone.

    Raises:
        UsageError: Fewer than one worker, or Dask without a scheduler.
    """
    workers, backend = arguments.workers, arguments.backend
    return make_pool(arguments.root, workers, backend, arguments.scheduler, writes)
