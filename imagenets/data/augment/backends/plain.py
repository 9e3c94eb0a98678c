"""All views of a batch in plain torch, for devices without kernels of their own.

Loops go over taps and kinds of operation, never over samples; which views an operation is for is
known on the CPU, so that no step waits for the device. Values between steps are whole numbers
0..255 in float32, and every formula is that of `color.py` and `resample.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.simd import PRECISION
from imagenets.data.augment.backends import Target
from imagenets.data.augment.backends.blur import REACH
from imagenets.data.augment.params import BRIGHTNESS, CONTRAST, HUE, SATURATION, Params
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import Mode

Change = Callable[[Tensor, Tensor], Tensor]
"""Some views and, on the CPU, their numbers -> the same views, changed."""

CHUNK = 64
"""Views made at a time: bounds the memory of the gathered taps."""


def views(images: RaggedBatch, groups: Sequence[Params], target: Target) -> list[Tensor]:
    """Makes the views of several groups, where the images are; see `apply_groups`."""
    device = images.data.device
    scale, bias = (x.to(device)[:, None, None] for x in (target.scale, target.bias))
    results = []
    for params in groups:
        shape = params.flips.shape
        flat = _flat(params)
        owner = torch.arange(len(images)).repeat(shape[0])
        parts = []
        for rows in torch.arange(len(owner)).split(CHUNK):
            x = _make(images, owner[rows], _select(flat, rows))
            parts.append((x * scale + bias).to(target.dtype))
        x = torch.cat(parts)
        if target.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        results.append(x.unflatten(0, shape))
    return results


def _flat(params: Params) -> Params:
    """The parameters with one row a view."""
    return _map(params, lambda x: x.flatten(0, 1))


def _select(params: Params, rows: Tensor) -> Params:
    return _map(params, lambda x: x[rows])


def _map(params: Params, change: Callable[[Tensor], Tensor]) -> Params:
    held = {f.name: getattr(params, f.name) for f in fields(params)}
    changed: dict[str, Any] = {k: change(v) for k, v in held.items() if isinstance(v, Tensor)}
    return replace(params, **changed)


def _make(images: RaggedBatch, owner: Tensor, params: Params) -> Tensor:
    x = crops(images, owner, params)
    x = jitter(x, params.jitters, params.factors, params.order)
    x = _where(x, params.greys, lambda some, rows: _luma(some).expand_as(some))
    x = _where(x, params.solarises, lambda some, rows: torch.where(some < 128, some, 255 - some))
    return blur(x, params.sigmas)


def _where(x: Tensor, on: Tensor, change: Change) -> Tensor:
    """Changes the views that `on`, a tensor on the CPU, picks."""
    rows = on.nonzero()[:, 0]
    if not len(rows):
        return x
    there = rows.to(x.device)
    return x.index_copy(0, there, change(x[there], rows).contiguous())


def tables(
    limit: Tensor, start: Tensor, length: Tensor, size: int, mode: Mode, antialias: bool
) -> tuple[Tensor, Tensor]:
    """First input pixel (B x S) and weights (B x S x K, int32) of the taps along one axis."""
    scale = (length.double() / size)[:, None]
    stretch = scale.clamp(min=1) if antialias else torch.ones_like(scale)
    reach = (2 if mode == "bicubic" else 1) * stretch
    centre = start[:, None] + (torch.arange(size) + 0.5) * scale
    first = (centre - reach + 0.5).clamp(min=0).long()
    last = torch.minimum((centre + reach + 0.5).long(), limit[:, None])
    taps = torch.arange(int((last - first).max()))
    x = ((taps + first[..., None] - centre[..., None] + 0.5) * (1 / stretch[..., None])).abs()
    weights = _keys(x) if mode == "bicubic" else (1 - x).clamp(min=0)
    weights = torch.where(taps < (last - first)[..., None], weights, 0.0)
    weights = weights / weights.sum(-1, keepdim=True) * (1 << PRECISION)
    return first, (weights + weights.sign() * 0.5).int()


def _keys(x: Tensor) -> Tensor:
    """Keys' cubic with a = -0.5 of distances x >= 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def crops(images: RaggedBatch, owner: Tensor, params: Params) -> Tensor:
    """Crops, resizes and flips: B x 3 x S x S, image `owner[b]`, box and flip `b`."""
    device, size = images.data.device, params.size
    wide, high = images.sizes[owner].unbind(1)
    left, top, width, height = params.boxes.unbind(1)
    how = size, params.mode, params.antialias
    columns, across = tables(wide, left, width, *how)
    lines, down = tables(high, top, height, *how)
    turned = params.flips[:, None]
    columns = torch.where(turned, columns.flip(1), columns)
    across = torch.where(turned[..., None], across.flip(1), across)
    columns, across, lines, down = (x.to(device) for x in (columns, across, lines, down))
    base, wide, high = (x.to(device)[:, None] for x in (images.offsets[owner], wide, high))
    channel = torch.arange(3, device=device)[:, None, None]
    half = 1 << (PRECISION - 1)
    total: Tensor | int = half
    for y in range(down.shape[2]):
        row = base + torch.minimum(lines + y, high - 1) * wide * 3  # B x S
        line: Tensor | int = half
        for x in range(across.shape[2]):
            byte = torch.minimum(columns + x, wide - 1) * 3
            place = row[:, None, :, None] + byte[:, None, None, :] + channel
            line = line + images.data[place].int() * across[:, None, None, :, x]
        assert isinstance(line, Tensor)
        total = total + (line >> PRECISION).clamp(0, 255) * down[:, None, :, None, y]
    assert isinstance(total, Tensor)
    return (total >> PRECISION).clamp(0, 255).float()


