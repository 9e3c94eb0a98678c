"""What a run would take, from a few steps of each stage: time, memory, disk, and what fits."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from imagenets.core.log import ROOT, watched
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader.crops import ShortSide
from imagenets.errors import TrainingError
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.cluster import kmeans
from imagenets.methods.pass_.given import PassRun, backbone_of, given_to, stages_of, taken_over
from imagenets.methods.pass_.presets import TRAINED, Config
from imagenets.training import checkpoints
from imagenets.training.run import Run
from imagenets.training.stage import Stage
from imagenets.training.usage import Steps, available, peak

log = logging.getLogger(__name__)

STEPS = 6
"""Steps of each loop that are measured; the first warms up."""

PATIENCE = 120.0
"""Seconds that measuring with the whole batch may take, about; else parts of it must tell."""

SPARE = 0.95
"""Share of the memory that may be planned for."""

_SAMPLE = 4096
"""Images whose sizes are looked at to find some of one shape."""

_POINTS = 4096
"""Points with which k-means is measured."""

Loops = Mapping[str, int]
"""What the loops of a stage are called -> how many images go through each in a whole run."""


@dataclass(frozen=True)
class Estimate:
    """What one stage would take.

    Attributes:
        stage: Its name.
        images_per_second: Of its first loop; None where nothing was measured.
        seconds: Of the whole stage, with all images and epochs.
        memory: Bytes at the most, with the batch that was asked for; 0 where none can tell.
        disk: Bytes that it needs in the folder of the run.
        measured: Images a step with which it was measured.
        advice: What would fit, where the memory does not suffice.
    """

    stage: str
    images_per_second: float | None
    seconds: float
    memory: int
    disk: int
    measured: int
    advice: str = ""


@dataclass(frozen=True)
class _Trial(PassRun):
    """A run over a few images of each split, most of one shape, so that batches are full."""

    images: int = 0

    def dataset(self, split: str, masks: bool = False) -> ImageNetS:
        """Some samples of a split."""
        data = super().dataset(split, masks)
        return data.subset(_alike(data, self.config.side, self.images))


@dataclass
class _Found:
    """What a trial found, by stage: memory at the most, bytes on the disk, times of steps."""

    batch: int
    peaks: dict[str, int] = field(default_factory=dict)
    disk: dict[str, int] = field(default_factory=dict)
    steps: dict[str, Steps] = field(default_factory=dict)

    def seconds(self, stage: str, loop: str) -> float:
        """Seconds an image in a loop."""
        return self.steps[stage].seconds(loop) or 0.0


def dry_run(run: Run[Config]) -> list[Estimate]:
    """Takes a few steps of each stage in a folder that is removed, and works out the whole run.

    Memory is measured with two small batches, and grows in proportion from there; where the whole
    batch is then known to fit, and takes no more than two minutes or so, that is measured.

    Args:
        run: What would be trained; nothing is written into its folder.

    Raises:
        UsageError: A split has fewer images than a batch.
        MissingError: The set is not prepared.
        TrainingError: The memory does not suffice for the smallest batch.
    """
    config, loops, room = run.config, _loops(run), available(run.device)
    first, low, high = _batches(config.batch)
    _try(run, first)  # loads and compiles what is needed, which counts as memory from then on
    trials = [_try(run, low), _try(run, high)]
    fits = all(_most(config, trials, name, room) >= _at_once(config, name) for name in loops)
    step = sum(trials[-1].seconds(name, next(iter(loops[name]))) for name in loops)
    if fits and high < config.batch and step * config.batch * STEPS < PATIENCE:
        trials.append(_try(run, config.batch))
    return [_estimate(run, name, loops[name], trials, room) for name in loops]


def _batches(batch: int) -> tuple[int, int, int]:
    """The smallest batch, and two for measuring; all divide the one that was asked for."""
    parts = [n for n in range(2, batch + 1) if batch % n == 0]
    place = next(i for i, n in enumerate(parts) if n >= batch // 16)
    return parts[0], parts[place], parts[min(place + 1, len(parts) - 1)]


def _loops(run: Run[Config]) -> dict[str, Loops]:
    """The loops of each stage, the one that takes longest first."""
    config, train = run.config, run.dataset("train")
    validation = len(run.dataset("validation"))
    sets = dict.fromkeys((name for name in _measured(config) if name in TRAINED), train)
    if "pretrain" in sets:
        sets["pretrain"] = run.dataset(config.pretrain_split)
    if "finetune" in sets:
        sets["finetune"] = train.subset(range(round(config.keep * len(train))))
    found: dict[str, Loops] = {
        name: {name: len(run.training_loader(data)) * config.batch * getattr(config, name).epochs}
        for name, data in sets.items()
    }
    found["cluster"] = {"cluster: features": len(train)}
    found["pseudo"] = {"pseudo: training labels": len(train)} | dict.fromkeys(
        ("pseudo: threshold", "pseudo: validation labels"), validation
    )
    found["predict"] = {"predict: validation": validation}
    return {name: found[name] for name in _measured(config)}


def _measured(config: Config) -> list[str]:
    """The stages that take time: given weights are there at once."""
    given = taken_over(config)
    return [name for name in stages_of(config) if name not in given]


def _try(run: Run[Config], batch: int) -> _Found:
    """Runs all stages with some images, as they are run, in a folder of their own."""
    asked, found = run.config, _Found(batch)
    whole = {name: getattr(asked, name) for name in TRAINED}
    short = {name: replace(one, epochs=min(1, one.epochs)) for name, one in whole.items()}
    parts = asked.accumulate if batch == asked.batch else 1
    config = replace(asked, **short, batch=batch, accumulate=parts, restarts=1, keep=1.0)
    with ExitStack() as stack:
        out = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagenets-dry-run-")))
        trial = _Trial(
            *(run.root, run.tier, out, config, run.device, run.workers),
            **given_to(run),
            images=STEPS * batch,
        )
        stack.enter_context(_unchanged(trial.backbone))
        for name in taken_over(config):
            _stage(name).run(trial)
        for name in _measured(config):
            log.info("measuring %s, %d images a step", name, batch)
            found.steps[name] = Steps(run.device)
            with peak(run.device) as most, watched(found.steps[name]), _quiet():
                try:
                    _stage(name).run(trial)
                except torch.OutOfMemoryError as error:
                    raise TrainingError(
                        f"{name}: the memory of {run.device} does not suffice for {batch} images a "
                        f"step ({str(error).splitlines()[0]}). Free some, or choose a smaller "
                        "--batch-size."
                    ) from error
            found.peaks[name] = most.bytes
            found.disk[name] = sum(f.stat().st_size for f in (out / name).rglob("*") if f.is_file())
    return found


@contextmanager
def _unchanged(backbone: nn.Module | None) -> Iterator[None]:
    """Gives a backbone from outside its weights back, which steps train in place."""
    if backbone is None:
        yield
        return
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    try:
        yield
    finally:
        backbone.load_state_dict(before)


def _estimate(
    run: Run[Config], name: str, loops: Loops, trials: Sequence[_Found], room: int | None
) -> Estimate:
    config, last = run.config, trials[-1]
    main = last.seconds(name, next(iter(loops)))
    seconds = sum(images * last.seconds(name, loop) for loop, images in loops.items())
    images = next(iter(loops.values()))
    kept = [count for loop, count in loops.items() if loop != "pseudo: threshold"]
    disk = last.disk[name] * sum(kept) // sum(min(n or 1, STEPS * last.batch) for n in kept)
    if name in TRAINED:
        disk = last.disk[name] * (checkpoints.KEPT + 1)
    if name == "cluster":
        features = backbone_of(run).channels[-1]
        disk = images * features * np.dtype(config.features).itemsize
        seconds += _kmeans_seconds(run, images, features)
    most = _most(config, trials, name, room)
    return Estimate(
        stage=name,
        images_per_second=1 / main if main else None,
        seconds=seconds,
        memory=_memory(trials, name, _at_once(config, name)),
        disk=disk,
        measured=last.batch,
        advice="" if most >= _at_once(config, name) else _advice(config, name, most),
    )


def _at_once(config: Config, name: str) -> int:
    """Images that a stage holds at a time."""
    return config.batch // config.accumulate if name == "finetune" else config.batch


def _memory(trials: Sequence[_Found], name: str, batch: int) -> int:
    """Bytes that a stage takes with a batch: as measured, or on the line through two smaller."""
    last = trials[-1]
    if len(trials) > 2:
        return last.peaks[name]
    return last.peaks[name] + round(_slope(trials, name) * (batch - last.batch))


def _slope(trials: Sequence[_Found], name: str) -> float:
    """Bytes that one image more takes."""
    low, high = trials[:2]
    if high.batch == low.batch:
        return 0.0
    return max(0.0, (high.peaks[name] - low.peaks[name]) / (high.batch - low.batch))


def _most(config: Config, trials: Sequence[_Found], name: str, room: int | None) -> int:
    """The most images at a time that fit into the memory, as far as is known."""
    low, slope = trials[1], _slope(trials, name)
    asked = _at_once(config, name)
    if room is None or slope == 0.0 or _memory(trials[:2], name, asked) <= SPARE * room:
        return asked
    return low.batch + int((SPARE * room - low.peaks[name]) // slope)


def _advice(config: Config, name: str, most: int) -> str:
    """What would fit: parts of a step, where they are exact, or a smaller batch."""
    fitting = [n for n in range(1, config.batch + 1) if config.batch % n == 0 and n <= most]
    if not fitting:
        return "no batch fits: take a smaller network, or a device with more memory"
    if name == "finetune":
        return f"--accumulate {config.batch // fitting[-1]} would fit"
    return f"--batch-size {fitting[-1]} would fit" if fitting[-1] > 1 else "no batch of 2 fits"


def _kmeans_seconds(run: Run[Config], images: int, features: int) -> float:
    """Seconds of all restarts of k-means, from one with fewer points."""
    count = min(_POINTS, images)
    k = min(count, len(run.dataset("train").classes))
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(count, features, generator=generator).to(run.device)
    taken = []
    for _ in range(2):  # the first one warms up
        start = time.perf_counter()
        with watched(Steps(run.device)):
            kmeans(points, k, 1, 0, init=run.config.kmeans_init)
        taken.append(time.perf_counter() - start)
    return min(taken) * images / count * run.config.restarts


def _alike(data: ImageNetS, side: int, count: int) -> npt.NDArray[np.int64]:
    """Some samples, those first that come out in the commonest shape, in the order of the set."""
    rows = np.unique(np.linspace(0, len(data) - 1, min(len(data), max(_SAMPLE, count))).astype(int))
    shapes = ShortSide(side).shapes(data.sizes_of(rows))
    _, kinds, numbers = np.unique(shapes, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-numbers[kinds.reshape(-1)], kind="stable")
    return np.sort(rows[order[:count]])


def _stage(name: str) -> Stage:
    module, _, what = STAGES[name].partition(":")
    stage: Stage = getattr(import_module(module), what)
    return stage


@contextmanager
def _quiet() -> Iterator[None]:
    """Says nothing of the trials' own losses and scores: they mean nothing."""
    logger = logging.getLogger(ROOT)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
