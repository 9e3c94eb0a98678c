"""The compiled loops that resize label maps: every pixel of the result is one of the map."""

from __future__ import annotations

from typing import Any

from imagenets.core.jit import compiled_for, types

_LONG = types.int64


@compiled_for(types.void(_LONG, _LONG, _LONG, _LONG, _LONG[::1]))
def nearest_places(start: int, length: int, outputs: int, skip: int, places: Any) -> None:
    """Fills which input pixel each output pixel is.

    Args:
        start: First of the input pixels that are resized.
        length: Their number.
        outputs: How many they become.
        skip: Output pixels before the first one that is wanted.
        places: As many as are wanted; written.
    """
    step = length / outputs
    x = start + step * 0.5  # summed step by step, as Pillow does: ties fall the same way
    for o in range(skip + places.shape[0]):
        if o >= skip:
            places[o - skip] = int(x)
        x += step


@compiled_for(
    *(
        types.void(
            types.Array(kind, 2, "A", readonly=True),
            *(types.boolean, _LONG[::1], _LONG[::1], kind[:, ::1]),
        )
        for kind in (types.uint8, types.uint16, types.int16, types.int64)
    ),
)
def nearest_at(source: Any, flip: bool, xs: Any, ys: Any, out: Any) -> None:
    lines, columns = out.shape
    for o in range(lines):
        line = source[ys[o]]
        if flip:
            for i in range(columns):
                out[o, columns - 1 - i] = line[xs[i]]
        else:
            for i in range(columns):
                out[o, i] = line[xs[i]]
