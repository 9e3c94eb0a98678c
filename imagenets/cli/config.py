"""`imagenets config`: prints settings of a run of the baseline, as a file for `train --config`."""

from __future__ import annotations

import argparse
from pathlib import Path

from imagenets.cli.command import Verb
from imagenets.cli.options import add_settings


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--preset", metavar="NAME", help="sample, pass50, pass300 or pass919")
    source.add_argument("--run", dest="out", type=Path, metavar="RUN", help="those of a run")
    add_settings(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.core.settings import to_toml
    from imagenets.errors import UsageError
    from imagenets.methods.pass_.settings import Changes, make_config
    from imagenets.methods.pass_.trained import run_settings

    changes = Changes(file=arguments.config, assignments=tuple(arguments.set))
    if arguments.out is None:
        config = make_config(arguments.preset, changes)
    elif changes != Changes():
        raise UsageError("--run: --config and --set change a preset; those of a run are kept.")
    else:
        config = run_settings(arguments.out)[1]
    print(to_toml(config), end="")


VERB = Verb(
    name="config",
    summary="print the settings of a preset or of a run, as TOML for train --config",
    description="Prints all settings of a preset, with what a file and --set change in it, or "
    "those of a run. What it prints can be edited and given to `imagenets train --config`; a file "
    "may hold some settings alone.",
    examples=(
        ("--preset pass50", "the published settings of tier 50"),
        ("--preset pass50 --set batch=64", "the same for 64 images a step: what follows the batch"),
        ("--run runs/50", "those of a run"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
