"""Transforms without chance: for evaluation, labels and normalising."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.errors import UsageError
from imagenets.pixels.resample import check_box, nearest_crop_into, resize_crop_into

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def resize_crop(
    image: Tensor, box: Sequence[int], size: int | tuple[int, int], flip: bool = False
) -> Tensor:
    """Cuts a box out of an image and resizes it, antialiased bilinear.

    On the CPU equal to Pillow bit by bit, see `resample.resize_crop_into`. On another device the
    crop is cut off first, so that its outermost pixels do not see what lies beyond the box.

    Args:
        image: uint8 3 x H x W.
        box: Left, top, width, height.
        size: Side of the square result, or its height and width.
        flip: Mirror the result horizontally.

    Returns:
        uint8 3 x h x w, on the image's device.

    Raises:
        UsageError: The image is of another shape or type, or the box is not inside it.
    """
    height, width = (size, size) if isinstance(size, int) else size
    left, top, wide, high = box
    if image.dtype != torch.uint8 or image.ndim != 3 or min(height, width) < 1:
        raise UsageError(
            f"resizes uint8 3 x H x W to 1 x 1 pixel or more, not {image.dtype} of "
            f"{tuple(image.shape)} to {height} x {width}."
        )
    check_box(box, image.shape[2], image.shape[1])
    if image.device.type == "cpu":
        out = np.empty((height, width, 3), np.uint8)
        source = image.permute(1, 2, 0).numpy()
        resize_crop_into(source, (left, top, wide, high), flip, out)
        return torch.from_numpy(np.ascontiguousarray(out.transpose(2, 0, 1)))
    crop = image[None, :, top : top + high, left : left + wide].float()
    resized = F.interpolate(crop, (height, width), mode="bilinear", antialias=True)[0]
    resized = resized.round_().clamp_(0, 255).byte()
    return resized.flip(-1) if flip else resized


def label_crop(labels: Tensor, box: Sequence[int], flip: bool, size: int) -> Tensor:
    """Cuts the same box out of an H x W label map and resizes it, nearest pixel centre.

    Args:
        labels: Integers, on the CPU.
        box: Left, top, width, height.
        flip: Mirror the result horizontally.
        size: Side of the square result.

    Returns:
        size x size of the same type, equal to Pillow's nearest.

    Raises:
        UsageError: The map is of another shape or type, or the box is not inside it.
    """
    left, top, width, height = box
    if labels.is_floating_point() or labels.is_complex():
        raise UsageError(f"a label map holds whole numbers, not {labels.dtype}.")
    kind = np.int16 if labels.dtype == torch.int16 else np.int64
    out = np.empty((size, size), kind)
    source = labels.numpy().astype(kind, copy=False)
    nearest_crop_into(source, (left, top, width, height), flip, out)
    return torch.from_numpy(out).to(labels.dtype)


def normalize(
    x: Tensor, mean: tuple[float, float, float] = MEAN, std: tuple[float, float, float] = STD
) -> Tensor:
    """Subtracts the mean and divides by the deviation of each channel of B x 3 x H x W.

    Floats are in [0, 1]; bytes are brought there first.
    """
    if x.dtype == torch.uint8:
        x = x.float().div_(255)
    centre = torch.tensor(mean, device=x.device)[:, None, None]
    return (x - centre).div_(torch.tensor(std, device=x.device)[:, None, None])


def short_side(image: Tensor, side: int) -> Tensor:
    """Resizes a uint8 3 x H x W image so that its short side has `side` pixels, antialiased.

    Raises:
        UsageError: The image is of another shape or type, or `side` is less than 1.
    """
    if side < 1:
        raise UsageError(f"side is {side}: at least 1 pixel is needed.")
    height, width = image.shape[1:]
    short = min(height, width)
    target = (max(1, height * side // short), max(1, width * side // short))
    if target == (height, width):
        return image
    return resize_crop(image, (0, 0, width, height), target)


def center_crop(image: Tensor, size: int) -> Tensor:
    """Cuts the middle size x size pixels out of (... x) H x W images at least as large.

    Where the middle lies between two pixels, the even offset is taken, as torchvision does.

    Raises:
        UsageError: They are smaller.
    """
    height, width = image.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise UsageError(f"cannot cut {size} x {size} pixels out of {width} x {height}.")
    top, left = (round((side - size) / 2) for side in (height, width))
    return image[..., top : top + size, left : left + size]
