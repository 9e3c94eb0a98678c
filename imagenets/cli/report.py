"""`imagenets report`: one HTML page of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from imagenets.cli.command import Verb
from imagenets.cli.options import add_run, add_workers, tier_and_run
from imagenets.errors import MissingError


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="where the page is written (default: report.html in the run)",
    )
    add_workers(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.pages.report import write_report

    page = arguments.page
    if page and not page.parent.is_dir():
        raise MissingError(f"{page}: there is no folder {page.parent}. Make it first.")
    tier, out = tier_and_run(arguments)
    print(write_report(arguments.root, tier, out, page, arguments.workers))


VERB = Verb(
    name="report",
    summary="write an HTML page with curves, scores and pictures of a run",
    description="Writes report.html into the folder of a scored run: one file that needs no other. "
    "Prints its path.",
    examples=(
        ("--root imagenet-s --split 50", "the run of tier 50"),
        ("--out my-run --page my-run.html", "another run, and where its page goes"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
