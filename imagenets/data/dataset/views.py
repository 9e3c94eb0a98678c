"""The usual evaluation views, and their names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

from imagenets.data.dataset.view import MEAN_COLOR, Frame, View
from imagenets.errors import UsageError
from imagenets.pixels.resample import Mode, Window

__all__ = ["Pad", "ResizeCrop", "Squash", "View", "named"]


@dataclass(frozen=True, slots=True)
class ResizeCrop(View):
    """The short side resized to `side`, then the central `size` x `size` pixels: the classic.

    As torchvision's `Resize(side)` and `CenterCrop(size)`: the long side is in proportion, rounded
    down; where the middle lies between two pixels, the even offset is taken.

    Attributes:
        side: Short side of the resized image, pixels.
        size: Side of the crop, pixels.
        mode: The filter for images, "bilinear" or "bicubic".
    """

    side: int = 256
    size: int = 224
    mode: Mode = field(default="bilinear", kw_only=True)

    def __post_init__(self) -> None:
        self._check()
        if self.side < self.size:
            raise UsageError(
                f"{type(self).__name__}: the crop of {self.size} does not fit into a short side of "
                f"{self.side}."
            )

    def frame(self, width: int, height: int) -> Frame:
        """Says how an image of one size comes into the view.

        Args:
            width: Of the image, pixels, at least 1.
            height: Of the image, pixels, at least 1.

        Returns:
            What of the resized image is shown, and where in the view.
        """
        short = min(width, height)
        full = (width * self.side // short, height * self.side // short)
        left, top = (round((length - self.size) / 2) for length in full)
        return Frame(Window((width, height), full, (left, top), (self.size, self.size)), (0, 0))

    def _base(self) -> str:
        return f"resize{self.side}-crop{self.size}"


@dataclass(frozen=True, slots=True)
class Squash(View):
    """The whole image resized to a square, whatever its proportions.

    Attributes:
        size: Side of the square, pixels.
        mode: The filter for images, "bilinear" or "bicubic".
    """

    size: int = 224
    mode: Mode = field(default="bilinear", kw_only=True)

    def __post_init__(self) -> None:
        self._check()

    def frame(self, width: int, height: int) -> Frame:
        """Says how an image of one size comes into the view.

        Args:
            width: Of the image, pixels, at least 1.
            height: Of the image, pixels, at least 1.

        Returns:
            What of the resized image is shown, and where in the view.
        """
        square = (self.size, self.size)
        return Frame(Window((width, height), square, (0, 0), square), (0, 0))

    def _base(self) -> str:
        return f"squash{self.size}"


@dataclass(frozen=True, slots=True)
class Pad(View):
    """The long side resized to `size`, then padded to a square on both sides.

    The short side is in proportion, rounded down, at least one pixel; of an odd number of padded
    rows or columns the larger half is at the bottom or right. Padding is ignored in masks and
    targets.

    Attributes:
        size: Side of the square, pixels.
        fill: Colour of the padding, RGB bytes; by default ImageNet's mean.
        mode: The filter for images, "bilinear" or "bicubic".
    """

    size: int = 224
    fill: tuple[int, int, int] = MEAN_COLOR
    mode: Mode = field(default="bilinear", kw_only=True)

    def __post_init__(self) -> None:
        self._check()
        if len(self.fill) != 3 or not all(0 <= value <= 255 for value in self.fill):
            raise UsageError(f"Pad: fill is {self.fill}: give three values from 0 to 255 (RGB).")

    def frame(self, width: int, height: int) -> Frame:
        """Says how an image of one size comes into the view.

        Args:
            width: Of the image, pixels, at least 1.
            height: Of the image, pixels, at least 1.

        Returns:
            What of the resized image is shown, and where in the view.
        """
        long = max(width, height)
        full = (max(1, width * self.size // long), max(1, height * self.size // long))
        place = ((self.size - full[0]) // 2, (self.size - full[1]) // 2)
        return Frame(Window((width, height), full, (0, 0), full), place)

    def _beside(self) -> tuple[int, int, int]:
        return self.fill

    def _base(self) -> str:
        fill = "" if self.fill == MEAN_COLOR else f"-fill{bytes(self.fill).hex()}"
        return f"pad{self.size}{fill}"


_NAMES: dict[str, tuple[str, Callable[..., View]]] = {
    "resizeA-cropB": (r"resize(\d+)-crop(\d+)", lambda a, b, mode: ResizeCrop(a, b, mode=mode)),
    "squashB": (r"squash(\d+)", lambda b, mode: Squash(b, mode=mode)),
    "padB": (r"pad(\d+)", lambda b, mode: Pad(b, mode=mode)),
    "padB-fillRRGGBB": (
        r"pad(\d+)-fill([0-9a-f]{6})",
        lambda b, fill, mode: Pad(b, cast(tuple[int, int, int], tuple(fill)), mode=mode),
    ),
}
"""What views are called: a pattern, and what makes the view of the numbers in it."""


def named(name: str) -> View:
    """Makes the view of a name, such as `resize256-crop224`, `squash224`, `pad224`.

    `-bicubic` at the end takes that filter for images, `-fillRRGGBB` after `padB` is the colour of
    the padding. `str(view)` gives the name back.

    Args:
        name: One of these forms; numbers are pixels, a colour is six hexadecimal digits in lower
            case.

    Returns:
        The view.

    Raises:
        UsageError: There is no such view, which lists those there are; or a size is out of range.
    """
    base = name.removesuffix("-bicubic")
    mode: Mode = "bilinear" if base == name else "bicubic"
    for pattern, make in _NAMES.values():
        if found := re.fullmatch(pattern, base, re.ASCII):
            first, *more = found.groups()
            rest = [bytes.fromhex(one) if "fill" in pattern else int(one) for one in more]
            return make(int(first), *rest, mode=mode)
    raise UsageError(
        f"there is no view {name!r}: give {', '.join(_NAMES)}, with sizes in pixels for A and B, "
        "such as resize256-crop224, squash224 or pad224; -bicubic at the end changes the filter."
    )
