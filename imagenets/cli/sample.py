"""`imagenets sample`: a small generated set, prepared like a real one."""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace

from imagenets import paths
from imagenets.cli import prepare_options as options
from imagenets.cli.command import Verb
from imagenets.cli.options import absolute
from imagenets.cli.prepare_run import prepare
from imagenets.errors import UsageError


def _run(arguments: argparse.Namespace) -> None:
    """Prepares the generated set by the very same way, downloads from the loopback included."""
    from imagenets.data.prepare.fetch import Origin
    from imagenets.data.prepare.state import hold
    from imagenets.data.raw.synthetic import find, generate
    from imagenets.data.raw.synthetic_server import serve

    _check(arguments)
    root = absolute(arguments.root)
    folder = paths.synthetic(root)
    sample = find(folder)
    if sample is None:
        with hold(root):
            sample = generate(folder)
    arguments.imagenet = [sample.raw]
    config = options.config(arguments)
    with serve(folder) as url:
        origin = Origin(mirror=url, archive=sample.archive.name)
        prepare([sample.name], replace(config, origin=origin), arguments.json)
    where = f"--root {shlex.quote(str(root))} --split {sample.name}"
    print(
        f"\nThe sample is tier {sample.name}. Next:\n"
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
