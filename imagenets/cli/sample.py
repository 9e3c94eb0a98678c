"""`imagenets sample`: a small generated set, prepared like a real one."""

from __future__ import annotations

import argparse
import shlex
import sys

from imagenets.api.sample import prepare_generated
from imagenets.cli import prepare_options as options
from imagenets.cli.command import Verb
from imagenets.cli.options import absolute
from imagenets.cli.prepare_run import show
from imagenets.errors import UsageError


def _run(arguments: argparse.Namespace) -> None:
    """Prepares the generated set by the very same way, downloads from the loopback included."""
    _check(arguments)
    report = prepare_generated(options.config(arguments, images=False))
    show([report], arguments.json)
    root = absolute(arguments.root)
    where = f"--root {shlex.quote(str(root))} --split {report.tier}"
    print(
        f"\nThe sample is tier {report.tier}. Next:\n"
        f"  imagenets-baseline train {where}\n"
        f"  imagenets-baseline score {where}\n"
        f"  imagenets-baseline report {where}",
        file=sys.stderr if arguments.json else sys.stdout,
    )


def _check(arguments: argparse.Namespace) -> None:
    """Refuses what would have no effect: tier and sources are those of the generated set.

    Raises:
        UsageError: Something of it is given.
    """
    from imagenets.data.raw.synthetic import NAME

    if arguments.split not in (None, NAME):
        raise UsageError(
            f"--split {arguments.split}: the sample is always tier {NAME}. Leave --split out, or "
            "prepare another tier from raw ImageNet, without --sample."
        )
    for option in ("imagenet", "source_kind", "index", "annotations", "mirror", "offline"):
        if getattr(arguments, option):
            name = f"--{option.replace('_', '-')}"
            raise UsageError(
                f"{name}: the sample is generated, so this is of no use. Leave it out."
            )


VERB = Verb(
    name="sample",
    summary="generate a small set and prepare it, to see how it goes",
    description="Draws a small set of images and masks, serves it from the loopback, and prepares "
    "it like a real one. No data and no network are needed.",
    examples=(
        ("--root try", "generated and prepared in ./try"),
        ("--root try --layout both", "with the published folders beside the shards"),
    ),
    add_arguments=options.add_prepare,
    run=_run,
)
