"""The one way to bring weights into a network: by name and shape, with a report, never by luck."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imagenets.errors import CorruptError, MissingError, UsageError

log = logging.getLogger(__name__)

PREFIXES = ("module.", "_orig_mod.", "backbone.")
"""What wrappers and heads put before a name: DistributedDataParallel, torch.compile, our heads."""

_SHOWN = 5
_COUNTERS = "num_batches_tracked"  # of batch norms: files of old versions of torch lack it


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the weights of a file.

    Attributes:
        matched: Names in the network that were filled.
        missing: Names in the network that were not.
        unused: Names in the file that the network has not, or has with another shape.
        reshaped: Those of `matched` whose values were the same but for dimensions of size 1, as a
            linear layer's in a 1x1 convolution.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} weights taken over"]
        for what in ("missing", "unused", "reshaped"):
            names: tuple[str, ...] = getattr(self, what)
            if names:
                parts.append(f"{len(names)} {what} ({_some(names)})")
        return ", ".join(parts)


def plain_name(name: str) -> str:
    """A weight's name without the prefixes that wrappers and heads put before it."""
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name[len(prefix) :]
    return name


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a network under the published names: those of the backbone stand bare."""
    return {plain_name(name): value for name, value in network.state_dict().items()}


def load_weights(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: str = "the given weights",
    allow_partial: bool = False,
) -> LoadReport:
    """Fills a network with weights of the same names and shapes.

    Args:
        network: Changed in place. What it holds as `backbone` must be filled completely; of a
            network without one, everything must.
        state: Name -> tensor, with or without the usual prefixes.
        source: Where they come from, for messages.
        allow_partial: Accept a backbone that is filled in part; what is missing stays as it is.

    Returns:
        What matched and what did not; also logged.

    Raises:
        UsageError: Weights of the backbone are missing, or have another shape.
    """
    given = {plain_name(name): (name, value) for name, value in state.items()}
    own = network.state_dict()
    matched, missing, reshaped, used = [], [], [], set()
    with torch.no_grad():
        for name, value in own.items():
            found, tensor = given.get(plain_name(name), ("", None))
            if tensor is None or not _fits(tensor.shape, value.shape):
                missing.append(name)
                continue
            value.copy_(tensor.reshape(value.shape))
            matched.append(name)
            used.add(found)
            if tensor.shape != value.shape:
                reshaped.append(name)
    unused = tuple(name for name in state if name not in used)
    report = LoadReport(tuple(matched), tuple(missing), unused, tuple(reshaped))
    log.debug("%s: %s", source, report)
    if not allow_partial:
        _refuse_gaps(network, report, source)
    return report


def read_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Reads the weights of a checkpoint file: a state dict, or one under `state_dict` or `model`.

    Nothing but tensors and plain values is unpickled.

    Raises:
        MissingError: It is not there.
        CorruptError: It cannot be read, or holds no weights.
    """
    content = read_checkpoint(path, device)
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CorruptError(f"{path}: holds no weights. Give a checkpoint with a state dict.")
    return state


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads a file of `torch.save` that holds a dict: tensors and plain values only.

    Raises:
        MissingError: It is not there.
        CorruptError: It cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"{path}: not there.")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CorruptError(f"{path}: not a readable checkpoint ({reason}).") from error
    if not isinstance(content, dict):
        raise CorruptError(f"{path}: holds a {type(content).__name__}, not a dict of weights.")
    return content


def _fits(given: torch.Size, own: torch.Size) -> bool:
    """Whether two shapes are equal but for dimensions of size 1."""
    return [n for n in given if n != 1] == [n for n in own if n != 1]


def _refuse_gaps(network: nn.Module, report: LoadReport, source: str) -> None:
    prefix = "backbone." if hasattr(network, "backbone") else ""
    gaps = [
        name for name in report.missing if name.startswith(prefix) and not name.endswith(_COUNTERS)
    ]
    if gaps:
        raise UsageError(
            f"{source}: {len(gaps)} weights of the backbone are missing or have another shape "
            f"({_some(gaps)}); the file holds {_some(report.unused) or 'nothing else'}. Give the "
            "weights of this backbone, or allow partial loading."
        )


def _some(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
