"""`imagenets clean`: removes what a finished run no longer needs."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from imagenets.cli.command import Verb
from imagenets.cli.options import add_json, add_run, tier_and_run


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be removed, and remove nothing"
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.methods.pass_.cleaning import leftovers_of
    from imagenets.methods.semi.cleaning import LEFTOVERS as LEFTOVERS_OF_SEMI
    from imagenets.methods.semi.run import is_semi
    from imagenets.training.cleaning import clean

    out = arguments.out or tier_and_run(arguments)[1]
    leftovers = LEFTOVERS_OF_SEMI if is_semi(out) else leftovers_of(out)
    removed = clean(out, leftovers, arguments.dry_run)
    total = sum(one.bytes for one in removed)
    if arguments.json:
        print(json.dumps({"run": str(out), "bytes": total, "kinds": [*map(asdict, removed)]}))
        return
    for one in removed:
        print(f"{one.bytes / 1e6:12,.1f} MB  {one.what} ({one.files:,})")
    does = "would remove" if arguments.dry_run else "removed"
    print(f"{total / 1e6:12,.1f} MB  {does} from {out}")


VERB = Verb(
    name="clean",
    summary="remove what a finished run no longer needs",
    description="Removes from a finished run its pseudo labels, what was set aside when a step was "
    "made anew, checkpoints on the way, features, and the optimisers' states, and says how much "
    "that is. Networks, masks, logs and scores stay, and the run still counts as done. Pseudo "
    "labels that are wanted again are made anew once their folder is deleted. Of a run of `semi` "
    "that is what was set aside, checkpoints on the way, and the optimiser's state.",
    examples=(
        ("--split 50 --dry-run", "how much that would be"),
        ("--run runs/50", "do it"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
