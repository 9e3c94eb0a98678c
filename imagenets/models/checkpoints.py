"""The one way to bring weights into a network: by name and shape, with a report, never by luck."""

from __future__ import annotations

import logging
import pickle
import re
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.errors import CorruptError, DependencyError, MissingError, UsageError
from imagenets.models.naming import HEADS, KEYS, NAMINGS, POSITIONS, PREFIXES

log = logging.getLogger(__name__)

_SHOWN = 5
_COUNTERS = "num_batches_tracked"  # of batch norms: files of old versions of torch lack it


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the weights of a file.

    Attributes:
        matched: Names in the network that were filled.
        missing: Names in the network that were not.
        unused: Names in the file that the network has not, or has with another shape.
        reshaped: Those of `matched` whose shapes differ: by dimensions of size 1, as a linear
            layer's in a 1x1 convolution, or position embeddings, resized to the network's grid.
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
                shown = _parts(names) if what == "unused" else _some(names)
                parts.append(f"{len(names)} {what} ({shown})")
        return ", ".join(parts)


def plain_name(name: str) -> str:
    """Takes away the prefixes that wrappers and heads put before a weight's name.

    Args:
        name: As in a state dict, such as "module.backbone.conv1.weight".

    Returns:
        The name without any of `naming.PREFIXES` at its start, such as "conv1.weight".
    """
    while prefix := next((prefix for prefix in PREFIXES if name.startswith(prefix)), None):
        name = name[len(prefix) :]
    return name


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Gives the weights of a network under the published names: the backbone's stand bare.

    Args:
        network: Any; its prefixes are those of `plain_name`.

    Returns:
        Name -> tensor, of the shapes and dtypes that the network has. They are no copies, so
        changing them changes the network.
    """
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
        network: Changed in place, but not where an error is raised. What it holds as `backbone`
            must be filled completely; of a network without one, everything must but
            `naming.HEADS`.
        state: Name -> tensor, as any of `naming.NAMINGS` has them, with or without the usual
            prefixes.
        source: Where they come from, for messages.
        allow_partial: Accept a backbone that is filled in part; what is missing stays as it is.

    Returns:
        What matched and what did not; also logged.

    Raises:
        UsageError: Weights of the backbone are missing, have another shape, or are there twice.
    """
    own = network.state_dict()
    given = _by_own_name(state, {plain_name(name) for name in own}, source)
    fits, missing, reshaped, used = {}, [], [], set()
    for name, value in own.items():
        found = given.get(plain_name(name), "")
        fitting = _fitted(plain_name(name), state[found], value) if found else None
        if fitting is None:
            missing.append(name)
            continue
        fits[name] = fitting
        used.add(found)
        if state[found].shape != value.shape:
            reshaped.append(name)
    unused = tuple(name for name in state if name not in used)
    report = LoadReport(tuple(fits), tuple(missing), unused, tuple(reshaped))
    log.debug("%s: %s", source, report)
    if not allow_partial:
        _refuse_gaps(network, report, source)
    with torch.no_grad():
        for name, fitting in fits.items():
            own[name].copy_(fitting)
    return report


