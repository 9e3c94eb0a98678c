"""The one training loop: resumes at any step, sets the rate, steps, logs, and keeps checkpoints."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagenets.core import distributed
from imagenets.core.files import write_file
from imagenets.core.log import progress
from imagenets.data.loader import Batch, Loader, on_device
from imagenets.errors import MissingError, TrainingError
from imagenets.models.batch_norm import synchronise
from imagenets.training import checkpoints
from imagenets.training.average import Average
from imagenets.training.gradients import average_gradients
from imagenets.training.run import Run, seeded
from imagenets.training.saving import SavePoints
from imagenets.training.watch import BESIDE, Swav, look_for_collapse, means, measured, timed

log = logging.getLogger(__name__)

Step = Callable[[Batch, torch.Generator, int], Mapping[str, Tensor]]
"""(batch, generator, iteration) -> losses; runs backward itself. The one to watch is `loss`.
With prototypes, `watch.COUNTS` has how often each was the nearest."""

LOG = "log.jsonl"
"""What a trained stage logs: one JSON object an epoch."""

LOOK = 100
"""Steps after which losses are looked at within an epoch; only then does a GPU make us wait."""


@dataclass
class Training:
    """What the loop trains, and how.

    Attributes:
        name: Of the stage.
        epochs: Passes over the training set.
        loader: The training batches.
        network: What is saved, already on the device.
        optimizer: Over what is trained.
        schedule: Learning rate of an iteration, out of so many.
        step: Computes the losses of a batch and their gradients.
        memory: Further tensors that belong to the state, changed in place (the queue); rows of
            their second dimension belong to samples. Checkpoints hold those of all ranks.
        after_epoch: Called with the number of epochs that are done, the one under way included;
            what it returns is logged beside the losses.
        swav: What shows a collapse; None: nothing does.
        advice: What to try when the loss is no longer a number.
        average: What follows the network as its running average; None: nothing does.
    """

    name: str
    epochs: int
    loader: Loader
    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    step: Step
    memory: dict[str, Tensor] = field(default_factory=dict)
    after_epoch: Callable[[int], Mapping[str, float]] | None = None
    swav: Swav | None = None
    advice: str = "another --seed or a lower rate"
    average: Average | None = None


@dataclass
class _Done:
    """How far training is; what a checkpoint holds beside the network, optimiser and queues.

    Attributes:
        history: The rows of the finished epochs.
        steps: Steps of the epoch under way.
        sums: The sums of its losses.
        seconds: That it has taken.
        waiting: Seconds of these that it has waited for batches.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    steps: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    waiting: float = 0.0

    def waited(self, seconds: float) -> None:
        """Adds to the time of waiting."""
        self.waiting += seconds


def train(run: Run[Any], training: Training) -> dict[str, float]:
    """Trains what is not trained yet; leaves `checkpoint.pt` and `log.jsonl` in the stage's folder.

    While it is at work checkpoints are written at every epoch's end, as often as the run says, and
    when a signal asks for one (see `SavePoints`); it goes on from the last one, in the middle of an
    epoch as well, to the same result as without a stop.

    Several ranks compute what one would with a batch as large as all theirs: batch norms look at
    the whole batch, gradients are averaged. The first rank writes; a checkpoint is the same for any
    number of ranks.

    Returns:
        The mean losses of the last epoch.

    Raises:
        TrainingError: The loss or a weight is no longer a number, the loss stays where nothing is
            learned, or the disk is full.
    """
    folder = run.folder(training.name)
    if distributed.world() > 1:  # which some networks of other libraries refuse
        synchronise(training.network, run.device)
    saver = checkpoints.Saver(folder, training.name, training.epochs)
    place = training.loader.state_dict()  # once: it can mean looking at a million files
    done = _resume(run, training, saver)
    count = len(training.loader)

    def state() -> dict[str, Any]:
        _check(training, done)
        where = {**place, "epoch": len(done.history), "batches": done.steps}
        return _state(training, done) | {"loader": where}

    def save() -> None:
        now = state()
        distributed.on_first(lambda: saver.save(len(done.history) * count + done.steps, now))

    with SavePoints(run.save_every, save) as points:
        while len(done.history) < training.epochs:
            _epoch(run, training, done, points)
            _write_log(folder / LOG, done.history)
            goes_on = len(done.history) < training.epochs
            stops, images = goes_on and not run.watch.ignore_collapse, count * run.config.batch
            look_for_collapse(training.name, training.swav, done.history, images, stops)
            if goes_on:
                points.save()
        if not saver.finished:
            now = state()
            distributed.on_first(lambda: saver.finish(now))
            _write_log(folder / LOG, done.history)
    last = done.history[-1] if done.history else {}
    return {name: value for name, value in last.items() if name not in BESIDE}


