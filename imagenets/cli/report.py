"""`imagenets report`: one HTML page of a run."""

from __future__ import annotations

import argparse

from imagenets.cli.command import Verb
from imagenets.cli.options import add_run, tier_and_run


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.pages.report import write_report

    tier, out = tier_and_run(arguments)
    print(write_report(arguments.root, tier, out))


VERB = Verb(
    name="report",
    summary="write an HTML page with curves, scores and pictures of a run",
    description="Writes report.html into the folder of a scored run: one file that needs no other. "
    "Prints its path.",
    examples=(
        ("--root imagenet-s --split 50", "the run of tier 50"),
        ("--out my-run", "another run"),
    ),
    add_arguments=add_run,
    run=_run,
)
