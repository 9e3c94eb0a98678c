"""Maps and targets as people have them, as arrays that the loops take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError

Array = npt.NDArray[Any]

_SMALL = {np.dtype(kind) for kind in ("?", "i1", "u1", "i2", "u2", "f2", "f4")}
_WIDE = {np.dtype(kind) for kind in ("i4", "u4", "f8")}
_EXACT = 1 << 53
"""Integers up to here are exact in float64."""


@dataclass(frozen=True, slots=True)
class Block:
    """Maps and targets of one shape.

    Attributes:
        first: Number of the first one in its call.
        heat: N x H x W, float32 or float64.
        target: N x H x W, uint8.
    """

    first: int
    heat: Array
    target: npt.NDArray[np.uint8]


def blocks(heat: Any, target: Any, names: list[str] | None) -> list[Block]:
    """Checks what `update` was given.

    Args:
        heat: H x W, N x H x W, N x 1 x H x W, or a list of H x W of any sizes; arrays or tensors.
        target: Likewise.
        names: Of the images; None where they have none.

    Raises:
        UsageError: Shapes or types do not fit.
    """
    maps, targets = _batches(heat, "map"), _batches(target, "target")
    if [len(m) for m in maps] != [len(t) for t in targets] and len(maps) == len(targets) == 1:
        raise UsageError(f"maps of shape {maps[0].shape}, targets of shape {targets[0].shape}.")
    if len(maps) != len(targets):
        maps, targets = _singly(maps), _singly(targets)
    if len(maps) != len(targets):
        raise UsageError(f"{len(maps)} maps for {len(targets)} targets.")
    found, first = [], 0
    for m, t in zip(maps, targets, strict=True):
        which = called(first, names) if len(m) == 1 else f"images {first} to {first + len(m) - 1}"
        if m.shape != t.shape:
            raise UsageError(
                f"{which}: the map has shape {m.shape[1:]}, its target {t.shape[1:]} (H x W). "
                "Resize the map to the target, or bring both into one view."
            )
        found.append(Block(first, _floats(m, which), _target(t, which)))
        first += len(m)
    return found


def called(number: int, names: list[str] | None) -> str:
    """What to call an image in an error."""
    return names[number] if names and number < len(names) else f"image {number} of this call"


def _batches(value: Any, kind: str) -> list[Array]:
    """The N x H x W arrays in a value."""
    if isinstance(value, (list, tuple)):
        parts = []
        for item in value:
            array = _array(item)
            if array.ndim != 2:
                raise UsageError(f"a {kind} in a list must be H x W, this has {array.shape}.")
            parts.append(array[None])
        return parts
    array = _array(value)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim not in (2, 3):
        raise UsageError(
            f"a {kind} must be H x W, a batch N x H x W; this has shape {array.shape}."
        )
    return [array[None] if array.ndim == 2 else array]


def _singly(parts: list[Array]) -> list[Array]:
    return list(_each(parts))


def _each(parts: list[Array]) -> Iterator[Array]:
    for part in parts:
        yield from (part[k : k + 1] for k in range(len(part)))


def _array(value: Any) -> Array:
    if hasattr(value, "detach"):  # a torch tensor; torch itself is not needed here
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # NumPy has no such type; float32 holds it
            value = value.float()
        value = value.numpy()
    return np.asarray(value)


def _floats(maps: Array, which: str) -> Array:
    """The same values as float32 where it holds them all, else as float64."""
    kind = maps.dtype.newbyteorder("=")
    if kind in _SMALL or kind.name == "bfloat16":
        return np.ascontiguousarray(maps, np.float32)
    if kind in _WIDE:
        return np.ascontiguousarray(maps, np.float64)
    if maps.dtype.kind in "iu":
        if maps.size and (maps.max() > _EXACT or maps.min() < -_EXACT):
            raise UsageError(f"{which}: the map holds integers beyond 2^53; scale it first.")
        return np.ascontiguousarray(maps, np.float64)
    raise UsageError(f"{which}: a map of type {maps.dtype}; give floats of up to 64 bits, or ints.")


def _target(target: Array, which: str) -> npt.NDArray[np.uint8]:
    if target.dtype.kind not in "biu":
        raise UsageError(f"{which}: a target of type {target.dtype}; it must be uint8 (0, 1, 255).")
    if target.dtype.itemsize > 1 or target.dtype.kind == "i":
        odd = target[(target != 0) & (target != 1) & (target != 255)]
        if odd.size:
            raise bad_target(which, int(odd[0]))
    return np.ascontiguousarray(target, np.uint8)


def bad_target(which: str, value: int) -> UsageError:
    """The error for a value that a target must not hold."""
    return UsageError(
        f"{which}: the target holds {value}; it must be 1 (the object), 0 (not) or 255 (ignored). "
        "A mask of ids is no target: compare it with the id of the label."
    )
