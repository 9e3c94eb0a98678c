"""The settings of a run: a preset, changed by a file and by the command line."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from imagenets.core.launch import launched
from imagenets.core.settings import changed_by_file, changed_by_text
from imagenets.data.augment import ViewGroup
from imagenets.errors import UsageError
from imagenets.methods.pass_.foreground import FOREGROUNDS
from imagenets.methods.pass_.presets import (
    ATTENTIONS,
    FEATURES,
    FOREVER,
    INITS,
    PREDICTION,
    PRESETS,
    TRAINED,
    Config,
    Schedule,
)
from imagenets.methods.pass_.trained import run_settings
from imagenets.models.dilation import check_stride
from imagenets.protocols import REGIONS
from imagenets.training.stage import CONFIG

log = logging.getLogger(__name__)

SPLITS = ("train", "train-full")
"""Where pretraining can take its images from."""

RULE = (
    "rates in proportion, queues so that an assignment is made from as many images, freezes so "
    "that they last for as many images"
)
"""How settings follow the batch."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What is changed in a preset; None leaves a setting as it is.

    Attributes:
        epochs: Of trained steps, by name.
        batch: Images a step.
        seed: Of everything random.
        accumulate: Parts of a step of fine-tuning.
        features: What features are kept in.
        regions: Folder of segments.
        regions_from: What made them.
        file: TOML with some or all settings; comes before the other changes.
        assignments: Such as `pretrain.base_rate=0.3`; they come last.
    """

    epochs: Mapping[str, int] = field(default_factory=dict)
    batch: int | None = None
    seed: int | None = None
    accumulate: int | None = None
    features: str | None = None
    regions: str | None = None
    regions_from: str | None = None
    file: Path | None = None
    assignments: tuple[str, ...] = ()


def make_config(preset: str, changes: Changes, *, out: Path | None = None) -> Config:
    """Builds the settings of a run from a preset.

    Where the file, or the command line, changes the batch, what the same place does not give
    follows by `RULE`, and the log says so. A run that was begun before there was this rule, with
    the same options, keeps its settings.

    Args:
        preset: Name of the settings to begin with.
        changes: What is changed in them.
        out: Folder of the run, which may have been begun.

    Returns:
        The settings, checked.

    Raises:
        UsageError: There is no such preset, step or setting, a value is not of its type, or a
            number is out of range.
        MissingError: There is no such file.
    """
    if preset not in PRESETS:
        raise UsageError(f"there is no preset {preset!r}: choose one of {', '.join(PRESETS)}.")
    config, followed = _built(preset, changes)
    _check_shares(config)
    if not followed:
        return config
    alone = _built(preset, changes, follow=False)[0]
    if out is not None and (out / CONFIG).is_file() and run_settings(out)[1] == alone:
        config, said = alone, f"{out} was begun without these, and stays as it is"
    else:
        said = "--set gives another value"
    launch = launched()
    if launch is None or launch.rank == 0:
        changed_to = "; ".join(followed)
        log.info("settings that follow the batch (%s): %s. %s.", RULE, changed_to, said)
    return config


def with_prediction(config: Config, changes: Changes) -> Config:
    """The settings of a trained run, with others of those that prediction alone reads.

    Args:
        config: Of the run.
        changes: Regions and assignments count.

    Returns:
        New settings, checked; those of training are the same.

    Raises:
        UsageError: Another setting would change, or a value is not of its type or out of range.
    """
    changed_to = _with_options(config, changes)
    for assignment in changes.assignments:
        changed_to, name = changed_by_text(changed_to, assignment)
        if name.partition(".")[0] not in PREDICTION:
            raise UsageError(
                f"--set {assignment}: the run was trained with its {name}. Prediction can change "
                f"{', '.join(PREDICTION)}."
            )
    _check(changed_to)
    return changed_to


def _built(preset: str, changes: Changes, follow: bool = True) -> tuple[Config, list[str]]:
    """The settings, and what in them follows the batch, in words."""
    config = PRESETS[preset]
    followed: list[str] = []
    if changes.file is not None:
        before = config
        config, given = changed_by_file(config, changes.file)
        _check(config)
        if follow:
            config = _following(before, config, given, followed)
    before, config, named = config, _with_options(config, changes), set()
    for assignment in changes.assignments:
        config, name = changed_by_text(config, assignment)
        named.add(name)
    _check(config)
    if follow:
        config = _following(before, config, named, followed)
    return config, followed


def _with_options(config: Config, changes: Changes) -> Config:
    """What options of their own change: they name themselves in the messages."""
    for stage, epochs in changes.epochs.items():
        if stage not in TRAINED:
            raise UsageError(f"{stage!r} has no epochs: choose among {', '.join(TRAINED)}.")
        if epochs < 0:
            raise UsageError(f"--epochs {stage}={epochs}: give 0 or more.")
        config = replace(config, **{stage: replace(getattr(config, stage), epochs=epochs)})
    if changes.batch is not None and changes.batch < 2:
        raise UsageError(f"--batch-size {changes.batch}: batch norm needs 2 or more.")
    names = ("batch", "seed", "accumulate", "features", "regions", "regions_from")
    given = {name: getattr(changes, name) for name in names}
    return replace(config, **{name: value for name, value in given.items() if value is not None})


def _following(before: Config, config: Config, given: Collection[str], said: list[str]) -> Config:
    """The settings that follow a changed batch, told in `said`; what was given stays as it is."""
    if config.batch == before.batch:
        return config
    said.append(f"{config.batch} images a step instead of {before.batch}")
    for stage in TRAINED:
        old = getattr(config, stage)
        found = _followed(old, before.batch, config.batch)
        new = {name: value for name, value in found.items() if f"{stage}.{name}" not in given}
        said += [f"{stage}.{name} {getattr(old, name):g} -> {new[name]:g}" for name in new]
        config = replace(config, **{stage: replace(old, **new)})
    return config


def _followed(schedule: Schedule, old: int, new: int) -> dict[str, float | int]:
    """What follows when a batch of `old` images becomes one of `new`."""
    found: dict[str, float | int] = {
        name: getattr(schedule, name) * new / old for name in ("base_rate", "final_rate")
    }
    if schedule.queue:
        left = schedule.queue + old - new
        found["queue"] = max(0, left - left % new)
    if 0 < schedule.freeze < FOREVER:
        found["freeze"] = max(1, round(schedule.freeze * old / new))
    return found


def _check(config: Config) -> None:
    """Raises UsageError where a number is out of range."""
    for what, fits in _demands(config):
        if not fits:
            raise UsageError(f"settings: {what}.")
    if config.features not in FEATURES:
        raise UsageError(f"--features {config.features}: choose one of {', '.join(FEATURES)}.")
    _check_regions(config)
    for grid in (config.grid, config.finetune_grid, config.label_grid):
        check_stride(config.arch, grid)
    if config.attend not in ATTENTIONS:
        raise UsageError(f"attend={config.attend}: choose one of {', '.join(ATTENTIONS)}.")
    parts, batch = config.accumulate, config.batch
    if parts < 1 or batch % parts or batch // parts < 2:
        raise UsageError(
            f"--accumulate {parts}: {batch} images do not fall into so many equal parts of 2 or "
            "more. Give a divisor of the batch."
        )


def _check_shares(config: Config) -> None:
    """Raises UsageError where the images of a rank do not fall into the parts of a step."""
    launch = launched()
    own = config.batch // (launch.world if launch else 1)
    if own % config.accumulate:
        raise UsageError(
            f"--accumulate {config.accumulate}: the {own} images of each rank do not fall into so "
            "many equal parts. Give a divisor of them, or start another number of ranks."
        )


def _check_regions(config: Config) -> None:
    """Raises UsageError where it is not said what made the regions, or there are none."""
    if bool(config.regions) != bool(config.regions_from):
        raise UsageError(
            "give --regions and --regions-from together: a folder of segments, and what made them "
            f"({', '.join(REGIONS)})."
        )
    if config.regions_from not in ("", *REGIONS):
        raise UsageError(
            f"--regions-from {config.regions_from}: choose one of {', '.join(REGIONS)}."
        )


def _demands(config: Config) -> Iterator[tuple[str, bool]]:
    """What settings must be, and whether they are."""
    yield "batch is 2 or more, as batch norm needs", config.batch >= 2
    for name in ("hidden", "prototypes", "side", "crop", "restarts"):
        yield f"{name} is 1 or more", getattr(config, name) >= 1
    for name in ("refine", "refine_labels"):
        yield f"{name} is 0 or more", getattr(config, name) >= 0
    yield "scales are above 0", min(config.scales) > 0
    yield f"pretrain_split is one of {', '.join(SPLITS)}", config.pretrain_split in SPLITS
    yield f"kmeans_init is one of {', '.join(INITS)}", config.kmeans_init in INITS
    yield "ema is 0 or more and below 1", 0 <= config.ema < 1
    for name in ("keep", "recluster"):
        yield f"{name} is above 0 and at most 1", 0 < getattr(config, name) <= 1
    yield "saliency_layer is 1 to 4", 1 <= config.saliency_layer <= 4
    yield f"foreground is one of {', '.join(FOREGROUNDS)}", config.foreground in FOREGROUNDS
    for stage in TRAINED:
        schedule = getattr(config, stage)
        for name in ("epochs", "base_rate", "final_rate", "queue", "queue_from", "freeze"):
            yield f"{stage}.{name} is 0 or more", getattr(schedule, name) >= 0
        yield f"{stage}.epsilon is above 0", schedule.epsilon > 0
    for step in ("views", "attention_views"):
        groups = getattr(config, step)
        yield f"{step}.0.views is 2, since two views are assigned", groups[0].views == 2
        for i, group in enumerate(groups):
            yield from _demands_of_views(f"{step}.{i}", group)


def _demands_of_views(name: str, group: ViewGroup) -> Iterator[tuple[str, bool]]:
    for one in ("views", "size"):
        yield f"{name}.{one} is 1 or more", getattr(group, one) >= 1
    for one in ("flip", "jitter", "gray", "blur", "solarize"):
        chance = getattr(group, f"{one}_probability")
        yield f"{name}.{one}_probability is 0 to 1", 0 <= chance <= 1
    for one in ("scale", "ratio", "sigma"):
        low, high = getattr(group, one)
        yield f"{name}.{one} is a range above 0, the smaller number first", 0 < low <= high
    yield f"{name}.scale ends at 1, the whole image", group.scale[1] <= 1
    yield f"{name}.jitter is 0 or more", min(group.jitter) >= 0
