"""`imagenets config`: prints settings, as a file for `--config` of `train` or `semi`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from imagenets.cli.command import Verb
from imagenets.cli.options import add_settings


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--preset", metavar="NAME", help="of `train` or of `semi`")
    source.add_argument("--run", dest="out", type=Path, metavar="RUN", help="those of a run")
    add_settings(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.core.settings import to_toml
    from imagenets.errors import UsageError
    from imagenets.methods.pass_.settings import Changes, make_config
    from imagenets.methods.pass_.trained import run_settings
    from imagenets.methods.semi import presets as semi
    from imagenets.methods.semi.run import is_semi
    from imagenets.methods.semi.run import run_settings as semi_settings

    file, assignments, out = arguments.config, tuple(arguments.set), arguments.out
    if out is not None and (file or assignments):
        raise UsageError("--run: --config and --set change a preset; those of a run are kept.")
    config: Any
    if out is not None:
        config = (semi_settings if is_semi(out) else run_settings)(out)[1]
    elif arguments.preset in semi.PRESETS:
        config = semi.make_config(None, arguments.preset, file=file, assignments=assignments)
    else:
        config = make_config(arguments.preset, Changes(file=file, assignments=assignments))
    without = semi.START if isinstance(config, semi.Config) else ()
    print(to_toml(config, without), end="")


VERB = Verb(
    name="config",
    summary="print the settings of a preset or of a run, as TOML for --config",
    description="Prints all settings of a preset, with what a file and --set change in it, or "
    "those of a run. What it prints can be edited and given to --config of `imagenets train`, or "
    "of `imagenets semi`; a file may hold some settings alone.",
    examples=(
        ("--preset pass50", "the published settings of tier 50"),
        ("--preset pass50 --set batch=64", "the same for 64 images a step: what follows the batch"),
        ("--preset mae-vit-base", "the published settings of a ViT, for `imagenets semi`"),
        ("--run runs/50", "those of a run"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
