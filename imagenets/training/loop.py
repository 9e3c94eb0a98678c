"""The one training loop: resumes, sets the rate, steps, logs, and keeps a checkpoint an epoch."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagenets.core.files import write_file
from imagenets.core.log import progress
from imagenets.data.loader import Batch, Loader, on_device
from imagenets.errors import MissingError, TrainingError
from imagenets.training import checkpoints
from imagenets.training.run import Run, seeded

log = logging.getLogger(__name__)

Step = Callable[[Batch, torch.Generator, int], Mapping[str, Tensor]]
"""(batch, generator, iteration) -> losses; runs backward itself. The one to watch is `loss`."""

LOG = "log.jsonl"
"""What a trained stage logs: one JSON object an epoch."""


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
        memory: Further tensors that belong to the state, changed in place (the queue).
    """

    name: str
    epochs: int
    loader: Loader
    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Callable[[int, int], float]
    step: Step
    memory: dict[str, Tensor] = field(default_factory=dict)


def train(run: Run[Any], training: Training) -> dict[str, float]:
    """Trains what is not trained yet; leaves `checkpoint.pt` and `log.jsonl` in the stage's folder.

    Returns:
        The mean losses of the last epoch.

    Raises:
        TrainingError: The loss is no longer a number.
    """
    path = run.folder(training.name) / checkpoints.NAME
    history = _resume(run, path, training)
    for epoch in range(len(history), training.epochs):
        history.append(_epoch(run, training, epoch))
        _keep(path, training, history)
    if not path.is_file():  # no epochs were asked for
        _keep(path, training, history)
    last = history[-1] if history else {}
    return {name: value for name, value in last.items() if name not in ("epoch", "seconds")}


def trained_state(run: Run[Any], stage: str, epochs: int) -> dict[str, Tensor]:
    """The weights that a trained stage left.

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
    state: dict[str, Tensor] = checkpoint["state_dict"]
    return state


def _epoch(run: Run[Any], training: Training, epoch: int) -> dict[str, float]:
    training.loader.set_epoch(epoch)
    count = len(training.loader)
    start = time.perf_counter()
    sums: dict[str, Tensor] = {}
    what = f"{training.name} {epoch + 1}/{training.epochs}"
    batches: Iterable[Batch] = on_device(training.loader, run.device)
    for number, batch in enumerate(progress(batches, what, count)):
        iteration = epoch * count + number
        rate = training.schedule(iteration, training.epochs * count)
        for group in training.optimizer.param_groups:
            group["lr"] = rate
        training.optimizer.zero_grad()
        generator = seeded(run.config.seed, training.name, iteration)
        for name, loss in training.step(batch, generator, iteration).items():
            sums[name] = sums.get(name, torch.zeros((), device=loss.device)) + loss.detach()
        training.optimizer.step()
    row = {name: total.item() / count for name, total in sums.items()}
    seconds = time.perf_counter() - start
    losses = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
    log.info(
        "%s: epoch %d of %d, %s, %.0f s", training.name, epoch + 1, training.epochs, losses, seconds
    )
    if not all(map(math.isfinite, row.values())):
        raise TrainingError(
            f"{training.name}: the loss is no longer a number at epoch {epoch + 1}. The last good "
            "epoch is kept; try another --seed or a lower rate."
        )
    return {"epoch": epoch + 1, **row, "seconds": seconds}


def _keep(path: Path, training: Training, history: list[dict[str, float]]) -> None:
    state = {
        "state_dict": training.network.state_dict(),
        "optimizer": training.optimizer.state_dict(),
        "memory": training.memory,
        "history": history,
        "epoch": len(history),
    }
    checkpoints.save(path, state)
    write_file(path.with_name(LOG), "".join(json.dumps(row) + "\n" for row in history))


def _resume(run: Run[Any], path: Path, training: Training) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    checkpoint = checkpoints.load(path, run.device, training.name)
    training.network.load_state_dict(checkpoint["state_dict"])
    training.optimizer.load_state_dict(checkpoint["optimizer"])
    for name, value in training.memory.items():
        value.copy_(checkpoint["memory"][name])
    history: list[dict[str, float]] = checkpoint["history"]
    return history
