"""How images come into a backbone in each step: its own sizes, where it does not take any."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from imagenets.data.augment import ViewGroup
from imagenets.data.dataset.views import Squash
from imagenets.data.loader.crops import RandomResizedCrop, ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.methods.pass_.presets import PRETRAIN_STD, Config
from imagenets.models.backbone import Backbone, Triple
from imagenets.models.resnet import ResNet

Batches = list[npt.NDArray[np.int64]]


def square(backbone: Backbone, side: int) -> int:
    """Side of the square crops that a backbone takes where `side` is wished."""
    if backbone.size is not None:
        return backbone.size
    return max(1, side // backbone.patch) * backbone.patch


def whole(
    backbone: Backbone, config: Config, sizes: npt.NDArray[np.integer], scale: float = 1.0
) -> tuple[ShortSide | Squash, Batches]:
    """How whole images come in, and batches of those that come in one shape.

    Args:
        backbone: Says what it takes.
        config: Its short side is wished.
        sizes: N x 2, width and height of the images.
        scale: Of the short side.
    """
    crop = backbone.crop(max(1, round(config.side * scale)))
    shapes = crop.shapes(sizes) if isinstance(crop, ShortSide) else np.zeros_like(sizes)
    return crop, list(by_shape(shapes, config.batch))


def central(backbone: Backbone, config: Config) -> tuple[ShortSide, int]:
    """For clustering: how images are resized, and the side of the middle that is cut out."""
    side = square(backbone, config.crop)
    if backbone.size is not None:  # as much of the image as is wished
        return ShortSide(max(side, round(side * config.side / config.crop))), side
    return ShortSide(config.side, backbone.patch), side


def random_crop(backbone: Backbone, config: Config) -> RandomResizedCrop:
    """For fine-tuning."""
    return RandomResizedCrop(square(backbone, config.crop))


def fitted(backbone: Backbone, groups: tuple[ViewGroup, ...]) -> tuple[ViewGroup, ...]:
    """Views in sizes that a backbone takes."""
    return tuple(replace(group, size=square(backbone, group.size)) for group in groups)


def view_std(backbone: Backbone) -> Triple:
    """What views are divided by in steps 1 and 2: as published for the published networks."""
    return PRETRAIN_STD if isinstance(backbone, ResNet) else backbone.std