def trained_state(
    run: Run[Any], stage: str, epochs: int, averaged: bool = False
) -> dict[str, Tensor]:
    """The weights that a trained stage left, or their running average.

    Raises:
        MissingError: It is not finished.
    """
    path = run.out / stage / checkpoints.NAME
    checkpoint = checkpoints.load(path, run.device, stage)
    if checkpoint["epoch"] < epochs:
        raise MissingError(
            f"{path.parent}: the step {stage!r} has done {checkpoint['epoch']} of {epochs} "
            "epochs. Let it finish first."
        )
    state: dict[str, Tensor] = (
        checkpoint["average"]["weights"] if averaged else checkpoint["state_dict"]
    )
    return state


def _epoch(run: Run[Any], training: Training, done: _Done, points: SavePoints) -> None:
    """Takes the steps that are left of an epoch, and adds its losses to the history."""
    epoch, count = len(done.history), len(training.loader)
    if not done.steps:
        training.loader.set_epoch(epoch)
    what = f"{training.name} {epoch + 1}/{training.epochs}"
    batches = progress(on_device(training.loader, run.device), what, count, first=done.steps)
    start, looks = time.perf_counter() - done.seconds, _Looks(run, training, done)
    for batch in timed(points.waiting(batches), done.waited):
        iteration = epoch * count + done.steps
        rate = training.schedule(iteration, training.epochs * count)
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        training.optimizer.zero_grad()
        generator = seeded(run.config.seed, training.name, iteration)
        for name, loss in training.step(batch, generator, iteration).items():
            sums = done.sums.get(name, torch.zeros((), device=loss.device))
            done.sums[name] = sums + loss.detach()
        average_gradients(_trained(training.optimizer))
        training.optimizer.step()
        if training.average is not None:
            training.average.update()
        done.steps += 1
        done.seconds = time.perf_counter() - start
        if done.steps < count:  # the last one is saved with its epoch
            if done.steps % LOOK == 0:
                looks.look(rate)
            points.passed()
    _check(training, done)
    _end_epoch(run, training, done, rate)


def _end_epoch(run: Run[Any], training: Training, done: _Done, rate: float) -> None:
    """Adds the row of an epoch to the history, and tells it."""
    epoch, count = len(done.history) + 1, len(training.loader)
    found = means(_over_ranks(done.sums), count, training.swav)
    if training.after_epoch is not None:
        found |= training.after_epoch(epoch)
    said = ", ".join(f"{name} {value:.3f}" for name, value in found.items())
    row: dict[str, Any] = {"stage": training.name}
    row |= {"epoch": epoch, "step": epoch * count, **found, "rate": rate}
    row |= measured(count * run.config.batch, done.seconds, done.waiting, run.device)
    log.info(
        "%s: epoch %d of %d, %s, %.0f s, %.0f images/s, %.0f %% of it waiting",
        *(training.name, epoch, training.epochs, said, done.seconds),
        *(row["images_per_second"], 100 * row["waiting"]),
    )
    done.history.append(row)
    done.steps, done.sums, done.seconds, done.waiting = 0, {}, 0.0, 0.0
    if run.watch.on_log is not None and distributed.is_first():
        run.watch.on_log(dict(row))


