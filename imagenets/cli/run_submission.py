"""What a submission of a run of training holds: masks, match and method, made where missing."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imagenets.api.predict import predict_split
from imagenets.cli.declaring import check_entry
from imagenets.cli.options import trained_run
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.protocols import Pretraining

if TYPE_CHECKING:
    from imagenets.methods.pass_.presets import Config
    from imagenets.methods.semi.presets import Config as SemiConfig
    from imagenets.training.run import Run

log = logging.getLogger(__name__)

PROTOCOL, SEMI, FREE = "unsupervised", "semi", "free"

AS_FREE = (
    "Replace the ids of its masks by match.json (imagenets.evaluation.matching.apply), and give "
    "their folder with --pred and --protocol free."
)
"""How a run of PASS is entered for what takes no match."""


def fill_from_run(arguments: argparse.Namespace) -> None:
    """Gives the options of `submit` the values that a run has, and makes the files they name.

    Raises:
        UsageError: Options were given that a run decides itself.
        MissingError: There is no such run, or it is not trained.
    """
    from imagenets.methods.pass_.mask_files import PREDICTS
    from imagenets.methods.pass_.score import MATCH
    from imagenets.methods.semi.run import SemiRun
    from imagenets.training.provenance import declared

    if arguments.match:
        raise UsageError("--match: a run has its own match. Leave it out, or give --pred as well.")
    run = trained_run(arguments)
    semi = isinstance(run, SemiRun)
    protocol = _protocol(arguments, run, semi)
    if semi:
        predict_split(run, arguments.subset)
        _fill(arguments, semi_method(run.tier, run.config, declared(run.out)))
    else:
        _make(run, arguments.subset, arguments.workers)
        arguments.match = run.out / MATCH
        _fill(arguments, _method(run.tier, run.config))
    arguments.pred = run.out / PREDICTS[arguments.subset] / arguments.subset
    arguments.protocol, arguments.split = protocol, run.tier


def _protocol(arguments: argparse.Namespace, run: Run[Any], semi: bool) -> str:
    """What a run is entered for: its own protocol, if it keeps to it, or what was asked for.

    Raises:
        UsageError: It is not entered for that, or breaks it.
    """
    from imagenets.methods.pass_.score import used_by
    from imagenets.methods.semi.score import used_by as used_by_semi

    name, fits = ("semi", (SEMI, FREE)) if semi else ("PASS", (PROTOCOL,))
    asked: str = arguments.protocol or fits[0]
    if asked not in fits:
        raise UsageError(
            f"--protocol {asked}: a run of {name} is entered for {' or '.join(fits)}. For other "
            "masks give their folder with --pred."
        )
    settings = {"tier": run.tier, **run.config.to_json()}
    if semi:
        check_entry(used_by_semi(run.out, settings), asked)
    else:
        check_entry(used_by(run.out, settings), asked, AS_FREE)
    return asked


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


def _method(tier: str, config: Config) -> dict[str, str]:
    """The lines of method.txt that the settings of a run of PASS tell."""
    stages = ("pretrain", "attention", "finetune")
    given = {name: getattr(config.init, name) or getattr(config.start, name) for name in stages}
    epochs = [f"{name} {getattr(config, name).epochs}" for name in stages if not given[name]]
    weights = [f"{name} with weights of SHA-256 {found}" for name, found in given.items() if found]
    told = [f"{name} {text}" for name, text in _beyond(config).items()]
    return {
        "method_name": "PASS",
        "training_data": f"ImageNet-S{tier} {'train' if weights else config.pretrain_split}, no "
        f"labels{''.join(f'; {text}' for text in weights)}",
        "training_scheme": f"epochs: {', '.join(epochs)}; {config.batch} images a step",
        "networks": config.arch,
        "link": "https://arxiv.org/abs/2106.03149",
        "description": "pixel attention, clustering, fine-tuning on generated labels"
        + "".join(f"; {text}" for text in told),
    }


def _beyond(config: Config) -> dict[str, str]:
    """What a run has of the options that the published baseline lacks, but for its folders."""
    from imagenets.methods.pass_.presets import LATER

    untold = ("accumulate", "features", "regions", "init", "start")
    found = {name: getattr(config, name) for name in LATER if name not in untold}
    return {name: str(value) for name, value in found.items() if value != LATER[name]}


def semi_method(tier: str, config: SemiConfig, pretraining: Pretraining) -> dict[str, str]:
    """The same of a run of `imagenets semi`, and what was said of its weights."""
    start, seen = "random weights", ""
    if config.weights:
        from_file = len(config.weights) == 64
        start = f"weights of SHA-256 {config.weights}" if from_file else "its library's weights"
        if pretraining.data:
            seen = f"; weights pretrained on {pretraining.data}, supervision: "
            seen += pretraining.supervision
    return {
        "method_name": f"fine-tuned {config.model}",
        "training_data": f"ImageNet-S{tier} train-semi, with labels{seen}",
        "training_scheme": f"{config.epochs} epochs, {config.batch} images a step, AdamW, rate "
        f"{config.rate:g}, layer decay {', '.join(map(str, config.decays))}",
        "networks": config.model,
        "description": f"fine-tuned with a linear head from {start}",
    }


def _fill(arguments: argparse.Namespace, known: Mapping[str, str]) -> None:
    """Fills the lines of method.txt that were not given."""
    for name, text in known.items():
        if not (getattr(arguments, name) or "").strip():
            setattr(arguments, name, text)
