"""`imagenets verify`: checks what is packed below a root."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets import paths
from imagenets.cli import prepare_options as options
from imagenets.cli import prepare_tables as tables
from imagenets.cli.command import Verb
from imagenets.cli.options import absolute, add_json, add_root
from imagenets.errors import CorruptError

if TYPE_CHECKING:
    from imagenets.core.pool import Pool
    from imagenets.data.prepare.verify import VerifyReport


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_tier(parser)
    add_root(parser)
    options.add_pool(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> None:
    root = absolute(arguments.root)
    reports = verify(root, arguments.split, options.pool(arguments, writes=False))
    sets = [{**asdict(report), "folder": str(report.folder)} for report in reports]
    tables.show({"sets": sets}, map(tables.verify_lines, reports), arguments.json)
    faults = sum(len(report.faults) for report in reports)
    if faults:
        raise CorruptError(f"{root}: {faults:,} faults. Mend them with --repair.")


def verify(root: Path, split: str | None, pool: Pool) -> list[VerifyReport]:
    """Checks the tiers that `--split` names, or all."""
    from imagenets.data.prepare.verify import prepared_sets, verify

    folders = prepared_sets(root) if split in (None, "all") else [paths.shards(root, str(split))]
    return [verify(folder, pool) for folder in folders]


VERB = Verb(
    name="verify",
    summary="check everything that is packed",
    description="Reads every shard: its size and digest, the checksums of images and masks, that "
    "masks decode and hold ids of the tier. Exit code 1 when something is wrong.",
    examples=(
        ("--root imagenet-s", "all tiers"),
        ("--root imagenet-s --split 50 --json", "one of them, for machines"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