class _Looks:
    """Looks within an epoch: at numbers that are none, and at rows for who watches.

    Such a row is of the steps since the last one in this process; it is not kept.
    """

    def __init__(self, run: Run[Any], training: Training, done: _Done) -> None:
        self._run, self._training, self._done = run, training, done
        self._mark()

    def look(self, rate: float) -> None:
        _check(self._training, self._done)
        if self._run.watch.on_log is None:
            return
        done, training = self._done, self._training
        steps, sums, seconds, waiting = self._before
        new = {name: total - sums.get(name, 0.0) for name, total in done.sums.items()}
        found = means(_over_ranks(new), done.steps - steps, training.swav)
        step = len(done.history) * len(training.loader) + done.steps
        row: dict[str, Any] = {"stage": training.name, "step": step, **found, "rate": rate}
        images = (done.steps - steps) * self._run.config.batch
        row |= measured(images, done.seconds - seconds, done.waiting - waiting, self._run.device)
        self._mark()
        if distributed.is_first():
            self._run.watch.on_log(row)

    def _mark(self) -> None:
        done = self._done
        self._before = (done.steps, dict(done.sums), done.seconds, done.waiting)


def _check(training: Training, done: _Done) -> None:
    """Refuses losses and weights that are no numbers: no checkpoint holds any."""
    values = [*done.sums.values(), *training.network.state_dict().values()]
    values = [value for value in values if value.is_floating_point()]
    # The sum of sizes is no number when a value is none; this waits for a GPU once, not for each.
    if bool(torch.stack(torch._foreach_norm(values, 1)).isfinite().all()):
        return
    raise TrainingError(
        f"{training.name}: the loss is no longer a number at epoch {len(done.history) + 1}, step "
        f"{done.steps}. The last good checkpoint is kept; try {training.advice}."
    )


def _state(training: Training, done: _Done) -> dict[str, Any]:
    average = {} if training.average is None else {"average": training.average.state_dict()}
    return average | {
        "state_dict": training.network.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "memory": {
            name: distributed.interleaved(value, 1) for name, value in training.memory.items()
        },
        "history": done.history,
        "epoch": len(done.history),
        "sums": _over_ranks(done.sums),
        "seconds": done.seconds,
        "waiting": done.waiting,
    }


def _resume(run: Run[Any], training: Training, saver: checkpoints.Saver) -> _Done:
    alone = distributed.world() == 1  # what is sent to other ranks lies in host memory
    place = run.device if alone else torch.device("cpu")
    state, saver.finished = distributed.on_first(lambda: (saver.newest(place), saver.finished))
    if state is None:
        return _Done()
    training.network.load_state_dict(state["state_dict"])
    training.optimizer.load_state_dict(state["optimizer"])
    if training.average is not None:
        training.average.load_state_dict(state["average"])
    for name, value in training.memory.items():
        value.copy_(distributed.own_part(state["memory"][name], 1))
    if "loader" not in state:  # of an older version: at the end of an epoch
        return _Done(state["history"])
    training.loader.load_state_dict(state["loader"])
    steps = state["loader"]["batches"]
    sums = {name: total.to(run.device) for name, total in state["sums"].items()}
    waiting = state.get("waiting", 0.0)  # older versions did not measure it
    return _Done(state["history"], steps, sums, state["seconds"], waiting)


def _trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [value for group in optimizer.param_groups for value in group["params"]]


def _over_ranks(sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The means of every loss over the ranks, as many samples each; one rank's are its own."""
    count = distributed.world()
    return {name: distributed.add_up(total.clone()) / count for name, total in sums.items()}


def _write_log(path: Path, history: list[dict[str, Any]]) -> None:
    if distributed.is_first():
        write_file(path, "".join(json.dumps(row) + "\n" for row in history))
