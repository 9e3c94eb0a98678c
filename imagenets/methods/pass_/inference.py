"""What step 6 makes of images: logits, or probabilities averaged over scales and mirror images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from imagenets.errors import UsageError
from imagenets.methods.pass_.attending import MAP
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.presets import Config

_FIRST = 16
"""Elements of the largest of the first maps of a ResNet, for each pixel: 64 channels, stride 2."""


def largest(config: Config) -> float:
    """The scale at which images come in."""
    return max(config.scales)


def is_averaged(config: Config) -> bool:
    """Whether the settings ask for more than one pass over the images as they come in."""
    return config.flip or len(config.scales) > 1


def class_scores(network: SegmentationNet, images: Tensor, config: Config) -> Tensor:
    """Scores every class on the grid.

    Args:
        network: Trained.
        images: n x 3 x h x w uint8, of the largest scale.
        config: Its `scales`, `flip` and `refine` count.

    Returns:
        n x (K + 1) x rows x columns float32: the logits; or where several passes are averaged, or
        masks are to be refined, the mean probabilities, on the grid of the largest scale.
    """
    floats = network.backbone.normalized(images)
    several = is_averaged(config) or config.refine
    return averaged(network, floats, config) if several else _logits(network, floats)


def averaged(network: SegmentationNet, images: Tensor, config: Config) -> Tensor:
    """The mean of the probabilities over all scales, each also mirrored where `flip` says so.

    Args:
        network: Trained.
        images: n x 3 x h x w floats, of the largest scale.
        config: Its `scales` and `flip` count.

    Returns:
        n x (K + 1) x rows x columns.

    Raises:
        UsageError: There are several scales, and the backbone takes images of one size.
    """
    backbone, top = network.backbone, largest(config)
    if backbone.size is not None and len(config.scales) > 1:
        raise UsageError(
            f"{backbone.name}: takes images of {backbone.size} pixels alone. Give one scale."
        )
    mirrors = (False, True) if config.flip else (False,)
    total: Tensor | None = None
    for scale in sorted(config.scales, reverse=True):
        resized = images if scale == top else _resized(images, scale / top, backbone.patch)
        for mirrored in mirrors:
            found = _probabilities(network, resized, mirrored)
            if total is None:
                total = found
            elif found.shape == total.shape:
                total += found
            else:
                total += F.interpolate(found, total.shape[2:], mode="bilinear", align_corners=False)
    assert total is not None  # there is at least one scale
    return total / (len(config.scales) * len(mirrors))


def images_at_once(network: SegmentationNet, images: Tensor, config: Config) -> int:
    """How many images go through at a time: all, or so many that no map has over `MAP` elements.

    Args:
        network: Trained; of a ResNet the first maps count as well, which finer images enlarge.
        images: n x 3 x h x w.
        config: Where it has no finer grid and averages nothing, all go at once, as published.
    """
    finer = config.grid or config.finetune_grid or largest(config) > 1
    if not is_averaged(config) and not finer:
        return max(1, len(images))
    height, width = images.shape[2:]
    stride = network.backbone.strides[-1]
    channels = max(network.backbone.channels[-1], network.last_layer.out_channels)
    last = channels * -(-height // stride) * -(-width // stride)
    first = max(_FIRST, network.backbone.channels[0] // network.backbone.strides[0] ** 2)
    return max(1, MAP // max(last, first * height * width))


def _probabilities(network: SegmentationNet, images: Tensor, mirrored: bool) -> Tensor:
    if not mirrored:
        return _logits(network, images).softmax(1)
    return _logits(network, images.flip(3)).softmax(1).flip(3)


def _logits(network: SegmentationNet, images: Tensor) -> Tensor:
    logits: Tensor = network(images)
    return logits.float()


def _resized(images: Tensor, factor: float, patch: int) -> Tensor:
    """Smaller images, by the filter that widens with the step, as the loader resizes."""
    size = [max(1, round(side * factor / patch)) * patch for side in images.shape[2:]]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)
