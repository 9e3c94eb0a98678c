"""`imagenets train` with what comes from outside: any backbone, or weights of some steps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.cli.declaring import add_pretraining, said_of
from imagenets.cli.distance import add_backbone, load_backbone
from imagenets.errors import UsageError

if TYPE_CHECKING:
    from imagenets.methods.pass_.presets import Config


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
    from imagenets.methods.pass_.given import with_backbone, with_files

    init, start = (_by_step(option, getattr(arguments, option)) for option in ("init", "start"))
    found: dict[str, Any] = {"init": init, "start": start, "partial": arguments.allow_partial}
    config = with_files(config, init, start)
    weights = arguments.weights is not None or arguments.pretrained or arguments.random_weights
    if arguments.backbone is None:
        if weights:
            raise UsageError("--weights, --pretrained: name the network with --backbone.")
        if said_of(arguments) is not None and not (init or start):
            raise UsageError("--pretrained-on: no weights are given (--backbone, --init, --start).")
        if config.attend == "backbone":
            raise UsageError("attend=backbone: name the network with --backbone and its weights.")
        return config, found
    if not weights:
        raise UsageError(
            f"--backbone {arguments.backbone}: say where its weights are from: --weights FILE, "
            "--pretrained or --random-weights."
        )
    if "pretrain" in init or "pretrain" in start:
        raise UsageError("--backbone stands for the step pretrain: give no other weights for it.")
    asked = argparse.Namespace(**{**vars(arguments), "seed": config.seed})
    found["backbone"] = load_backbone(asked)
    attend = config.attend
    config = with_backbone(config, found["backbone"])
    return _attending(arguments, config, attend), found


def _attending(arguments: argparse.Namespace, config: Config, asked: str) -> Config:
    """The settings with the attention that --set asks for, where it does."""
    from dataclasses import replace

    if not any(text.split("=")[0].strip() == "attend" for text in arguments.set):
        return config
    if asked == "backbone" and config.attend != "backbone":
        raise UsageError(
            f"--set attend=backbone: {config.arch} has no attention itself. Leave it out; the step "
            "attention trains a head for it."
        )
    return replace(config, attend=asked)


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
