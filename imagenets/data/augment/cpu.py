"""All views of a batch on the CPU: one compiled loop, shared out among threads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numba import njit, types
from numpy.typing import NDArray
from torch import Tensor

from imagenets.data.augment import blur, colour
from imagenets.data.augment.params import Params
from imagenets.data.ragged import Ragged
from imagenets.data.resample import FILTERS, resize_at

SHARE = 4
"""Views that a thread takes at a time."""


@njit(
    types.void(
        *(types.int64, types.int64, types.int64[:, ::1], types.int64[:, ::1], types.boolean[::1]),
        *(types.boolean[::1], types.float32[:, ::1], types.int64[:, ::1], types.boolean[::1]),
        *(types.boolean[::1], types.float32[::1], types.int64),
        *(types.uint8[:, :, ::1], types.uint8[:, :, ::1]),
    ),
    nogil=True,
    cache=True,
)
def _crop_and_colour(
    start: int,
    stop: int,
    images: Any,
    boxes: Any,
    flips: Any,
    jitters: Any,
    factors: Any,
    order: Any,
    greys: Any,
    solarises: Any,
    sigmas: Any,
    kind: int,
    lines: Any,
    pixels: Any,
) -> None:
    """Makes views `start` to `stop`; view v is of image v % N, each array has a row for each.

    `lines` (B x 3 S x S) and `pixels` (B x 3 x S S) are the same memory, seen in two ways.
    """
    for v in range(start, stop):
        address, stride, width, height = images[v % images.shape[0]]
        left, top, wide, high = boxes[v]
        place = (left, top, wide, high, flips[v], kind, True, lines[v])
        resize_at(address, stride, width, height, *place)
        if jitters[v]:
            colour.jitter(pixels[v], factors[v], order[v])
        if greys[v]:
            colour.grey(pixels[v])
        if solarises[v]:
            colour.solarise(pixels[v])
        if sigmas[v] > 0:
            blur.blur(lines[v], sigmas[v])


@njit(
    types.void(
        *(types.int64, types.int64, types.uint8[:, :, ::1], types.float32[::1]),
        *(types.float32[::1], types.boolean, types.float32[:, ::1]),
    ),
    nogil=True,
    cache=True,
)
def _normalise(
    start: int, stop: int, views: Any, scale: Any, bias: Any, interleave: bool, out: Any
) -> None:
    """Writes views `start` to `stop` as float32, as planes or interleaved."""
    pixels = views.shape[2]
    for v in range(start, stop):
        view = views[v]
        for channel in range(3):
            factor, shift = scale[channel], bias[channel]
            if interleave:
                for i in range(pixels):
                    out[v, 3 * i + channel] = view[channel, i] * factor + shift
            else:
                for i in range(pixels):
                    out[v, channel * pixels + i] = view[channel, i] * factor + shift


Source = tuple[NDArray[np.int64], list[NDArray[np.uint8]]]
"""Address, row stride, width and height of each image, and the arrays that own the memory."""


def sources(images: Ragged | Sequence[Tensor]) -> Source:
    """Finds the images in memory; those that are not interleaved are copied."""
    held = []
    for index in range(len(images)):
        image = images.image(index) if isinstance(images, Ragged) else images[index]
        held.append(np.ascontiguousarray(image.permute(1, 2, 0).numpy()))
    rows = [(a.__array_interface__["data"][0], a.strides[0], a.shape[1], a.shape[0]) for a in held]
    return np.array(rows, np.int64), held


def views(
    images: Ragged | Sequence[Tensor],
    groups: Sequence[Params],
    scale: Tensor,
    bias: Tensor,
    channels_last: bool,
    threads: int,
) -> list[Tensor]:
    """Makes the views of several groups; threads go from group to group without a pause.

    Args:
        images: N uint8 images on the CPU.
        groups: Parameters of V x N views each.
        scale: 3 float32, each channel's factor.
        bias: 3 float32, added after it.
        channels_last: Memory format of the result.
        threads: Over which the views are shared out.

    Returns:
        For each group V x N x 3 x S x S float32.
    """
    places, held = sources(images)
    results, work = [], []
    for params in groups:
        count, size = params.flips.numel(), params.size
        lines = np.empty((count, 3 * size, size), np.uint8)
        crops = lines.reshape(count, 3, -1)
        out = torch.empty(count, 3 * size * size)
        arguments = (places, *_rows(params), FILTERS[params.kind], lines, crops)
        last = (crops, scale.numpy(), bias.numpy(), channels_last, out.numpy())
        work += [
            (first, min(first + SHARE, count), arguments, last) for first in range(0, count, SHARE)
        ]
        shape = (size, size, 3) if channels_last else (3, size, size)
        result = out.view(*params.flips.shape, *shape)
        results.append(result.permute(0, 1, 4, 2, 3) if channels_last else result)
    if threads == 1:
        for part in work:
            _make(part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(_make, work))
    del held  # until here the addresses were in use
    return results


def _make(part: tuple[int, int, tuple[Any, ...], tuple[Any, ...]]) -> None:
    start, stop, arguments, last = part
    _crop_and_colour(start, stop, *arguments)
    _normalise(start, stop, *last)


def _rows(params: Params) -> list[NDArray[Any]]:
    """The parameters with one row for each of V x N views, in the order of the loop."""
    tensors = (
        *(params.boxes, params.flips, params.jitters, params.factors),
        *(params.order, params.greys, params.solarises, params.sigmas),
    )
    return [tensor.flatten(0, 1).contiguous().numpy() for tensor in tensors]
