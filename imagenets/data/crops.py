"""What a loader cuts out of each image: a random box for training, the middle for testing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from imagenets.data.augment import MEAN, STD, ViewGroup, draw_boxes

Boxes = npt.NDArray[np.int64]
Resample = Literal["antialiased", "bilinear"]


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """RandomResizedCrop and a horizontal flip; the same box for image and mask.

    Attributes:
        size: Side of the square result, pixels.
        scale: Range of the box's share of the image area.
        ratio: Range of its width / height, uniform in the logarithm.
        flip: Probability of a horizontal flip.
        resample: `antialiased` equals Pillow's `resize`; `bilinear` takes the four nearest pixels
            whatever the scale, as OpenCV does: faster, and aliased where it shrinks.
        output: `uint8`, or `float32` normalised by `mean` and `std`.
        exact: Decode as Pillow does. By default libjpeg-turbo's fast DCT and plain upsampling of
            colours are used, off by about one of 255 on average.
        mean: Of the channels, of pixels in 0..1.
        std: Likewise.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    resample: Resample = "antialiased"
    output: Literal["uint8", "float32"] = "uint8"
    exact: bool = False
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

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
        flips = torch.rand(len(sizes), generator=generator) < self.flip
        return boxes.numpy(), flips.numpy()


@dataclass(frozen=True, slots=True)
class CentreCrop:
    """The middle of each image: what resizing the short side to `side` and cutting out the
    central `size` x `size` pixels shows, up to half a pixel of the original, resized once.

    Attributes:
        size: Side of the square result, pixels.
        side: Short side that the image would be resized to.
        resample: See `RandomCrop`, as for all that follows.
        output: Type of the result.
        exact: Decode as Pillow does.
        mean: Of the channels.
        std: Of the channels.
    """

    size: int = 224
    side: int = 256
    resample: Resample = "antialiased"
    output: Literal["uint8", "float32"] = "uint8"
    exact: bool = True
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD

    def draw(
        self, sizes: npt.NDArray[np.integer], generator: torch.Generator
    ) -> tuple[Boxes, npt.NDArray[np.bool_]]:
        """The central boxes; nothing is random about them."""
        whole = sizes.astype(np.int64)
        short = whole.min(1)
        side = np.maximum(1, np.minimum(short, np.rint(short * (self.size / self.side))))
        boxes = np.empty((len(whole), 4), np.int64)
        boxes[:, 2:] = side.astype(np.int64)[:, None]
        boxes[:, :2] = (whole - boxes[:, 2:]) // 2
        return boxes, np.zeros(len(whole), np.bool_)


Crop = RandomCrop | CentreCrop
