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


def _run(arguments: argparse.Namespace) -> None:
    """Prepares the generated set by the very same way, downloads from the loopback included."""
    from imagenets.data.prepare.fetch import Origin
    from imagenets.data.prepare.state import hold
    from imagenets.data.raw.synthetic import generate
    from imagenets.data.raw.synthetic_server import serve

    root = absolute(arguments.root)
    with hold(root):
        sample = generate(paths.synthetic(root))
        arguments.imagenet = [sample.raw]
        config = options.config(arguments)
        with serve(paths.synthetic(root)) as url:
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
