"""Finer maps of a trained ResNet: dilation in place of its last strides, with the same weights."""

from __future__ import annotations

from torch import nn

from imagenets.errors import UsageError
from imagenets.models.backbone import Backbone
from imagenets.models.resnet import DEPTHS, DILATED, ResNet

STRIDES = (4, 8, 16, 32)
"""Of the four maps of a ResNet, pixels."""


def dilate(network: Backbone, stride: int) -> None:
    """Makes the last maps of a ResNet as fine as a stride, in place.

    A convolution that loses its stride of 2 looks at the pixels that it looked at before, and all
    3x3 convolutions behind it look twice as far. So at the places that both maps have, the new one
    holds the values of the old one, to rounding ("a trous"; Chen et al., arXiv:1606.00915, section
    3.1).

    Args:
        network: Changed; its weights and their names stay. Nothing happens if its last map has this
            stride.
        stride: Pixels of the image from one place of the last map to the next; 0: as it is.

    Raises:
        UsageError: It is no ResNet, or has no map of this stride.
    """
    if stride in (0, network.strides[-1]):
        return
    check_stride(network.name, stride)
    assert isinstance(network, ResNet)  # as its name says
    factor = 1
    layers = (network.layer1, network.layer2, network.layer3, network.layer4)
    for layer, own in zip(layers, network.strides, strict=True):
        for module in layer.modules():
            if isinstance(module, nn.Conv2d):
                factor = _dilated(module, factor, own > stride)
    network.strides = tuple(min(own, stride) for own in network.strides)


def check_stride(name: str, stride: int) -> None:
    """Looks whether `dilate` can give a backbone of a name this stride, before it is made.

    Raises:
        UsageError: It is no ResNet, or has no map of this stride.
    """
    if stride == 0:
        return
    if name not in DEPTHS:
        raise UsageError(f"a grid of {stride} pixels: {name} is no ResNet, give 0.")
    strides = STRIDES[:-1] if name in DILATED else STRIDES
    if stride not in strides:
        raise UsageError(
            f"a grid of {stride} pixels: {name} can have {', '.join(map(str, strides))}, or 0 for "
            "its own."
        )


def _dilated(convolution: nn.Conv2d, factor: int, finer: bool) -> int:
    """Dilates a convolution by a factor, takes its stride away; gives the factor behind it."""
    wide = convolution.kernel_size != (1, 1)
    if wide:
        reach = convolution.dilation[0] * factor
        convolution.dilation, convolution.padding = (reach, reach), (reach, reach)
    if not finer or convolution.stride == (1, 1):
        return factor
    convolution.stride = (1, 1)
    return 2 * factor if wide else factor  # a 1x1 is the shortcut beside a wide one
