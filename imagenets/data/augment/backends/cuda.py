"""All views of a batch on a GPU: a few kernels a group, no loop over samples, no waiting.

All parameters of a view travel as one row of numbers; the kernels are in `kernels.py`. Per group:
tables of weights, crops as bytes, the mean grey of views whose contrast changes, colours (which
write the result of views without blur), and two passes over those that are blurred.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
from torch import Tensor

from imagenets.data.augment.backends import Target, kernels
from imagenets.data.augment.backends.blur import REACH
from imagenets.data.augment.params import Params
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import filter_code

BLOCK = 1024
"""Pixels a program works on."""


def views(images: RaggedBatch, groups: Sequence[Params], target: Target) -> list[Tensor]:
    """Makes the views of several groups, where the images are; see `apply_groups`."""
    linear = _send(torch.cat([target.scale, target.bias]), images.data.device)
    return [_group(images, params, linear, target) for params in groups]


def _send(x: Tensor, device: torch.device) -> Tensor:
    """Copies to the device without waiting for it."""
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def rows(images: RaggedBatch, params: Params) -> Tensor:
    """One row of float64 a view, in the order of the columns in `kernels.py`."""
    count = params.flips.shape[0]
    shifts = (params.factors[..., 3].double() * 255).trunc() % 256
    columns = (
        *(images.offsets.repeat(count), *images.sizes.repeat(count, 1).unbind(1)),
        *params.boxes.flatten(0, 1).unbind(1),
        *(params.flips.flatten(), params.jitters.flatten()),
        *(*params.factors[..., :3].flatten(0, 1).unbind(1), shifts.flatten()),
        *params.order.flatten(0, 1).unbind(1),
        *(params.greys.flatten(), params.solarises.flatten(), params.sigmas.flatten()),
    )
    return torch.stack([column.double() for column in columns], 1)


def _group(images: RaggedBatch, params: Params, linear: Tensor, target: Target) -> Tensor:
    device, size, count = images.data.device, params.size, params.flips.numel()
    table = _send(rows(images, params), device)
    kind = filter_code(params.mode, params.antialias)
    taps = _most_taps(params)
    first = torch.empty(2, count, size, dtype=torch.int32, device=device)
    weights = torch.empty(2, count, size, taps, dtype=torch.int32, device=device)
    bytes_ = torch.empty(count, 3, size, size, dtype=torch.uint8, device=device)
    sums = torch.zeros(count, dtype=torch.int32, device=device)
    shape = (size, size, 3) if target.channels_last else (3, size, size)
    out = torch.empty(count, *shape, dtype=target.dtype, device=device)
    tiles = (count, triton.cdiv(size * size, BLOCK))
    lines = triton.next_power_of_2(size)
    kernels.tables[(count, 2)](table, first, weights, count, size, taps, kind, lines)
    kernels.crop[tiles](images.data, table, first, weights, bytes_, count, size, taps, BLOCK)
    kernels.mean_grey[tiles](table, bytes_, sums, size, BLOCK)
    last = (linear, out, size, target.channels_last, BLOCK)
    kernels.colour[tiles](table, bytes_, sums, *last)
    blurred = (params.sigmas.flatten() > 0).nonzero()[:, 0].int()
    if len(blurred):
        picked = _send(blurred, device)
        between = torch.empty(len(blurred), 3, size, size, dtype=torch.uint8, device=device)
        some = (len(blurred), tiles[1], 3)
        kernels.blur_columns[some](table, picked, bytes_, between, size, REACH, BLOCK)
        kernels.blur_rows[some](table, picked, between, *last[:-1], REACH, BLOCK)
    made: Tensor = (out.permute(0, 3, 1, 2) if target.channels_last else out).unflatten(
        0, params.flips.shape
    )
    return made


def _most_taps(params: Params) -> int:
    """A bound on the taps of any view, known on the CPU."""
    scale = float(params.boxes[..., 2:].max()) / params.size
    stretch = max(1.0, scale) if params.antialias else 1.0
    return math.ceil((2 if params.mode == "bicubic" else 1) * stretch) * 2 + 1
