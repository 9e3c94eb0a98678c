"""What all steps share: the folder of a run, its checkpoints, and the one training loop."""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader import Batch, Loader
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.methods.pass_.presets import Config, Training
from imagenets.training.optimizers import LarcSGD, cosine_rate

T = TypeVar("T")
N = TypeVar("N", bound=nn.Module)

Step = Callable[[Batch, torch.Generator, int], dict[str, Tensor]]
"""(batch, generator, iteration) -> losses; runs backward itself. The first is the total."""


@dataclass(frozen=True)
class Run:
    """One training run: where its data lies, where its files go, and with which settings.

    Attributes:
        root: The prepared set.
        tier: Its tier.
        out: The folder of the run.
        config: The settings.
        device: Where the networks run.
        workers: Processes that decode images.
    """

    root: Path
    tier: str
    out: Path
    config: Config
    device: torch.device
    workers: int = 0

    def folder(self, stage: str) -> Path:
        """The folder of one step, made if need be."""
        folder = self.out / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def dataset(self, split: str, masks: bool = False) -> ImageNetS:
        """One split of the prepared set."""
        return ImageNetS(self.root, split, self.tier, masks=masks)

    def loader(self, dataset: ImageNetS, size: int | None = None, *, train: bool = False) -> Loader:
        """Batches of a data set: shuffled and all full for training, else in order and all."""
        return Loader(
            dataset,
            size or self.config.batch,
            seed=self.config.seed,
            shuffle=train,
            drop_last=train,
            workers=self.workers,
        )

    def autocast(self) -> AbstractContextManager[Any]:
        """Half precision on a GPU, where it is faster; nothing on the CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def place(self, network: N) -> N:
        """Moves a network to the device, on a GPU in the layout its convolutions like best."""
        network = network.to(self.device)
        if self.device.type == "cuda":
            for parameter in network.parameters():
                if parameter.ndim == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return network


def pick_device(name: str) -> torch.device:
    """Turns `auto`, `cpu`, `cuda` or `cuda:1` into a device that is there.

    Raises:
        UsageError: There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name}: not usable here ({reason}). Try auto.") from error
    return device


def seeded(*keys: int | str) -> torch.Generator:
    """A generator of its own for each set of keys, so that nothing depends on what ran before."""
    return torch.Generator().manual_seed(zlib.crc32(repr(keys).encode()))


def progress(rows: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Shows a bar on a terminal, nothing elsewhere."""
    return iter(tqdm(rows, what, total, disable=None, leave=False, dynamic_ncols=True))


def say(text: str) -> None:
    """Prints a line of log to stderr, above any progress bar."""
    tqdm.write(text, file=sys.stderr)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON under a temporary name and renames it."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value, indent=1) + "\n", "utf-8")
    part.replace(path)


def save(path: Path, value: dict[str, Any]) -> None:
    """Writes a checkpoint under a temporary name, then renames it: a kill loses nothing."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load(path: Path, device: torch.device, made_by: str) -> dict[str, Any]:
    """Reads a checkpoint, tensors and plain values only.

    Raises:
        MissingError: It is not there.
        CorruptError: It cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"{path}: not there. Run the step {made_by!r} first (--stages).")
    try:
        value: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises what its unpickler and zip reader do
        raise CorruptError(
            f"{path}: not a readable checkpoint ({type(error).__name__}). "
            f"Delete it; the step {made_by!r} then starts anew."
        ) from error
    return value


def weights(run: Run, stage: str) -> dict[str, Tensor]:
    """The weights that a finished training step left."""
    checkpoint = load(run.out / stage / "checkpoint.pt", run.device, stage)
    epochs: int = getattr(run.config, stage).epochs
    if checkpoint["epoch"] < epochs:
        raise MissingError(
            f"{run.out / stage}: the step {stage!r} has done {checkpoint['epoch']} of {epochs} "
            "epochs. Let it finish first."
        )
    state: dict[str, Tensor] = checkpoint["state_dict"]
    return state


def fit(
    run: Run,
    stage: str,
    loader: Loader,
    network: nn.Module,
    parameters: Iterable[Tensor],
    step: Step,
    memory: dict[str, Tensor] | None = None,
) -> None:
    """Trains a network: resumes, sets the rate, steps, logs, and saves after each epoch.

    Args:
        run: The run.
        stage: Which step; its settings stand under this name in the config.
        loader: The training batches.
        network: What is saved, already on the device.
        parameters: What is trained.
        step: Computes the losses of a batch and their gradients.
        memory: Further tensors that belong to the state, changed in place (the queue).
    """
    training: Training = getattr(run.config, stage)
    if training.epochs and not len(loader):
        raise UsageError(
            f"the training split has fewer images than one batch of {run.config.batch}: "
            "choose a smaller --batch-size."
        )
    optimizer = LarcSGD(parameters, training.base_rate)
    path = run.folder(stage) / "checkpoint.pt"
    memory = memory or {}
    history = _resume(run, path, stage, network, optimizer, memory)
    if len(history) >= training.epochs and path.is_file():
        say(f"{stage}: all {training.epochs} epochs are done")
        return
    for epoch in range(len(history), training.epochs):
        history.append(_epoch(run, stage, epoch, training, loader, optimizer, step))
        _keep(path, network, optimizer, memory, history)
    if not training.epochs:
        _keep(path, network, optimizer, memory, history)


def _epoch(
    run: Run,
    stage: str,
    epoch: int,
    training: Training,
    loader: Loader,
    optimizer: LarcSGD,
    step: Step,
) -> dict[str, float]:
    loader.set_epoch(epoch)
    start = time.perf_counter()
    sums: dict[str, Tensor] = {}
    what = f"{stage} {epoch + 1}/{training.epochs}"
    for i, batch in enumerate(progress(loader, what, len(loader))):
        iteration = epoch * len(loader) + i
        rate = cosine_rate(
            iteration, training.epochs * len(loader), training.base_rate, training.final_rate
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        for name, loss in step(batch, seeded(run.config.seed, stage, iteration), iteration).items():
            sums[name] = sums.get(name, torch.zeros((), device=loss.device)) + loss.detach()
        optimizer.step()
    seconds = time.perf_counter() - start
    row = {name: total.item() / len(loader) for name, total in sums.items()}
    losses = ", ".join(f"{name} {value:.3f}" for name, value in row.items())
    say(f"{stage}: epoch {epoch + 1} of {training.epochs}, {losses}, {seconds:.0f} s")
    if not all(map(torch.isfinite, map(torch.tensor, row.values()))):
        raise CorruptError(
            f"{stage}: the loss is no longer a number at epoch {epoch + 1}. The last good epoch is "
            "kept; try another --seed or a lower rate."
        )
    return row | {"seconds": seconds}


def _keep(
    path: Path,
    network: nn.Module,
    optimizer: LarcSGD,
    memory: dict[str, Tensor],
    history: list[dict[str, float]],
) -> None:
    save(
        path,
        {
            "state_dict": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "memory": memory,
            "history": history,
            "epoch": len(history),
        },
    )
    write_json(path.with_name("history.json"), history)


def _resume(
    run: Run,
    path: Path,
    stage: str,
    network: nn.Module,
    optimizer: LarcSGD,
    memory: dict[str, Tensor],
) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    checkpoint = load(path, run.device, stage)
    network.load_state_dict(checkpoint["state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    for name, value in memory.items():
        value.copy_(checkpoint["memory"][name])
    history: list[dict[str, float]] = checkpoint["history"]
    return history
