"""`imagenets train --seeds`: the same run with several seeds, scored and tabulated."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from imagenets.cli.options import check_alone, tier_and_run
from imagenets.errors import UsageError


def check(arguments: argparse.Namespace) -> None:
    """Refuses before the work what does not go together.

    Raises:
        UsageError: A seed twice, a second place that sets the seed, or less than whole runs.
    """
    check_alone("--seeds")
    named = any(text.split("=")[0].strip() == "seed" for text in arguments.set)
    if arguments.seed is not None or named:
        raise UsageError("--seeds and another seed: give --seeds alone.")
    if len(set(arguments.seeds)) < len(arguments.seeds):
        raise UsageError("--seeds: a seed is there twice. Give each once.")
    if arguments.stages or arguments.dry_run:
        raise UsageError("--seeds trains and scores whole runs: leave --stages and --dry-run out.")


def run(arguments: argparse.Namespace, train: Callable[[argparse.Namespace], None]) -> None:
    """Trains and scores a run for each seed, or what is left of it; prints the table.

    Args:
        arguments: Of `imagenets train`.
        train: Trains the run of one seed.
    """
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.methods.pass_.score import score_run
    from imagenets.methods.pass_.seeds import folder_of, seeds_text, tabulate

    check(arguments)
    tier, out = tier_and_run(arguments)
    data = ImageNetS(arguments.root, "validation", tier)
    for seed in arguments.seeds:
        one = folder_of(out, seed)
        changed = {"seed": seed, "seeds": None, "out": one, "split": tier}
        train(argparse.Namespace(**{**vars(arguments), **changed}))
        score_run(data, one)
    print(seeds_text(tabulate(out, arguments.seeds)))
