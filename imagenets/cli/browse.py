"""`imagenets browse`: a static page to look through a prepared set."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from imagenets.cli.command import Verb
from imagenets.cli.options import absolute, add_json, add_root, add_workers, only_tier
from imagenets.tiers import SPLITS


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_root(parser)
    parser.add_argument(
        "--split", metavar="N", help="tier: 50, 300, 919 or custom (default: the one prepared)"
    )
    parser.add_argument(
        "--subsets",
        nargs="+",
        choices=SPLITS,
        default=["validation"],
        metavar="NAME",
        help=f"what of it the page is over: {', '.join(SPLITS)} (default: validation)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FOLDER", help="folder of the page"
    )
    add_workers(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> None:
    from imagenets.pages.browser import write_browser

    root, out = absolute(arguments.root), absolute(arguments.out)
    tier = arguments.split or only_tier(root)
    made = write_browser(root, tier, arguments.subsets, out, arguments.workers)
    if arguments.json:
        told = {"page": str(made.page), "images": made.images}
        print(json.dumps({**told, "made": made.made, "bytes": made.size}, indent=1))
        return
    images = ", ".join(f"{count:,} of {split}" for split, count in made.images.items())
    print(f"{made.page}: {images}; {made.made:,} drawn now, {made.size / 1e6:,.1f} MB in all")


VERB = Verb(
    name="browse",
    summary="write a static page to look through a prepared set",
    description="Writes a page over a prepared set: small pictures, filters by split, class, "
    "label, size of the object, and whether label and folder class differ; a click shows mask and "
    "target. It opens from the disk, and any web server can serve it. After a stop the same "
    "command goes on; where all is done it does nothing.",
    examples=(
        ("--root imagenet-s --split 50 --out look", "the validation images: open look/index.html"),
        ("--out look --subsets validation train-semi", "several splits on one page"),
    ),
    add_arguments=_add_arguments,
    run=_run,
)
