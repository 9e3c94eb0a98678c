"""What a run is given from outside: a backbone of any kind, or weights that stand for a step's."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagenets.core.distributed import on_first
from imagenets.errors import UsageError
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.presets import TRAINED, Config, Given
from imagenets.models.backbone import Backbone, OneMap
from imagenets.models.checkpoints import load_weights, plain_name, read_state
from imagenets.models.dilation import check_stride
from imagenets.models.naming import STEP_HEADS
from imagenets.models.registry import BACKBONES, LIBRARIES, make_backbone
from imagenets.training import checkpoints
from imagenets.training.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PassRun(Run[Config]):
    """A run of PASS that is given something.

    Attributes:
        backbone: With its weights, which take the place of step 1; its settings are those of
            `with_backbone`. Every step puts its own weights into it: after the run it holds those
            of the last one.
        init: Step -> checkpoint whose weights take the place of what it would train.
        start: Step -> checkpoint that it starts from.
        partial: Accept checkpoints that lack weights of the backbone.
    """

    backbone: Backbone | None = None
    init: Mapping[str, Path] = field(default_factory=dict)
    start: Mapping[str, Path] = field(default_factory=dict)
    partial: bool = False


def given_to(run: Run[Config]) -> dict[str, Any]:
    """Tells what a run is given, as arguments of another `PassRun`.

    Args:
        run: A run of PASS.

    Returns:
        `backbone`, `init`, `start` and `partial` by name; none of a run that is no `PassRun`.
    """
    if not isinstance(run, PassRun):
        return {}
    return {name: getattr(run, name) for name in ("backbone", "init", "start", "partial")}


def with_backbone(config: Config, backbone: Backbone) -> Config:
    """The settings of a run with a backbone that has its weights: step 1 is not trained.

    Clustering and labelling take the attention of the backbone itself where it has one, else that
    of the head of step 2, which is trained on it.

    Args:
        config: The settings of a run without it.
        backbone: With its weights; a digest of them goes into the settings.

    Returns:
        New settings, whose `arch`, `init.pretrain` and `attend` are those of the backbone.

    Raises:
        UsageError: The settings have a grid or scales that the backbone cannot have.
    """
    for grid in (config.grid, config.finetune_grid, config.label_grid):
        check_stride(backbone.name, grid)
    if backbone.size is not None and len(config.scales) > 1:
        raise UsageError(
            f"{backbone.name}: takes images of {backbone.size} pixels alone. Give one scale."
        )
    init = replace(config.init, pretrain=checkpoints.digest(backbone.state_dict()))
    attend = "backbone" if backbone.attends else "head"
    return replace(config, arch=backbone.name, init=init, attend=attend)


def with_files(
    config: Config, init: Mapping[str, Path], start: Mapping[str, Path] | None = None
) -> Config:
    """The settings of a run whose steps are given checkpoints.

    Args:
        config: The settings of a run without them.
        init: Step -> checkpoint whose weights take the place of what it would train.
        start: Step -> checkpoint that it starts from; None: none.

    Returns:
        New settings, which hold a digest of each checkpoint's weights.

    Raises:
        UsageError: A step that has no weights is named, or one twice.
        MissingError: A file is not there.
        CorruptError: It cannot be read.
    """
    start = start or {}
    if twice := sorted(init.keys() & start.keys()):
        raise UsageError(f"--init and --start: both are given for {', '.join(twice)}. Give one.")
    return replace(config, init=_digests(config.init, init), start=_digests(config.start, start))


def _digests(before: Given, files: Mapping[str, Path]) -> Given:
    for stage in files:
        if stage not in TRAINED:
            raise UsageError(f"{stage!r} has no weights: choose among {', '.join(TRAINED)}.")
    found = {stage: checkpoints.digest(read_state(path)) for stage, path in files.items()}
    return replace(before, **found)


def stage_of(path: Path) -> str:
    """Tells the step whose weights a checkpoint holds, by its heads.

    Args:
        path: The checkpoint, as `torch.save` or safetensors write it.

    Returns:
        "finetune", "attention", or "pretrain" where it has the head of neither.

    Raises:
        MissingError: The file is not there.
        CorruptError: It cannot be read.
    """
    names = [plain_name(name) for name in read_state(path)]
    for stage, heads in STEP_HEADS.items():
        if any(name.startswith(heads) for name in names):
            return stage
    return "pretrain"


def stages_of(config: Config) -> tuple[str, ...]:
    """Lists the steps of a run that lead to masks: what is not read is left out.

    Args:
        config: The settings of the run.

    Returns:
        Names of the steps in their order; the last one predicts validation.
    """
    wanted, left = set[str](), ["predict"]
    while left:
        name = left.pop()
        if name not in wanted:
            module, _, what = STAGES[name].partition(":")
            wanted.add(name)
            left += getattr(import_module(module), what).needs(config)
    return tuple(name for name in STAGES if name in wanted)


def taken_over(config: Config) -> tuple[str, ...]:
    """Lists the steps that weights from outside take the place of.

    Args:
        config: The settings of the run.

    Returns:
        Those of "pretrain", "attention", "finetune" that `init` has weights for, in this order.
    """
    return tuple(stage for stage in TRAINED if getattr(config.init, stage))


def backbone_of(run: Run[Config]) -> Backbone:
    """The backbone of a run: the given one, or a new one of its name; its weights come later.

    Steps share the given one. Nothing is changed in it here: each step fills it from a checkpoint,
    and says itself what of it is trained.

    Args:
        run: A run of PASS; a given backbone is that of a `PassRun`.

    Returns:
        The given one where it wraps another network, a `OneMap`; else a new one with random
        weights.

    Raises:
        UsageError: There is none of this name, or another one is given.
        DependencyError: Its library is not installed.
    """
    given, name = run.backbone if isinstance(run, PassRun) else None, run.config.arch
    if isinstance(given, OneMap) and given.name == name:
        return given
    if given is not None and given.name != name:
        raise UsageError(f"{run.out}: is a run of the backbone {name}, not of {given.name}.")
    if run.config.init.pretrain and name not in BACKBONES and name.split(":")[0] not in LIBRARIES:
        raise UsageError(
            f"{run.out}: its backbone {name} was given from Python. Give it there again: "
            "PassRun(..., backbone=...)."
        )
    return make_backbone(name)


def take_over(run: Run[Config], stage: str, network: nn.Module) -> dict[str, float]:
    """Leaves given weights as what a step trained: `checkpoint.pt`, as a finished step has it.

    Args:
        run: Its settings name the weights.
        stage: The step.
        network: Of this step; filled with the weights. Of a backbone that is given as such, the
            backbone.

    Returns:
        How many weights there are, and how many of the network are not among them.

    Raises:
        UsageError: The weights are not given, are other ones, or are not those of such a network.
    """
    if isinstance(network, Backbone):
        _check_digest(run, stage, network.state_dict(), f"the backbone {network.name}")
        state = {f"backbone.{name}": value for name, value in network.state_dict().items()}
        missing: tuple[str, ...] = ()
    else:
        missing = fill(run, stage, network, run.init if isinstance(run, PassRun) else {})
        heads = STEP_HEADS.get(stage, ())
        if lacking := [name for name in missing if name.startswith(heads)]:
            raise UsageError(
                f"--init {stage}: the file has no {lacking[0]} of {_shape(network, lacking[0])}. "
                f"Give a checkpoint of the step {stage} with as many classes and channels."
            )
        state = {
            name: value
            for name, value in network.state_dict().items()
            if name not in missing or name.startswith("backbone.")
        }
    folder = run.folder(stage)
    epochs = getattr(run.config, stage).epochs
    content = {"state_dict": state, "history": [], "epoch": epochs}
    on_first(lambda: checkpoints.save(folder / checkpoints.NAME, content))
    return {"weights": len(state), "missing": len(missing)}


def fill(
    run: Run[Config], stage: str, network: nn.Module, files: Mapping[str, Path]
) -> tuple[str, ...]:
    """Fills the network of a step with the checkpoint that is given for it.

    Args:
        run: Its settings name the digest of the weights.
        stage: The step: "pretrain", "attention" or "finetune".
        network: Of this step; changed in place.
        files: Step -> checkpoint; only that of this step is read.

    Returns:
        The names in the network that the file does not have.

    Raises:
        UsageError: It is not given, or not the one that the settings name; or it lacks weights of
            the backbone.
        MissingError: The file is not there.
        CorruptError: It cannot be read.
    """
    if stage not in files:
        raise UsageError(
            f"{run.out}: the step {stage} takes its weights from a file that is not given now. "
            f"Give the same options as when this run was begun."
        )
    path = files[stage]
    state = read_state(path)
    _check_digest(run, stage, state, str(path))
    partial = isinstance(run, PassRun) and run.partial
    report = load_weights(network, state, source=str(path), allow_partial=partial)
    log.info("%s: %s: %s", stage, path, report)
    return report.missing


def begin(run: Run[Config], stage: str, network: nn.Module) -> None:
    """Fills the network of a step with what it starts from, where that is given.

    Args:
        run: Its settings say whether something is given.
        stage: The step: "pretrain", "attention" or "finetune".
        network: Of this step; changed in place, or left as it is.

    Raises:
        UsageError: The checkpoint is not given now, or is not the one that the settings name.
        MissingError: The file is not there.
        CorruptError: It cannot be read.
    """
    if getattr(run.config.start, stage):
        fill(run, stage, network, run.start if isinstance(run, PassRun) else {})


def without_noise(backbone: Backbone) -> None:
    """Lets only batch norms of a frozen backbone be in training mode, as published: no dropout.

    Args:
        backbone: Changed in place.
    """
    for module in backbone.modules():
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)


def seed_noise(generator: torch.Generator) -> None:
    """Seeds what networks draw in a step of training, whatever ran before: dropout, drop path.

    Args:
        generator: Of the step; PyTorch's own generators get the seed that it was made with.
    """
    torch.manual_seed(generator.initial_seed())


def _check_digest(run: Run[Config], stage: str, state: Mapping[str, Tensor], what: str) -> None:
    wanted = (asdict(run.config.init)[stage], asdict(run.config.start)[stage])
    if checkpoints.digest(state) not in wanted:
        raise UsageError(
            f"{run.out}: the weights of {what} are not those that the settings of this run name. "
            "Give the same ones to continue it, or another --out for a new run."
        )


def _shape(network: nn.Module, name: str) -> Any:
    return tuple(network.state_dict()[name].shape)
