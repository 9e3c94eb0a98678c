"""Images of which only the object, or only its background, is left.

Pixels that the target ignores, 255, are neither object nor background in any measure; so they are
filled in both: no edge of the object is left in a background.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagenets.data.dataset.targets import LEFT_OUT, OBJECT
from imagenets.data.dataset.view import MEAN_COLOR, on_cpu
from imagenets.errors import UsageError

Array = TypeVar("Array", npt.NDArray[Any], Tensor)
Bytes = npt.NDArray[np.uint8]

Fill = Literal["mean", "black", "noise"] | npt.NDArray[np.uint8] | Tensor
"""What stands where nothing is left: ImageNet's mean colour (124, 116, 104), black, uniform noise
of every pixel and channel, or another image of the same kind and shape."""


def foreground(
    image: Array, target: Array, fill: Fill = "mean", generator: np.random.Generator | None = None
) -> Array:
    """Only the object: all other pixels, and the ignored ones, are filled.

    Args:
        image: uint8, an array H x W x 3 or a tensor 3 x H x W on the CPU.
        target: uint8 H x W: 1 the object, 0 not, 255 ignored.
        fill: See `Fill`.
        generator: Draws the noise, for all pixels whatever the target is.

    Returns:
        A new image of the same kind.

    Raises:
        UsageError: An argument is of another shape or type; the target has no object: leave such
            images out, their `present` is False; or noise is wanted without a generator.
    """
    return _composed(image, target, fill, generator, lambda marks: marks != OBJECT)


def background(
    image: Array, target: Array, fill: Fill = "mean", generator: np.random.Generator | None = None
) -> Array:
    """Only the background: the object's pixels, and the ignored ones, are filled.

    Args:
        image: uint8, an array H x W x 3 or a tensor 3 x H x W on the CPU.
        target: uint8 H x W: 1 the object, 0 not, 255 ignored.
        fill: See `Fill`.
        generator: Draws the noise, for all pixels whatever the target is.

    Returns:
        A new image of the same kind and shape.

    Raises:
        UsageError: An argument is of another shape or type, the target has no object, or noise is
            wanted without a generator.
    """
    return _composed(image, target, fill, generator, lambda marks: marks != 0)


def background_without_box(
    image: Array, target: Array, fill: Fill = "mean", generator: np.random.Generator | None = None
) -> Array:
    """Only the background, without the object's outline: its smallest box is filled.

    Ignored pixels outside the box are filled as well.

    Args:
        image: uint8, an array H x W x 3 or a tensor 3 x H x W on the CPU.
        target: uint8 H x W: 1 the object, 0 not, 255 ignored.
        fill: See `Fill`.
        generator: Draws the noise, for all pixels whatever the target is.

    Returns:
        A new image of the same kind and shape.

    Raises:
        UsageError: An argument is of another shape or type, the target has no object, or noise is
            wanted without a generator.
    """
    return _composed(image, target, fill, generator, _boxed)


def _boxed(marks: Bytes) -> npt.NDArray[np.bool_]:
    filled: npt.NDArray[np.bool_] = marks == LEFT_OUT
    rows, columns = (np.flatnonzero((marks == OBJECT).any(axis)) for axis in (1, 0))
    filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return filled


def _composed(
    image: Array, target: Array, fill: Fill, generator: np.random.Generator | None, where: Any
) -> Array:
    if isinstance(image, Tensor):
        pixels = on_cpu(image)
        if pixels.ndim != 3 or pixels.shape[0] != 3:
            raise UsageError(f"an image tensor is 3 x H x W, not {tuple(pixels.shape)}.")
        other = on_cpu(fill).transpose(1, 2, 0) if isinstance(fill, Tensor) else fill
        made = _composed(pixels.transpose(1, 2, 0), _marks(target), other, generator, where)
        return torch.from_numpy(np.ascontiguousarray(made.transpose(2, 0, 1)))
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise UsageError(f"an image is uint8, H x W x 3, not {image.dtype} of {image.shape}.")
    marks = _marks(target)
    if marks.shape != image.shape[:2]:
        raise UsageError(
            f"the target is {marks.shape}, the image {image.shape[:2]} (rows, columns)."
        )
    if not (marks == OBJECT).any():
        raise UsageError(
            "the target has no pixel of the object: leave images whose `present` is False out."
        )
    return np.where(where(marks)[..., None], filling(image.shape, fill, generator), image)


def _marks(target: npt.NDArray[Any] | Tensor) -> Bytes:
    """A target as an array, looked through."""
    marks = on_cpu(target) if isinstance(target, Tensor) else target
    if marks.dtype != np.uint8 or marks.ndim != 2:
        raise UsageError(f"a target is uint8, H x W, not {marks.dtype} of {marks.shape}.")
    odd = marks[(marks != OBJECT) & (marks != 0) & (marks != LEFT_OUT)]
    if odd.size:
        raise UsageError(f"a target holds 0, 1 and 255, not {odd[0]}: give the target, no mask.")
    return marks


def filling(
    shape: tuple[int, ...], fill: Fill, generator: np.random.Generator | None = None
) -> Bytes:
    """Makes what an image is filled with.

    Args:
        shape: Of the image: H, W, 3.
        fill: See `Fill`; an image to fill with is an array here.
        generator: Draws the noise; other fills do not need it.

    Returns:
        uint8, H x W x 3, or a colour, 3 numbers.

    Raises:
        UsageError: There is no such fill, it has another shape or type, or noise lacks its
            generator.
    """
    if isinstance(fill, Tensor):
        raise UsageError("fill is a tensor, the image an array: give both of one kind.")
    if isinstance(fill, np.ndarray):
        if fill.dtype != np.uint8 or fill.shape != shape:
            raise UsageError(
                f"an image to fill with must be uint8, {shape}, as the image is, not {fill.dtype} "
                f"of {fill.shape}."
            )
        return fill
    if fill == "noise":
        if generator is None:
            raise UsageError(
                'fill="noise" needs a generator, such as generator=numpy.random.default_rng(0).'
            )
        return generator.integers(0, 256, shape, np.uint8)
    if fill not in ("mean", "black"):
        raise UsageError(
            f'there is no fill {fill!r}: give "mean", "black", "noise" or an image of this shape.'
        )
    return np.array(MEAN_COLOR if fill == "mean" else (0, 0, 0), np.uint8)
