"""What `imagenets train` and `imagenets.train` share: from options to a run, and the run itself."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.api.places import decoding_workers
from imagenets.core.distributed import is_first, on_first
from imagenets.errors import UsageError
from imagenets.protocols import SUPERVISIONS, UNTRAINED, Pretraining

if TYPE_CHECKING:
    from imagenets.methods.pass_.given import PassRun
    from imagenets.methods.pass_.presets import Config
    from imagenets.models.backbone import Backbone


@dataclass(frozen=True)
class Trained:
    """What was trained.

    Attributes:
        root: The prepared set.
        tier: Its tier.
        out: The folder of the run.
        done: The steps that were asked for, which are done now.
        left: Those on the way to masks that are not done.
    """

    root: Path
    tier: str
    out: Path
    done: tuple[str, ...]
    left: tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """How training goes: nothing of it is a setting of the run.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
        workers: Processes that decode images.
        save_every: How often what is done is kept, such as 10m or 200steps.
        tensorboard: Whether the log is written for TensorBoard, too.
        ignore_collapse: Whether to go on where nothing is learned.
    """

    device: str = "auto"
    workers: int | None = None
    save_every: str = "10m"
    tensorboard: bool = False
    ignore_collapse: bool = False


def give(
    config: Config,
    load: Callable[[Config], Backbone] | None,
    init: Mapping[str, Path],
    start: Mapping[str, Path],
    *,
    accept_partial: bool,
    assignments: Sequence[str],
    said: Pretraining | None,
) -> tuple[Config, dict[str, Any]]:
    """The settings with what comes from outside, and the further arguments of a `PassRun`.

    Args:
        config: The settings without it.
        load: Gives the backbone that stands for pretraining, with its weights.
        init: Step -> checkpoint in the place of what it would train.
        start: Step -> checkpoint that it begins with.
        accept_partial: Whether checkpoints may lack weights of the backbone.
        assignments: Single settings that were asked for, such as `attend=head`.
        said: What is said of the weights.

    Raises:
        UsageError: Options do not go together, or name no step that there is.
        MissingError: A file is not there.
        CorruptError: It cannot be read.
    """
    from imagenets.methods.pass_.given import with_backbone, with_files

    found: dict[str, Any] = {"init": init, "start": start, "partial": accept_partial}
    config = with_files(config, init, start)
    if load is None:
        if said is not None and not (init or start):
            raise UsageError("--pretrained-on: no weights are given (--backbone, --init, --start).")
        if config.attend == "backbone":
            raise UsageError("attend=backbone: name the network with --backbone and its weights.")
        return config, found
    if "pretrain" in init or "pretrain" in start:
        raise UsageError("--backbone stands for the step pretrain: give no other weights for it.")
    found["backbone"] = load(config)
    attend, config = config.attend, with_backbone(config, found["backbone"])
    if not any(text.split("=")[0].strip() == "attend" for text in assignments):
        return config, found
    if attend == "backbone" and config.attend != "backbone":
        raise UsageError(
            f"--set attend=backbone: {config.arch} has no attention itself. Leave it out; the step "
            "attention trains a head for it."
        )
    return replace(config, attend=attend), found


def set_up(
    place: tuple[Path, str, Path], config: Config, given: Mapping[str, Any], way: Way
) -> PassRun:
    """A run, ready to be trained; one on `tensorboard` writes there.

    Args:
        place: The prepared set, its tier, and the folder of the run.
        config: The settings.
        given: As `give` has it.
        way: How training goes.

    Raises:
        UsageError: There is no such device or time, or fewer than no workers.
        DependencyError: TensorBoard is not installed.
    """
    from imagenets.methods.pass_.given import PassRun
    from imagenets.training.run import pick_device
    from imagenets.training.saving import SaveEvery
    from imagenets.training.watch import Watch, tensorboard

    root, tier, out = place
    device, workers = pick_device(way.device), decoding_workers(way.workers)
    every = SaveEvery.parse(way.save_every)
    watch = Watch(
        tensorboard(out / "tensorboard") if way.tensorboard else None, way.ignore_collapse
    )
    return PassRun(root, tier, out, config, device, workers, every, watch, **given)


def steps(config: Config, stages: str | Sequence[str] | None, png: bool) -> list[str]:
    """The steps of a run, those that weights are given for before the others.

    Args:
        config: The settings.
        stages: Those that are asked for, a list or names with commas; None: all on the way.
        png: Whether pseudo labels are written as PNGs, too.

    Returns:
        Their names.

    Raises:
        UsageError: None is asked for.
    """
    from imagenets.methods.pass_.given import stages_of, taken_over

    asked = stages.split(",") if isinstance(stages, str) else stages
    if asked is not None and not any(name.strip() for name in asked):
        raise UsageError("stages: no step is named. Leave it out for all of them.")
    given = taken_over(config)
    wanted = stages_of(config) if asked is None else [name.strip() for name in asked]
    left = [name for name in wanted if name not in given]
    return [*given, *left, "pseudo-png"] if png else [*given, *left]


def train_run(run: PassRun, names: Sequence[str], said: Pretraining | None) -> Trained:
    """Runs steps as one of the ranks, under one line that tells how far all of it is.

    Args:
        run: The run.
        names: The steps, in their order.
        said: What is said of weights from outside; kept with the run.

    Raises:
        ImageNetSError: Training cannot go on; what was done is kept.
    """
    from imagenets.methods.pass_ import ALL_STAGES
    from imagenets.methods.pass_.given import stages_of
    from imagenets.methods.pass_.work import work
    from imagenets.training.overall import Overall
    from imagenets.training.provenance import declare
    from imagenets.training.stage import Stages

    stages = Stages(ALL_STAGES, run)
    with Overall(partial(work, run, list(names))).shown():
        stages.run(names)
    if is_first() and said is not None:
        declare(run.out, said)
    on_way = stages_of(run.config)
    left = on_first(lambda: tuple(name for name in on_way if not stages.is_done(name)))
    return Trained(run.root, run.tier, run.out, tuple(names), left)


def epochs_of(asked: int | str | Mapping[str, int] | None) -> dict[str, int]:
    """Epochs by step, of one number for all, of `pretrain=N,finetune=N`, or of a mapping.

    Raises:
        UsageError: It is none of these.
    """
    from imagenets.methods.pass_.presets import TRAINED

    if asked is None or asked == "":
        return {}
    if isinstance(asked, Mapping):
        for stage, number in asked.items():
            if not isinstance(number, int):
                raise UsageError(f"--epochs {stage}={number!r}: give a whole number.")
        return dict(asked)
    try:
        if not isinstance(asked, str):
            return dict.fromkeys(TRAINED, operator.index(asked))
        if "=" not in asked:
            return dict.fromkeys(TRAINED, int(asked))
        pairs = (pair.split("=") for pair in asked.split(","))
        return {stage: int(number) for stage, number in pairs}
    except (ValueError, TypeError):
        raise UsageError(f"--epochs {asked}: give a number, or pretrain=N,finetune=N.") from None


def assignments_of(asked: Sequence[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """Single settings as `NAME=VALUE`, of such texts or of a mapping.

    Raises:
        UsageError: It is one text.
    """
    if isinstance(asked, str):
        raise UsageError(f"--set {asked}: give a list of such texts, or a dict.")
    if isinstance(asked, Mapping):
        return tuple(f"{name}={_spelled(value)}" for name, value in asked.items())
    return tuple(asked)


def said_of(
    data: str | None, supervision: str | None, random_weights: bool = False
) -> Pretraining | None:
    """What is said of pretrained weights; None: nothing.

    Args:
        data: Images that they were pretrained on.
        supervision: With what.
        random_weights: Whether they are as they start.

    Raises:
        UsageError: Random weights were pretrained on something, half of it is left out, or there
            is no such supervision.
    """
    if random_weights:
        if data or supervision:
            raise UsageError("--random-weights: leave --pretrained-on and --supervision out.")
        return UNTRAINED
    if not data and not supervision:
        return None
    if not data or not supervision:
        raise UsageError("give --pretrained-on and --supervision together.")
    if supervision not in SUPERVISIONS:
        known = ", ".join(SUPERVISIONS)
        raise UsageError(f"--supervision {supervision}: choose one of {known}.")
    return Pretraining(data.strip(), supervision)


def _spelled(value: Any) -> str:
    """A value as TOML has it; text and paths without quotes."""
    return str(value) if isinstance(value, str | Path) else json.dumps(value)
