"""Options that several verbs share, and what they mean."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from imagenets import paths
from imagenets.errors import MissingError, UsageError


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


def add_workers(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument(
        "--split", metavar="N", help="tier: 50, 300, 919 or custom (default: the one prepared)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="RUN", help="folder of the run (default: ROOT/runs/TIER)"
    )


def tier_and_run(arguments: argparse.Namespace) -> tuple[str, Path]:
    """The tier and the folder of the run that the options of `add_run` name."""
    tier = arguments.split or only_tier(arguments.root)
    return tier, arguments.out or paths.run(arguments.root, tier)


def only_tier(root: Path) -> str:
    """The tier that is prepared below a root, where there is exactly one.

    Raises:
        UsageError: There are several.
        MissingError: There is none.
    """
    tiers = list(paths.prepared(root))
    if len(tiers) == 1:
        return tiers[0]
    if tiers:
        raise UsageError(
            f"{root}: holds several tiers ({', '.join(tiers)}); choose one with --split."
        )
    raise MissingError(
        f"{root}: no prepared set there. Run `imagenets-prepare --split 50 --imagenet PATH "
        f"--root {root}`, or `imagenets-prepare --sample --root {root}` to try with generated "
        "images."
    )


def absolute(path: Path) -> Path:
    """A path that stays right in other processes; links are kept as they are."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100 - resolve() follows links
