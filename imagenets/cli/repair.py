"""`imagenets repair`: packs anew what is damaged."""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict

from imagenets.cli import prepare_options as options
from imagenets.cli import prepare_tables as tables
from imagenets.cli.command import Verb
from imagenets.cli.options import absolute
from imagenets.cli.verify import verify

log = logging.getLogger(__name__)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.data.prepare.run import Sources, repair_tier
    from imagenets.data.prepare.state import hold

    root = absolute(arguments.root)
    config = options.config(arguments)
    sources = Sources(config)
    with hold(root):
        found = verify(root, arguments.split, config.pool)
        for line in map(tables.verify_lines, found):
            log.info("%s", line)
        reports = [repair_tier(one, config, sources) for one in found if one.faults]
    tiers = [asdict(report) for report in reports]
    lines = [tables.prepare_table(report) for report in reports] or ["nothing to repair"]
    tables.show({"tiers": tiers}, lines, arguments.json)


VERB = Verb(
    name="repair",
    summary="check everything that is packed, and pack bad shards anew",
    description="Checks what is packed, as `verify` does, then packs the bad shards anew from raw "
    "ImageNet, which must be given as for `prepare`.",
    examples=(
        ("--root imagenet-s --imagenet /data/imagenet", "all tiers"),
        ("--root imagenet-s --split 50 --imagenet /data/imagenet", "one of them"),
    ),
    add_arguments=options.add_prepare,
    run=_run,
)
