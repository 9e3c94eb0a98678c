"""`imagenets train` with what comes from outside: any backbone, or weights of some steps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.api.training import give
from imagenets.cli.declaring import add_pretraining, said_of
from imagenets.cli.distance import add_backbone, load_backbone
from imagenets.errors import UsageError

if TYPE_CHECKING:
    from imagenets.methods.pass_.presets import Config
    from imagenets.models.backbone import Backbone


def add_given(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_backbone(parser, required=False)
    add_pretraining(parser)
    parser.add_argument(
        "--init",
        action="append",
        default=[],
        metavar="[STEP=]FILE",
        help="a checkpoint takes the place of what STEP (pretrain, attention, finetune) would "
        "train, such as a published one of PASS or one of `imagenets export`; without STEP its "
        "heads tell; may be given several times",
    )
    parser.add_argument(
        "--start",
        action="append",
        default=[],
        metavar="[STEP=]FILE",
        help="likewise, but STEP is trained, and begins with these weights",
    )


def given(arguments: argparse.Namespace, config: Config) -> tuple[Config, dict[str, Any]]:
    """The settings with what is given, and the further arguments of a `PassRun`.

    Raises:
        UsageError: Options do not go together, or name no backbone or step that there is.
        MissingError: A file is not there.
        CorruptError: It cannot be read.
    """
    init, start = (_by_step(option, getattr(arguments, option)) for option in ("init", "start"))
    weights = arguments.weights is not None or arguments.pretrained or arguments.random_weights
    if arguments.backbone is None and weights:
        raise UsageError("--weights, --pretrained: name the network with --backbone.")
    if arguments.backbone is not None and not weights:
        raise UsageError(
            f"--backbone {arguments.backbone}: say where its weights are from: --weights FILE, "
            "--pretrained or --random-weights."
        )

    def load(config: Config) -> Backbone:
        return load_backbone(argparse.Namespace(**{**vars(arguments), "seed": config.seed}))

    return give(
        config,
        None if arguments.backbone is None else load,
        init,
        start,
        accept_partial=arguments.allow_partial,
        assignments=arguments.set,
        said=said_of(arguments),
    )


def _by_step(option: str, words: list[str]) -> dict[str, Path]:
    """Step -> file, of `STEP=FILE` or `FILE`."""
    from imagenets.methods.pass_.given import stage_of
    from imagenets.methods.pass_.presets import TRAINED

    found: dict[str, Path] = {}
    for word in words:
        step, equals, rest = word.partition("=")
        named = bool(equals) and "/" not in step and "." not in step
        if named and step not in TRAINED:
            known = ", ".join(TRAINED)
            raise UsageError(f"--{option} {word}: there is no step {step!r}; choose among {known}.")
        path = Path(rest if named else word).expanduser()
        step = step if named else stage_of(path)
        if step in found:
            raise UsageError(f"--{option}: two files are for the step {step}. Give one.")
        found[step] = path
    return found