def _luma(x: Tensor) -> Tensor:
    """Pillow's `L` of B x 3 x H x W, B x 1 x H x W."""
    red, green, blue = x.unbind(1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) / 65536).floor()[:, None]


def _towards(grey: Tensor | float, x: Tensor, factor: Tensor) -> Tensor:
    """`Image.blend`: cut off, not rounded."""
    return (grey + factor * (x - grey)).clamp(0, 255).floor()


def jitter(x: Tensor, on: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Changes brightness, contrast, saturation and hue of each view in its own order.

    Args:
        x: B x 3 x H x W, whole numbers 0..255, float32.
        on: B bool on the CPU, which views to change.
        factors: B x 4 on the CPU, see `Params`.
        order: B x 4 on the CPU, see `Params`.
    """

    def change(operation: int) -> Change:
        def one(some: Tensor, rows: Tensor) -> Tensor:
            factor = factors[rows, operation]
            if operation == HUE:  # the product is rounded to float32, as Pillow's callers do not
                shift = (factor.double() * 255).trunc() % 256
                return _turn_hue(some, shift.float().to(some.device)[:, None, None])
            return _colour(some, operation, factor.to(some.device)[:, None, None, None])

        return one

    for step in range(4):
        for operation in (BRIGHTNESS, CONTRAST, SATURATION, HUE):
            x = _where(x, on & (order[:, step] == operation), change(operation))
    return x


def _colour(x: Tensor, operation: int, factor: Tensor) -> Tensor:
    if operation == BRIGHTNESS:
        return _towards(0.0, x, factor)
    grey = _luma(x)
    if operation == CONTRAST:
        grey = (grey.mean((2, 3), keepdim=True) + 0.5).floor()
    return _towards(grey, x, factor)


def _turn_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Adds B x 1 x 1 shifts in 0..255 to the hue of Pillow's 8-bit HSV."""
    red, green, blue = x.unbind(1)
    high, low = x.amax(1), x.amin(1)
    part = (high - (red + green + blue - high - low)) / (high - low).clamp(min=1)
    if_red = torch.where(blue == low, 1 - part, part - 1)
    if_green = torch.where(blue == low, 1 + part, 3 - part)
    if_blue = torch.where(red == low, 3 + part, 5 - part)
    sixths = torch.where(red == high, if_red, torch.where(green == high, if_green, if_blue))
    turn = sixths / 6
    turn = torch.where(turn < 0, turn + 1, turn)
    byte = (turn * 255).floor()
    byte = torch.where(turn * 256 - byte < turn, byte - 1, byte)
    hue = (torch.where(high > low, byte, 0.0) + shift) % 256 * 6
    spread = high * (255 * (high - low) / high.clamp(min=1)).floor()
    channels = []
    for peak in (0, 510, 1020):
        distance = (hue - peak).abs()
        share = (torch.minimum(distance, 1530 - distance) - 255).clamp(0, 255)
        channels.append(high - ((spread * share + 32512) / 65025).floor())
    return torch.stack(channels, 1)


def blur(x: Tensor, sigmas: Tensor) -> Tensor:
    """Blurs each view with its own Gaussian, borders replicated.

    Args:
        x: B x 3 x H x W, whole numbers 0..255, float32.
        sigmas: B on the CPU, pixels; 0 leaves a view as it is.
    """

    def change(some: Tensor, rows: Tensor) -> Tensor:
        sigma = sigmas[rows].double()[:, None]
        radius = math.ceil(REACH * float(sigma.max()))
        offsets = torch.arange(-radius, radius + 1)
        weights = (-0.5 * (offsets / sigma) ** 2).exp()
        weights = torch.where(offsets.abs() <= (REACH * sigma).ceil(), weights, 0.0)
        kernel = (weights / weights.sum(1, keepdim=True)).float().to(some.device)
        kernel = kernel.repeat_interleave(3, 0)[:, None, None]  # one for each view and channel
        planes = some.flatten(0, 1)[None]
        for turn in (kernel.transpose(2, 3), kernel):
            pad = (0, 0, radius, radius) if turn.shape[2] > 1 else (radius, radius)
            planes = F.conv2d(_replicate(planes, pad), turn, groups=len(turn))
            planes = (planes + 0.5).floor()
        blurred: Tensor = planes[0].unflatten(0, (len(rows), 3))
        return blurred

    return _where(x, sigmas > 0, change)


def _replicate(planes: Tensor, pad: tuple[int, ...]) -> Tensor:
    return F.pad(planes, (*pad, *(0,) * (4 - len(pad))), mode="replicate")
