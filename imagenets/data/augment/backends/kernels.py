"""The GPU kernels, in Triton; the formulas are those of `resample.py`, `color.py`, `blur.py`.

Every view has one row of float64 in `rows`, with the columns named below. Values between kernels
are bytes, 3 x S x S a view; whole numbers are exact in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language import constexpr

OFFSET, WIDTH, HEIGHT, LEFT, TOP, WIDE, HIGH, FLIP, JITTER = (constexpr(i) for i in range(9))
FACTORS, ORDER, GREY, SOLARISE, SIGMA = (constexpr(i) for i in (9, 13, 17, 18, 19))
COLUMNS = constexpr(20)
BRIGHTNESS, CONTRAST, SATURATION, HUE = (constexpr(i) for i in range(4))
PRECISION = constexpr(22)
ONE = constexpr(float(1 << 22))
HALF = constexpr(1 << 21)


@triton.jit
def _weight(x, kind: constexpr):
    if kind == 1:
        near = (1.5 * x - 2.5) * x * x + 1.0
        far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
        return tl.where(x < 1.0, near, tl.where(x < 2.0, far, 0.0))
    return tl.where(x < 1.0, 1.0 - x, 0.0)


@triton.jit
def tables(rows, first, weights, count, size, taps, kind: constexpr, lines: constexpr):
    """First input pixel and weights of every output column (axis 0) and row (axis 1)."""
    view, axis = tl.program_id(0), tl.program_id(1)
    row = rows + view * COLUMNS
    limit = tl.load(row + WIDTH + axis).to(tl.int32)
    start, length = tl.load(row + LEFT + axis), tl.load(row + WIDE + axis)
    o = tl.arange(0, lines)
    scale = length / size
    stretch = scale * 0 + 1.0
    if kind != 2:
        stretch = tl.maximum(scale, 1.0)
    reach = stretch * (2.0 if kind == 1 else 1.0)
    centre = start + (o.to(tl.float64) + 0.5) * scale
    low = tl.maximum((centre - reach + 0.5).to(tl.int32), 0)
    number = tl.minimum((centre + reach + 0.5).to(tl.int32), limit) - low
    total = tl.zeros([lines], tl.float64)
    there = o < size
    shrink = 1.0 / stretch
    for k in range(taps):
        x = tl.abs(((low + k).to(tl.float64) - centre + 0.5) * shrink)
        total += tl.where(k < number, _weight(x, kind), 0.0)
    turned = (axis == 0) & (tl.load(row + FLIP) > 0)
    place = (axis * count + view) * size + tl.where(turned, size - 1 - o, o)
    total = tl.where(there, total, 1.0)
    tl.store(first + place, low, there)
    for k in range(taps):
        x = tl.abs(((low + k).to(tl.float64) - centre + 0.5) * shrink)
        exact = tl.where(k < number, _weight(x, kind), 0.0) / total * ONE
        fixed = (exact + tl.where(exact < 0, -0.5, 0.5)).to(tl.int32)
        tl.store(weights + place.to(tl.int64) * taps + k, fixed, there)


@triton.jit
def _to_byte(total):
    return tl.minimum(tl.maximum(total >> PRECISION, 0), 255)


@triton.jit
def crop(images, rows, first, weights, out, count, size, taps, block: constexpr):
    """Resampled crops as bytes; each row of taps is rounded to bytes, as in two passes."""
    view = tl.program_id(0)
    row = rows + view * COLUMNS
    p = tl.program_id(1) * block + tl.arange(0, block)
    there = p < size * size
    y, x = p // size, p % size
    width, height = tl.load(row + WIDTH).to(tl.int32), tl.load(row + HEIGHT).to(tl.int32)
    base = images + tl.load(row + OFFSET).to(tl.int64)
    across, down = view * size + x, (count + view) * size + y
    left, top = tl.load(first + across, there, 0), tl.load(first + down, there, 0)
    across, down = across.to(tl.int64) * taps, down.to(tl.int64) * taps
    red = tl.full([block], HALF, tl.int32)
    green = tl.full([block], HALF, tl.int32)
    blue = tl.full([block], HALF, tl.int32)
    for j in range(taps):
        weight = tl.load(weights + down + j, there, 0)
        if tl.max(tl.abs(weight), 0) > 0:
            line = tl.minimum(top + j, height - 1).to(tl.int64) * width
            r = tl.full([block], HALF, tl.int32)
            g = tl.full([block], HALF, tl.int32)
            b = tl.full([block], HALF, tl.int32)
            for i in range(taps):
                inner = tl.load(weights + across + i, there, 0)
                pixel = base + (line + tl.minimum(left + i, width - 1)) * 3
                some = there & (inner != 0)
                r += tl.load(pixel, some, 0).to(tl.int32) * inner
                g += tl.load(pixel + 1, some, 0).to(tl.int32) * inner
                b += tl.load(pixel + 2, some, 0).to(tl.int32) * inner
            red += _to_byte(r) * weight
            green += _to_byte(g) * weight
            blue += _to_byte(b) * weight
    place = out + view.to(tl.int64) * 3 * size * size + p
    tl.store(place, _to_byte(red).to(tl.uint8), there)
    tl.store(place + size * size, _to_byte(green).to(tl.uint8), there)
    tl.store(place + 2 * size * size, _to_byte(blue).to(tl.uint8), there)


@triton.jit
def _luma(r, g, b):
    return tl.floor((r * 19595.0 + g * 38470.0 + b * 7471.0 + 32768.0) * (1.0 / 65536))


@triton.jit
def _towards(grey, value, factor):
    return tl.floor(tl.minimum(tl.maximum(grey + factor * (value - grey), 0.0), 255.0))


@triton.jit
def _hue_byte(r, g, b, high, low):
    part = tl.div_rn(high - (r + g + b - high - low), tl.maximum(high - low, 1.0))
    if_red = tl.where(b == low, 1.0 - part, part - 1.0)
    if_green = tl.where(b == low, 1.0 + part, 3.0 - part)
    if_blue = tl.where(r == low, 3.0 + part, 5.0 - part)
    sixths = tl.where(r == high, if_red, tl.where(g == high, if_green, if_blue))
    turn = tl.div_rn(sixths, sixths * 0 + 6.0)
    turn = tl.where(turn < 0, turn + 1.0, turn)
    byte = tl.floor(turn * 255.0)
    byte = tl.where(turn * 256.0 - byte < turn, byte - 1.0, byte)
    return tl.where(high > low, byte, 0.0)


@triton.jit
def _channel(hue, peak: constexpr, high, spread):
    distance = tl.abs(hue - peak)
    distance = tl.minimum(distance, 1530.0 - distance)
    share = tl.minimum(tl.maximum(distance - 255.0, 0.0), 255.0)
    return high - tl.floor(tl.div_rn(spread * share + 32512.0, hue * 0 + 65025.0))


@triton.jit
def _turn_hue(r, g, b, shift):
    high, low = tl.maximum(tl.maximum(r, g), b), tl.minimum(tl.minimum(r, g), b)
    hue = _hue_byte(r, g, b, high, low) + shift
    hue = tl.where(hue >= 256.0, hue - 256.0, hue) * 6.0
    spread = high * tl.floor(tl.div_rn(255.0 * (high - low), tl.maximum(high, 1.0)))
    r = _channel(hue, 0, high, spread)
    g = _channel(hue, 510, high, spread)
    b = _channel(hue, 1020, high, spread)
    return r, g, b


@triton.jit
def _load(view, bytes_, p, area, there):
    place = bytes_ + view.to(tl.int64) * 3 * area + p
    r = tl.load(place, there, 0).to(tl.float32)
    g = tl.load(place + area, there, 0).to(tl.float32)
    b = tl.load(place + 2 * area, there, 0).to(tl.float32)
    return r, g, b


@triton.jit
def _operation(operation, r, g, b, row, mean):
    """One colour operation; `mean` is the grey that contrast blends with."""
    factor = tl.load(row + FACTORS + operation).to(tl.float32)
    if operation == HUE:
        r, g, b = _turn_hue(r, g, b, factor)
    else:
        grey = _luma(r, g, b)
        if operation == BRIGHTNESS:
            grey = grey * 0.0
        elif operation == CONTRAST:
            grey = grey * 0.0 + mean
        r, g, b = _towards(grey, r, factor), _towards(grey, g, factor), _towards(grey, b, factor)
    return r, g, b


@triton.jit
def mean_grey(rows, bytes_, sums, size, block: constexpr):
    """Sums up the grey of each view as it is when its contrast is about to change."""
    view = tl.program_id(0)
    row = rows + view * COLUMNS
    if tl.load(row + JITTER) > 0:
        p = tl.program_id(1) * block + tl.arange(0, block)
        there = p < size * size
        r, g, b = _load(view, bytes_, p, size * size, there)
        reached = 0
        for step in range(4):
            operation = tl.load(row + ORDER + step).to(tl.int32)
            reached = tl.where(operation == CONTRAST, 1, reached)
            if reached == 0:
                r, g, b = _operation(operation, r, g, b, row, 0.0)
        grey = tl.where(there, _luma(r, g, b), 0.0).to(tl.int32)
        tl.atomic_add(sums + view, tl.sum(grey, 0))


@triton.jit
def _store(out, view, channel: constexpr, value, linear, p, area, there, last: constexpr):
    """Writes the normalised values of one channel, as planes or interleaved."""
    normalised = value * tl.load(linear + channel) + tl.load(linear + 3 + channel)
    place = p * 3 + channel if last else channel * area + p
    tl.store(out + view.to(tl.int64) * 3 * area + place, normalised, there)


@triton.jit
def colour(rows, bytes_, sums, linear, out, size, last: constexpr, block: constexpr):
    """All colour operations; writes the result, or bytes where a blur is to come."""
    view = tl.program_id(0)
    row = rows + view * COLUMNS
    area = size * size
    p = tl.program_id(1) * block + tl.arange(0, block)
    there = p < area
    r, g, b = _load(view, bytes_, p, area, there)
    if tl.load(row + JITTER) > 0:
        total = tl.load(sums + view).to(tl.float64)
        mean = tl.floor(total / area + 0.5).to(tl.float32)
        for step in range(4):
            operation = tl.load(row + ORDER + step).to(tl.int32)
            r, g, b = _operation(operation, r, g, b, row, mean)
    if tl.load(row + GREY) > 0:
        r = _luma(r, g, b)
        g, b = r, r
    if tl.load(row + SOLARISE) > 0:
        r = tl.where(r < 128, r, 255 - r)
        g = tl.where(g < 128, g, 255 - g)
        b = tl.where(b < 128, b, 255 - b)
    if tl.load(row + SIGMA) > 0:
        place = bytes_ + view.to(tl.int64) * 3 * area + p
        tl.store(place, r.to(tl.uint8), there)
        tl.store(place + area, g.to(tl.uint8), there)
        tl.store(place + 2 * area, b.to(tl.uint8), there)
    else:
        _store(out, view, 0, r, linear, p, area, there, last)
        _store(out, view, 1, g, linear, p, area, there, last)
        _store(out, view, 2, b, linear, p, area, there, last)


@triton.jit
def _gaussian(source, at, stride, end, sigma, reach: constexpr, there, block: constexpr):
    """The blur along one axis of pixels at position `at` of 0..end - 1, rounded to bytes."""
    radius = tl.ceil(sigma * reach).to(tl.int32)
    total, sum_ = tl.zeros([block], tl.float32), 0.0
    for k in range(-radius, radius + 1):
        weight = tl.exp(-0.5 * (k / sigma) * (k / sigma))
        near = tl.minimum(tl.maximum(at + k, 0), end - 1)
        total += tl.load(source + near * stride, there, 0).to(tl.float32) * weight
        sum_ += weight
    return tl.floor(total / sum_ + 0.5)


@triton.jit
def blur_columns(rows, picked, bytes_, between, size, reach: constexpr, block: constexpr):
    """First pass of the blur, for the picked views alone."""
    index, channel = tl.program_id(0), tl.program_id(2)
    view = tl.load(picked + index)
    sigma = tl.load(rows + view * COLUMNS + SIGMA).to(tl.float32)
    area = size * size
    p = tl.program_id(1) * block + tl.arange(0, block)
    there = p < area
    source = bytes_ + (view.to(tl.int64) * 3 + channel) * area + p % size
    blurred = _gaussian(source, p // size, size, size, sigma, reach, there, block)
    place = between + (index.to(tl.int64) * 3 + channel) * area + p
    tl.store(place, blurred.to(tl.uint8), there)


@triton.jit
def blur_rows(
    rows, picked, between, linear, out, size, last: constexpr, reach: constexpr, block: constexpr
):
    """Second pass of the blur; writes the result."""
    index, channel = tl.program_id(0), tl.program_id(2)
    view = tl.load(picked + index)
    sigma = tl.load(rows + view * COLUMNS + SIGMA).to(tl.float32)
    area = size * size
    p = tl.program_id(1) * block + tl.arange(0, block)
    there = p < area
    source = between + (index.to(tl.int64) * 3 + channel) * area + p // size * size
    blurred = _gaussian(source, p % size, 1, size, sigma, reach, there, block)
    normalised = blurred * tl.load(linear + channel) + tl.load(linear + 3 + channel)
    place = p * 3 + channel if last else channel * area + p
    tl.store(out + view.to(tl.int64) * 3 * area + place, normalised, there)