def read_state(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """Reads the weights of a checkpoint file: a state dict, or one under one of `naming.KEYS`.

    Nothing but tensors and plain values is unpickled. A name that ends in `.safetensors` is read as
    such a file.

    Args:
        path: Of the file.
        device: Where the tensors go.

    Returns:
        Name -> tensor, with the names, shapes and dtypes of the file.

    Raises:
        MissingError: There is no such file.
        CorruptError: It cannot be read, or holds no weights.
        DependencyError: It is a `.safetensors` file, and safetensors is not installed.
    """
    safe = path.suffix == ".safetensors"
    content = _read_safetensors(path, device) if safe else read_checkpoint(path, device)
    for key in KEYS:
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise CorruptError(f"{path}: holds no weights. Give a checkpoint with a state dict.")
    return state


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Reads a file of `torch.save` that holds a dict: tensors and plain values only.

    The options of a training may be in it as an `argparse.Namespace`.

    Args:
        path: Of the file.
        device: Where the tensors go.

    Returns:
        The dict as the file holds it.

    Raises:
        MissingError: There is no such file.
        CorruptError: It cannot be read, holds something else than a dict, or things that would run
            code when they are unpickled.
    """
    if not path.is_file():
        raise MissingError(f"{path}: not there.")
    try:
        with torch.serialization.safe_globals([Namespace]):  # the options of a training
            content = torch.load(path, map_location=device, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = type(error).__name__  # torch's own text advises to load what may run code
        raise CorruptError(f"{path}: not a readable checkpoint ({reason}).") from error
    if not isinstance(content, dict):
        raise CorruptError(f"{path}: holds a {type(content).__name__}, not a dict of weights.")
    return content


def _read_safetensors(path: Path, device: torch.device | str) -> dict[str, Any]:
    if not path.is_file():
        raise MissingError(f"{path}: not there.")
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise DependencyError(
            f"{path}: needs safetensors: pip install 'imagenets[safetensors]' (or pip install "
            "safetensors)."
        ) from error
    try:
        return dict(load_file(path, str(device)))
    except (OSError, SafetensorError) as error:
        raise CorruptError(f"{path}: not a readable checkpoint ({error}).") from error


def _by_own_name(state: Mapping[str, Tensor], own: Set[str], source: str) -> dict[str, str]:
    """The network's name of a weight, without prefixes -> its name in the file.

    A weight under the network's own name goes before one that is renamed to it.

    Raises:
        UsageError: Two weights of the file have one name but for their prefixes.
    """
    plain: dict[str, str] = {}
    for name in state:
        other = plain.setdefault(plain_name(name), name)
        if other != name and plain_name(name) in own:
            raise UsageError(
                f"{source}: holds {other} and {name}, which are the same weight of this network. "
                "Give a file with one of them."
            )
    renamed: dict[str, str] = {}
    for name, theirs in plain.items():
        for naming in NAMINGS if name not in own else ():
            found = name
            for pattern, new in naming.renames:
                found = re.sub(pattern, new, found)
            if found in own:
                renamed.setdefault(found, theirs)
                break
    return renamed | plain


def _fitted(name: str, given: Tensor, own: Tensor) -> Tensor | None:
    """A weight in the shape that a network has; None where it cannot be brought to it."""
    if [n for n in given.shape if n != 1] == [n for n in own.shape if n != 1]:
        return given.reshape(own.shape)
    return _regridded(given, own) if name in POSITIONS else None


def _regridded(given: Tensor, own: Tensor) -> Tensor | None:
    """A position embedding of another grid, resized as the published ViTs do when they run.

    Bicubic, by factors a little above the true ones: (side + 0.1) / side of the file's grid.
    """
    if given.ndim != 3 or own.ndim != 3 or given.shape[::2] != own.shape[::2]:
        return None
    sides = isqrt(given.shape[1]), isqrt(own.shape[1])
    first, own_first = given.shape[1] - sides[0] ** 2, own.shape[1] - sides[1] ** 2
    if first != own_first or 0 in sides:
        return None
    grid = given[:, first:].transpose(1, 2).unflatten(2, (sides[0], sides[0])).float()
    factor = (sides[1] + 0.1) / sides[0]
    resized = F.interpolate(grid, scale_factor=factor, mode="bicubic", align_corners=False)
    return torch.cat([given[:, :first].float(), resized.flatten(2).transpose(1, 2)], 1)


def _refuse_gaps(network: nn.Module, report: LoadReport, source: str) -> None:
    prefix = "backbone." if hasattr(network, "backbone") else ""
    gaps = [
        name
        for name in report.missing
        if name.startswith(prefix)
        and not name.endswith(_COUNTERS)
        and not plain_name(name).startswith(HEADS)
    ]
    if gaps:
        raise UsageError(
            f"{source}: {len(gaps)} weights of the backbone are missing or have another shape "
            f"({_some(gaps)}); the file holds {_some(report.unused) or 'nothing else'}. Give the "
            "weights of this backbone, or allow partial loading."
        )


def _parts(names: tuple[str, ...]) -> str:
    """The parts of a network that names belong to, with how many of each."""
    counts = Counter(plain_name(name).split(".")[0] for name in names)
    return ", ".join(f"{part}: {count}" for part, count in counts.items())


def _some(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
