"""`imagenets report`: one HTML page of a run, or of two side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from imagenets.cli.command import Verb
from imagenets.cli.options import add_run, add_workers


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run(parser)
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar="RUN",
        help="two runs side by side, in the place of one",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="where the page is written (default: report.html in the run; comparison.html in the "
        "second one with --compare)",
    )
    add_workers(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.api.report import report

    print(
        report(
            arguments.root,
            split=arguments.split,
            out=arguments.out,
            compare=arguments.compare,
            page=arguments.page,
            workers=arguments.workers,
        )
    )


VERB = Verb(
    name="report",
    summary="write an HTML page with curves, scores and pictures of a run, or of two",
    description="Writes report.html into the folder of a scored run: one file that needs no other. "
    "Prints its path. --compare shows two runs side by side, how sure their differences are, and "
    "the images on which they differ most.",
    examples=(
        ("--root imagenet-s --split 50", "the run of tier 50"),
        ("--out my-run --page my-run.html", "another run, and where its page goes"),
        ("--compare runs/a runs/b", "two runs of one tier"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
