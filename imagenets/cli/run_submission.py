"""What a submission of a run of training holds: masks, match and method, made where missing."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from imagenets.cli.options import trained_run
from imagenets.errors import CorruptError, MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.methods.pass_.presets import Config
    from imagenets.training.run import Run

log = logging.getLogger(__name__)

PROTOCOL = "unsupervised"


def fill_from_run(arguments: argparse.Namespace) -> None:
    """Gives the options of `submit` the values that a run has, and makes the files they name.

    Raises:
        UsageError: Options were given that a run decides itself.
        MissingError: There is no such run, or it is not trained.
    """
    from imagenets.methods.pass_.mask_files import PREDICTS
    from imagenets.methods.pass_.score import MATCH

    if arguments.protocol not in (None, PROTOCOL):
        raise UsageError(
            f"--protocol {arguments.protocol}: a run of PASS is entered for {PROTOCOL}. For other "
            "masks give their folder with --pred."
        )
    if arguments.match:
        raise UsageError("--match: a run has its own match. Leave it out, or give --pred as well.")
    run = trained_run(arguments)
    _make(run, arguments.subset, arguments.workers)
    arguments.pred = run.out / PREDICTS[arguments.subset] / arguments.subset
    arguments.match, arguments.protocol, arguments.split = run.out / MATCH, PROTOCOL, run.tier
    _describe(arguments, run.config)


def _make(run: Run[Config], subset: str, workers: int | None) -> None:
    """Predicts what is not predicted with the network as it is now, and matches it."""
    from imagenets.methods.pass_ import ALL_STAGES
    from imagenets.methods.pass_.mask_files import PREDICTS
    from imagenets.methods.pass_.score import load_match, score_run
    from imagenets.training.stage import Stages

    Stages(ALL_STAGES, run).run([PREDICTS["validation"], PREDICTS[subset]])
    data = run.dataset("validation", masks=True)
    try:
        load_match(run.out, len(data.classes))
    except (MissingError, CorruptError):
        log.info("matching the generated classes on validation")
        score_run(data, run.out, workers)


def _describe(arguments: argparse.Namespace, config: Config) -> None:
    """Fills the lines of method.txt that were not given."""
    stages = ("pretrain", "attention", "finetune")
    epochs = [f"{name} {getattr(config, name).epochs}" for name in stages]
    known = {
        "method_name": "PASS",
        "training_data": f"ImageNet-S{arguments.split} {config.pretrain_split}, no labels",
        "training_scheme": f"epochs: {', '.join(epochs)}; {config.batch} images a step",
        "networks": config.arch,
        "link": "https://arxiv.org/abs/2106.03149",
        "description": "pixel attention, clustering, fine-tuning on generated labels",
    }
    for name, text in known.items():
        if not (getattr(arguments, name) or "").strip():
            setattr(arguments, name, text)
