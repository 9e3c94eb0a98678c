"""What a loader cuts out of each image: a random box, the middle, or all of it, resized.

The evaluation views of `data/dataset/views.py` are crops as well.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from imagenets.data.augment import MEAN, STD, ViewGroup, draw_boxes
from imagenets.data.dataset.view import View
from imagenets.data.dataset.views import ResizeCrop
from imagenets.errors import UsageError

Boxes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What all crops make of the pixels of their boxes.

    Attributes:
        antialias: Whether the bilinear filter widens where it shrinks, which equals Pillow's
            `resize`; False takes the four nearest pixels whatever the scale, as OpenCV does:
            faster, and aliased.
        output: `uint8`, or `float32` normalised by `mean` and `std`.
        exact: Decode as Pillow does: the default for evaluation, whose numbers are compared. Else
            libjpeg-turbo's fast DCT and plain upsampling of colours are used, off by about one of
            255 on average: the default for training, which is faster so.
        mean: Of the channels, of pixels in 0..1.
        std: Likewise.
    """

    antialias: bool = True
    output: Literal["uint8", "float32"] = "uint8"
    exact: bool = True
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD


@dataclass(frozen=True, slots=True)
class RandomResizedCrop(Pixels):
    """RandomResizedCrop and a horizontal flip; the same box for image and mask.

    Attributes:
        size: Side of the square result, pixels.
        scale: Range of the box's share of the image area.
        ratio: Range of its width / height, uniform in the logarithm.
        flip_probability: Probability of a horizontal flip.
        exact: As in `Pixels`; False by default.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    exact: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)

    def shape(self, sizes: npt.NDArray[np.integer]) -> tuple[int, int]:
        """Tells the size of a batch of crops.

        Args:
            sizes: N x 2, width and height of the images; all come out in one size.

        Returns:
            Height and width in pixels, both `size`.
        """
        return self.size, self.size

    def draw(
        self, sizes: npt.NDArray[np.integer], generator: torch.Generator
    ) -> tuple[Boxes, npt.NDArray[np.bool_]]:
        """Draws a box and a flip for each image.

        Args:
            sizes: N x 2, width and height.
            generator: On the CPU.

        Returns:
            N x 4 boxes (left, top, width, height), and N flips.
        """
        group = ViewGroup(1, self.size, self.scale, self.ratio)
        boxes = draw_boxes(torch.from_numpy(sizes.astype(np.int64)), group, generator)[0]
        flips = torch.rand(len(sizes), generator=generator) < self.flip_probability
        return boxes.numpy(), flips.numpy()


@dataclass(frozen=True, slots=True)
class CenterCrop(Pixels):
    """The short side resized to `side`, then the middle `size` x `size` pixels: `ResizeCrop`, with
    a choice of `Pixels`.

    Attributes:
        size: Side of the square result, pixels.
        side: Short side of the resized image.
    """

    size: int = 224
    side: int = 256

    def __post_init__(self) -> None:
        _check(self)
        if self.side < self.size:
            raise UsageError(f"CenterCrop: side is {self.side}, less than size {self.size}.")

    def shape(self, sizes: npt.NDArray[np.integer]) -> tuple[int, int]:
        """Tells the size of a batch of crops.

        Args:
            sizes: N x 2, width and height of the images; all come out in one size.

        Returns:
            Height and width in pixels, both `size`.
        """
        return self.size, self.size

    def draw(
        self, sizes: npt.NDArray[np.integer], generator: torch.Generator
    ) -> tuple[Boxes, npt.NDArray[np.bool_]]:
        """Tells what the middle is made of, with the filter's reach; nothing is random about it.

        Args:
            sizes: N x 2, width and height of the images, pixels.
            generator: Not used.

        Returns:
            N x 4 int64 boxes (left, top, width, height), and N times False, as nothing is mirrored.
        """
        return self.view.draw(sizes, generator)

    @property
    def view(self) -> ResizeCrop:
        """The view that it shows."""
        return ResizeCrop(self.side, self.size)


@dataclass(frozen=True, slots=True)
class ShortSide(Pixels):
    """Whole images, resized so that their short side has `side` pixels.

    All images of a batch must come out in one shape; `by_shape` forms such batches.

    Attributes:
        side: Short side of the result, pixels; the long one is in proportion, rounded down.
        multiple: Both sides are then rounded to the nearest multiple of it, such as a patch size.
    """

    side: int = 256
    multiple: int = 1

    def __post_init__(self) -> None:
        _check(self)

    def shapes(self, sizes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """Tells how large images come out, one by one.

        Args:
            sizes: N x 2, width and height of the images, pixels.

        Returns:
            N x 2 int64, height and width in pixels.
        """
        whole = sizes[:, ::-1].astype(np.int64)
        shapes: npt.NDArray[np.int64] = whole * self.side // whole.min(1, keepdims=True)
        steps = (shapes + self.multiple // 2) // self.multiple
        return steps.clip(min=1) * self.multiple

    def shape(self, sizes: npt.NDArray[np.integer]) -> tuple[int, int]:
        """Tells how large the images of a batch come out.

        Args:
            sizes: N x 2, width and height of the images, pixels.

        Returns:
            Height and width in pixels.

        Raises:
            UsageError: They come out in more than one shape.
        """
        found = np.unique(self.shapes(sizes), axis=0)
        if len(found) != 1:
            raise UsageError(
                f"ShortSide: the images of this batch come out in {len(found)} shapes. Form the "
                "batches with `by_shape`."
            )
        return int(found[0, 0]), int(found[0, 1])

    def draw(
        self, sizes: npt.NDArray[np.integer], generator: torch.Generator
    ) -> tuple[Boxes, npt.NDArray[np.bool_]]:
        """Gives the whole images as boxes; nothing is random about them.

        Args:
            sizes: N x 2, width and height of the images, pixels.
            generator: Not used.

        Returns:
            N x 4 int64 boxes (0, 0, width, height), and N times False, as nothing is mirrored.
        """
        boxes = np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.int64)
        return boxes, np.zeros(len(sizes), np.bool_)


RandomCrop = RandomResizedCrop
"""The same by the name it had first."""

CentreCrop = CenterCrop
"""The same in British spelling."""

Crop = RandomResizedCrop | CenterCrop | ShortSide | View


def _check(crop: RandomResizedCrop | CenterCrop | ShortSide) -> None:
    """Refuses what would only fail in a worker.

    Raises:
        UsageError: With what may be given.
    """
    name = type(crop).__name__
    what, pixels = ("side", crop.side) if isinstance(crop, ShortSide) else ("size", crop.size)
    if pixels < 1:
        raise UsageError(f"{name}: {what} is {pixels}, at least 1 pixel is needed.")
    if isinstance(crop, ShortSide) and crop.multiple < 1:
        raise UsageError(f"{name}: multiple is {crop.multiple}, at least 1 is needed.")
    if crop.output not in ("uint8", "float32"):
        raise UsageError(f"{name}: output is {crop.output!r}, choose uint8 or float32.")
    if not isinstance(crop.antialias, bool):
        raise UsageError(f"{name}: antialias is {crop.antialias!r}, choose True or False.")
    if isinstance(crop, RandomResizedCrop):
        for what, (low, high) in (("scale", crop.scale), ("ratio", crop.ratio)):
            if not 0 < low <= high or (what == "scale" and high > 1):
                raise UsageError(f"{name}: {what} is {low} to {high}, which is no range of it.")


def view_of(crop: Crop | None) -> View | None:
    """Finds the evaluation view that a crop shows.

    Args:
        crop: What a loader cuts out; None: whole images.

    Returns:
        The view; of a `CenterCrop` the `ResizeCrop` of its sizes; None of what is none.
    """
    return crop.view if isinstance(crop, CenterCrop) else crop if isinstance(crop, View) else None
