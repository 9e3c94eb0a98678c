"""Colour operations on the bytes of one view, on the CPU, equal to Pillow's bit by bit.

All of them work in place on a view as three planes of uint8. The arithmetic is in float32, in
which every integer that occurs is exact; comments say where a rounding of Pillow's is met.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from imagenets.core.jit import inlined
from imagenets.data.augment.params import BRIGHTNESS, CONTRAST, HUE, SATURATION

# no contraction: a fused multiply-add would round once where Pillow rounds twice
_EXACT = {"nnan", "nsz"}
_F = np.float32


@inlined(inline="always")
def _luma(red: Any, green: Any, blue: Any) -> Any:
    """Pillow's `L` of float32 bytes: ITU-R 601 in 16 bits behind the point, rounded."""
    weighted = red * _F(19595) + green * _F(38470) + blue * _F(7471) + _F(32768)
    return np.floor(weighted * _F(1 / 65536))


@inlined(inline="always")
def _towards(grey: Any, value: Any, factor: Any) -> Any:
    """`Image.blend`: from grey (factor 0) over value (1) and beyond, cut off, not rounded."""
    blended = grey + factor * (value - grey)
    return min(max(blended, _F(0)), _F(255))


@inlined(error_model="numpy", fastmath=_EXACT)
def blend(view: Any, grey: Any, factor: Any) -> None:
    """Blends 3 x P bytes with one grey: brightness (black) and contrast (the mean)."""
    for channel in range(3):
        for i in range(view.shape[1]):
            view[channel, i] = _towards(grey, _F(view[channel, i]), factor)


@inlined(fastmath=_EXACT | {"reassoc"})
def mean_luma(view: Any) -> Any:
    """The mean grey of 3 x P bytes as `ImageEnhance.Contrast` takes it, rounded."""
    total = 0.0
    for start in range(0, view.shape[1], 65536):
        part = _F(0)  # so many bytes sum up exactly, in whatever order
        for i in range(start, min(start + 65536, view.shape[1])):
            part += _luma(_F(view[0, i]), _F(view[1, i]), _F(view[2, i]))
        total += float(part)
    return _F(int(total / view.shape[1] + 0.5))


@inlined(error_model="numpy", fastmath=_EXACT)
def saturate(view: Any, factor: Any) -> None:
    """Blends each pixel of 3 x P bytes with its own grey (`ImageEnhance.Color`)."""
    for i in range(view.shape[1]):
        red, green, blue = _F(view[0, i]), _F(view[1, i]), _F(view[2, i])
        grey = _luma(red, green, blue)
        view[0, i] = _towards(grey, red, factor)
        view[1, i] = _towards(grey, green, factor)
        view[2, i] = _towards(grey, blue, factor)


@inlined(inline="always")
def _hue_byte(red: Any, green: Any, blue: Any, high: Any, low: Any) -> Any:
    """Pillow's `H` of HSV: a turn in 255 steps, cut off.

    Of the three fractions (high - channel) / chroma one is 0 and one is 1, exactly; so one
    division serves, and every sum below rounds as often as Pillow's.
    """
    chroma = max(high - low, _F(1))
    part = (high - (red + green + blue - high - low)) / chroma
    if_red = _F(1) - part if blue == low else part - _F(1)
    if_green = _F(1) + part if blue == low else _F(3) - part
    if_blue = _F(3) + part if red == low else _F(5) - part
    sixths = if_red if red == high else (if_green if green == high else if_blue)
    turn = sixths / _F(6)
    turn = turn + _F(1) if turn < _F(0) else turn
    byte = np.floor(turn * _F(255))
    # Pillow multiplies in double: where our product was rounded up to an integer, step back
    byte = byte - _F(1) if turn * _F(256) - byte < turn else byte
    return byte if high > low else _F(0)


@inlined(inline="always")
def _channel(hue: Any, peak: float, high: Any, spread: Any) -> Any:
    """One channel as a trapezoid of the hue in 1/1530 turns, highest around its peak.

    Pillow rounds high (1 - saturation * share); the numerator over 255 * 255 is a whole number
    below 2^24 and never half-way, so that one correctly rounded division decides alike.
    """
    distance = abs(hue - _F(peak))
    distance = min(distance, _F(1530) - distance)
    share = min(max(distance - _F(255), _F(0)), _F(255))
    return high - np.floor((spread * share + _F(32512)) / _F(65025))


@inlined(error_model="numpy", fastmath=_EXACT)
def turn_hue(view: Any, shift: Any) -> None:
    """Adds a shift in 0..255 to the hue of 3 x P bytes, by way of Pillow's 8-bit HSV."""
    for i in range(view.shape[1]):
        red, green, blue = _F(view[0, i]), _F(view[1, i]), _F(view[2, i])
        high, low = max(max(red, green), blue), min(min(red, green), blue)
        hue = _hue_byte(red, green, blue, high, low) + shift
        hue = (hue - _F(256) if hue >= _F(256) else hue) * _F(6)
        spread = high * np.floor(_F(255) * (high - low) / max(high, _F(1)))
        view[0, i] = _channel(hue, 0, high, spread)
        view[1, i] = _channel(hue, 510, high, spread)
        view[2, i] = _channel(hue, 1020, high, spread)


@inlined(error_model="numpy", fastmath=_EXACT)
def jitter(view: Any, factors: Any, order: Any) -> None:
    """Changes brightness, contrast, saturation and hue of 3 x P bytes in the given order.

    Args:
        view: 3 x P uint8, changed in place.
        factors: 4 float32, see `Params.factors`.
        order: 4 int64, see `Params.order`.
    """
    for operation in order:
        factor = factors[operation]
        if operation == BRIGHTNESS:
            blend(view, _F(0), factor)
        elif operation == CONTRAST:
            blend(view, mean_luma(view), factor)
        elif operation == SATURATION:
            saturate(view, factor)
        elif operation == HUE:
            turn_hue(view, _F(int(factor * 255) % 256))


@inlined(error_model="numpy", fastmath=_EXACT)
def grey(view: Any) -> None:
    """Makes 3 x P bytes grey: three equal channels."""
    for i in range(view.shape[1]):
        value = _luma(_F(view[0, i]), _F(view[1, i]), _F(view[2, i]))
        view[0, i] = value
        view[1, i] = value
        view[2, i] = value


@inlined(error_model="numpy", fastmath=_EXACT)
def solarise(view: Any) -> None:
    """Inverts the values of 3 x P bytes from 128 up (`ImageOps.solarize`)."""
    for channel in range(3):
        for i in range(view.shape[1]):
            value = view[channel, i]
            view[channel, i] = value if value < 128 else 255 - value
