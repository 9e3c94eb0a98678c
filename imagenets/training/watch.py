"""What a run tells of its training: rows of the log, who is given them, and signs of a collapse."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from imagenets.core.distributed import is_first
from imagenets.errors import DependencyError, TrainingError

log = logging.getLogger(__name__)

T = TypeVar("T")

OnLog = Callable[[dict[str, Any]], None]
"""Is given each row of the log; on the first rank."""

MEASURED = ("seconds", "images_per_second", "waiting", "memory")
"""Parts of a row that differ from run to run; all others follow from data and settings."""

BESIDE = frozenset({"stage", "epoch", "step", "rate", "ln_M", "entropy", "used", *MEASURED})
"""Parts of a row that are no losses."""

COUNTS = "prototypes"
"""What a step calls how often each prototype was the nearest, beside its losses."""

NEAR = 0.005
"""A SwAV loss is at ln M when it is no farther from it than this share."""

FEW = 0.1
"""Fewer prototypes in use than this share are too few."""

PATIENCE = 5
"""Epochs in a row with a loss of ln M after which a run is stopped."""


@dataclass(frozen=True)
class Watch:
    """Who watches a run.

    Attributes:
        on_log: Is given the rows of `log.jsonl` when they are made, and one every 100 steps; on
            the first rank alone.
        ignore_collapse: Whether a run goes on whose loss stays at ln M.
    """

    on_log: OnLog | None = None
    ignore_collapse: bool = False


ALONE = Watch()
"""Nobody watches."""


@dataclass(frozen=True)
class Swav:
    """What in a stage is trained with SwAV's loss.

    Attributes:
        loss: Name of that loss among those of a step.
        prototypes: How many there are, M. When all images share them alike the loss is ln M.
        advice: What to try when that happens, or when few of them are used.
    """

    loss: str
    prototypes: int
    advice: str


def timed(rows: Iterable[T], waited: Callable[[float], None]) -> Iterator[T]:
    """Gives the same rows, and tells how long each was waited for.

    Args:
        rows: What a loop runs over, such as batches.
        waited: Is called with the seconds before each row, and once more at the end.

    Yields:
        The rows.
    """
    coming = iter(rows)
    while True:
        begun = time.perf_counter()
        try:
            row = next(coming)
        except StopIteration:
            return
        finally:
            waited(time.perf_counter() - begun)
        yield row


def means(sums: Mapping[str, Tensor], steps: int, swav: Swav | None) -> dict[str, float]:
    """What the sums of some steps say: mean losses, and how prototypes were used.

    Args:
        sums: Of losses, scalars, and of `COUNTS`, M numbers.
        steps: So many were summed up.
        swav: Its ln M is put beside the losses.

    Returns:
        The losses by name; `ln_M`; `entropy` of the use of prototypes, 0 to ln M, in nats; the
        share of them `used`, 0 to 1.
    """
    found = {name: total.item() / steps for name, total in sums.items() if not total.ndim}
    if swav is not None:
        found["ln_M"] = math.log(swav.prototypes)
    if COUNTS in sums:
        counts = sums[COUNTS].to("cpu", torch.float64)
        found["entropy"] = torch.special.entr(counts / counts.sum()).sum().item()
        found["used"] = (counts > 0).double().mean().item()
    return found


def measured(images: int, seconds: float, waiting: float, device: torch.device) -> dict[str, float]:
    """What differs from run to run, `MEASURED`.

    Args:
        images: Seen, of all ranks together.
        seconds: That it took.
        waiting: Seconds of these that were spent waiting for batches.
        device: Whose memory counts.

    Returns:
        `seconds`; `images_per_second`; `waiting`, the share of the time; `memory`, bytes at the
        most so far: on a GPU of tensors, else of this process.
    """
    seconds = max(seconds, 1e-9)
    if device.type == "cuda":
        memory = torch.cuda.max_memory_allocated(device)
    else:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        memory = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shares = (images / seconds, min(1.0, waiting / seconds), memory)
    return dict(zip(MEASURED, (seconds, *shares), strict=True))


def look_for_collapse(
    stage: str,
    swav: Swav | None,
    history: Sequence[Mapping[str, Any]],
    images: int,
    stops: bool,
) -> None:
    """Tells of a collapse when the last epoch shows one, and stops where going on is pointless.

    The first epoch shows none: a network that has learned nothing yet is there, too.

    Args:
        stage: Its name.
        swav: What shows it; None: nothing does.
        history: The rows of the finished epochs.
        images: Of an epoch.
        stops: Whether it may stop the run.

    Raises:
        TrainingError: The loss has been at ln M for `PATIENCE` epochs.
    """
    if swav is None or len(history) < 2:
        return
    limit, last = math.log(swav.prototypes), history[-1]
    flat = 0
    for row in reversed(history[1:]):
        if abs(row[swav.loss] - limit) > NEAR * limit:
            break
        flat += 1
    if flat:
        said = (
            f"{stage}: collapse: in epoch {len(history)} the SwAV loss {swav.loss} "
            f"{last[swav.loss]:.3f} is at ln M = {limit:.3f}: all images share the "
            f"{swav.prototypes} prototypes alike, and nothing is learned. Try {swav.advice}."
        )
        if flat >= PATIENCE and stops:
            raise TrainingError(
                f"{said} It has been so for {flat} epochs, so the run ends here; other settings "
                "need another --out. --ignore-collapse goes on."
            )
        if is_first():  # all ranks find the same
            log.warning("%s", said)
    elif is_first() and last.get("used", 1.0) < FEW * min(1.0, images / swav.prototypes):
        log.warning(
            "%s: collapse: in epoch %d only %.1f %% of %d prototypes were the nearest to any "
            "image. Try %s.",
            *(stage, len(history), 100 * last["used"], swav.prototypes, swav.advice),
        )


def tensorboard(folder: Path) -> OnLog:
    """Writes rows for TensorBoard: each number is `stage/name`, over the steps of the stage.

    Args:
        folder: Where event files go; made with the first row.

    Returns:
        What to give as `on_log` of a `Watch`.

    Raises:
        DependencyError: TensorBoard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise DependencyError("--tensorboard: not installed. pip install 'imagenets[tensorboard]'")
    writers: list[Any] = []

    def write(row: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        if not writers:
            writers.append(SummaryWriter(str(folder)))
        for name, value in row.items():
            if name not in ("stage", "step"):
                writers[0].add_scalar(f"{row['stage']}/{name}", value, row["step"])
        writers[0].flush()

    return write
