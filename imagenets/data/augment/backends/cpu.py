"""All views of a batch on the CPU: one compiled loop, shared out among threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imagenets.core import simd
from imagenets.core.jit import compiled_for, inlined, types
from imagenets.data.augment.backends import Target, blur
from imagenets.data.augment.backends import color as colour
from imagenets.data.augment.params import Params
from imagenets.pixels import resample_loops
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import filter_code
from imagenets.pixels.resample_loops import resize_at

SHARE = 4
"""Views that a thread takes at a time."""


@inlined()
def _normalise(view: Any, scale: Any, bias: Any, interleave: bool, out: Any) -> None:
    """Writes 3 x P bytes as float32, as planes or interleaved."""
    pixels = view.shape[1]
    if interleave:
        for i in range(pixels):
            for channel in range(3):
                out[3 * i + channel] = view[channel, i] * scale[channel] + bias[channel]
    else:
        for channel in range(3):
            factor, shift = scale[channel], bias[channel]
            source, target = view[channel], out[channel * pixels :]
            for i in range(pixels):
                target[i] = source[i] * factor + shift


class Drawn(NamedTuple):
    """The parameters of many views, a row for each; as `Params`."""

    boxes: Any
    flips: Any
    jitters: Any
    factors: Any
    order: Any
    greys: Any
    solarises: Any
    sigmas: Any


class Output(NamedTuple):
    """How views are resized and written: the filter's number, 3 scales and 3 biases, the layout."""

    kind: int
    scale: Any
    bias: Any
    interleave: bool


FLAGS, BYTES, FLOATS = types.boolean[::1], types.uint8[:, ::1], types.float32[::1]
ROWS, FLOAT_ROWS = types.int64[:, ::1], types.float32[:, ::1]
# Numba has no types
DRAWN = types.NamedTuple(  # type: ignore[no-untyped-call]
    (ROWS, FLAGS, FLAGS, FLOAT_ROWS, ROWS, FLAGS, FLAGS, FLOATS), Drawn
)
OUTPUT = types.NamedTuple(  # type: ignore[no-untyped-call]
    (types.int64, FLOATS, FLOATS, types.boolean), Output
)


@compiled_for(
    types.void(types.int64, types.int64, ROWS, DRAWN, OUTPUT, FLOAT_ROWS, BYTES, BYTES),
    calls=[simd, resample_loops, colour, blur],
)
def _make(
    start: int,
    stop: int,
    images: Any,
    drawn: Drawn,
    output: Output,
    out: Any,
    lines: Any,
    pixels: Any,
) -> None:
    """Makes views `start` to `stop`; view v is of image v % N.

    A view is worked on in one place that stays in the cache, and written once, as float32.
    `lines` (3 S x S) and `pixels` (3 x S S) are this place, seen in two ways.
    """
    for v in range(start, stop):
        address, stride, width, height = images[v % images.shape[0]]
        left, top, wide, high = drawn.boxes[v]
        place = (left, top, wide, high, drawn.flips[v], output.kind, True, lines)
        resize_at(address, stride, width, height, *place)
        if drawn.jitters[v]:
            colour.jitter(pixels, drawn.factors[v], drawn.order[v])
        if drawn.greys[v]:
            colour.grey(pixels)
        if drawn.solarises[v]:
            colour.solarise(pixels)
        if drawn.sigmas[v] > 0:
            blur.blur(lines, drawn.sigmas[v])
        _normalise(pixels, output.scale, output.bias, output.interleave, out[v])


Source = tuple[NDArray[np.int64], list[NDArray[np.uint8]]]
"""Address, row stride, width and height of each image, and the arrays that own the memory."""


Arguments = tuple[NDArray[np.int64], Drawn, Output, NDArray[np.float32]]
"""Images as `sources` finds them, the views of one group, and where they go, a row for each."""


def sources(images: RaggedBatch | Sequence[Tensor]) -> Source:
    """Finds the images in memory; those that are not interleaved are copied."""
    held = []
    for index in range(len(images)):
        image = images.image(index) if isinstance(images, RaggedBatch) else images[index]
        held.append(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    rows = [(a.__array_interface__["data"][0], a.strides[0], a.shape[1], a.shape[0]) for a in held]
    return np.array(rows, np.int64), held


def views(
    images: RaggedBatch | Sequence[Tensor], groups: Sequence[Params], target: Target
) -> list[Tensor]:
    """Makes the views of several groups; threads go from group to group without a pause.

    Args:
        images: N uint8 images on the CPU.
        groups: Parameters of V x N views each.
        target: How they are handed over.

    Returns:
        For each group V x N x 3 x S x S.
    """
    places, held = sources(images)
    results, work = [], []
    for group, params in enumerate(groups):
        count, size = params.flips.numel(), params.size
        last = target.channels_last
        shape = (size, size, 3) if last else (3, size, size)
        result = target.out[group] if target.out else _empty((*params.flips.shape, *shape))
        flat = result.permute(0, 1, 3, 4, 2) if target.out and last else result
        kind = filter_code(params.mode, params.antialias)
        output = Output(kind, target.scale.numpy(), target.bias.numpy(), last)
        arguments = places, _rows(params), output, flat.view(count, -1).numpy()
        starts = range(0, count, SHARE)
        work += [(first, min(first + SHARE, count), arguments, size) for first in starts]
        results.append(flat.permute(0, 1, 4, 2, 3) if last else flat)
    if target.threads == 1:
        for part in work:
            _work(part)
    else:
        with ThreadPoolExecutor(target.threads) as pool:
            list(pool.map(_work, work))
    del held  # until here the addresses were in use
    return [result.to(target.dtype) for result in results]


def _empty(shape: tuple[int, ...]) -> Tensor:
    """Room for results; numpy asks for huge pages, which saves half the time of writing it."""
    return torch.from_numpy(np.empty(shape, np.float32))


def _work(part: tuple[int, int, Arguments, int]) -> None:
    start, stop, arguments, size = part
    lines = np.empty((3 * size, size), np.uint8)
    _make(start, stop, *arguments, lines, lines.reshape(3, -1))


def _rows(params: Params) -> Drawn:
    """The parameters with one row for each of V x N views."""
    tensors = (getattr(params, name) for name in Drawn._fields)
    return Drawn(*(tensor.flatten(0, 1).contiguous().numpy() for tensor in tensors))
