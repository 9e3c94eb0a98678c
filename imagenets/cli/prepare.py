"""`imagenets prepare`, and `imagenets-prepare`: raw ImageNet in, a checked ImageNet-S out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from imagenets.api.prepare import hold_unless_done
from imagenets.cli import prepare_options as options
from imagenets.cli import prepare_tables as tables
from imagenets.cli import repair, sample, verify
from imagenets.cli.command import Verb, run_verb
from imagenets.cli.prepare_run import prepare
from imagenets.errors import ImageNetSError

if TYPE_CHECKING:
    from imagenets.data.prepare.config import PrepareConfig


def main(argv: Sequence[str] | None = None) -> int:
    """`imagenets-prepare`; returns the exit code (argparse exits by itself with 2)."""
    return run_verb(VERB, "imagenets-prepare", argv)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of preparing, and other verbs as options of this one."""
    options.add_prepare(parser)
    group = options.add_instead(parser)
    group.add_argument(
        "--verify",
        action="store_true",
        help="check what is packed in --root (all tiers, or that of --split)",
    )
    group.add_argument(
        "--repair", action="store_true", help="like --verify, then pack bad shards anew"
    )
    group.add_argument(
        "--sample",
        action="store_true",
        help="generate a small set, serve it from the loopback, and prepare it like a real one",
    )


def _run(arguments: argparse.Namespace) -> None:
    others = {"verify": verify.VERB, "repair": repair.VERB, "sample": sample.VERB}
    chosen = next((verb for name, verb in others.items() if getattr(arguments, name)), None)
    (chosen.run if chosen else _prepare)(arguments)


def _prepare(arguments: argparse.Namespace) -> None:
    names = options.tiers(arguments)
    config = options.config(arguments, images=not arguments.download_only)
    work = _download if arguments.download_only else _dry_run if arguments.dry_run else prepare
    work(names, config, arguments.json)


def _dry_run(names: Sequence[str], config: PrepareConfig, as_json: bool) -> None:
    from imagenets.data.prepare.dry_run import dry_run_tier
    from imagenets.data.prepare.run import Sources

    sources = Sources(config)
    with hold_unless_done(names, config):  # lists and indexes of archives are kept
        reports = [dry_run_tier(name, config, sources) for name in names]
    tiers = [asdict(report) for report in reports]
    tables.show({"tiers": tiers}, map(tables.dry_run_table, reports), as_json)
    if stops := [report.stop for report in reports if report.stop]:
        raise ImageNetSError(f"a real run would stop: {stops[0]}")


def _download(names: Sequence[str], config: PrepareConfig, as_json: bool) -> None:
    from imagenets.data.prepare.run import download_tier
    from imagenets.data.prepare.state import hold

    with hold(config.root):
        files = [str(path) for name in names for path in download_tier(name, config)]
    tables.show({"files": files}, files, as_json)


VERB = Verb(
    name="prepare",
    summary="make ImageNet-S from raw ImageNet",
    description="Makes ImageNet-S from raw ImageNet: fetches lists and masks, checks them, finds "
    "the images, and packs shards or lays out the published folders. Run it again after an "
    "interruption: it continues, and the result is the same.",
    examples=(
        ("--split 50 --imagenet /data/imagenet --root /data/imagenet-s", "tier 50, all splits"),
        (
            "--split 919 --imagenet ILSVRC2012_img_val.tar --subsets validation",
            "validation images and masks alone",
        ),
        ("--split 919 --imagenet /data/imagenet --dry-run", "what would be done"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)

if __name__ == "__main__":
    sys.exit(main())
