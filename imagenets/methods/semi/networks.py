"""A backbone with a linear head, for each model of the protocol; and the layer of each weight."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.models.backbone import Backbone
from imagenets.models.checkpoints import plain_name
from imagenets.models.convnext import SIZES as CONVNEXTS
from imagenets.models.convnext import ConvNeXt
from imagenets.models.layers import LayerNorm2d
from imagenets.models.registry import make_backbone
from imagenets.models.rfnext import MODES, RFConvNeXt
from imagenets.models.vit import SIZES as VITS
from imagenets.models.vit import ViT

_HEAD_STD = 2e-5

LOGITS = 4
"""What ConvNeXt's head gives along each side of a position."""


class SegNet(nn.Module):
    """A backbone and a head over background + K classes.

    Attributes:
        backbone: Any.
    """

    backbone: Backbone

    def forward(self, images: Tensor) -> Tensor:
        """Gives the logits of images; each network has its own.

        Args:
            images: N x 3 x H x W floats, normalised as the backbone's `normalized` does.

        Returns:
            N x (K + 1) x h x w logits, background first.

        Raises:
            TypeError: The network defines none.
        """
        raise TypeError(f"{type(self).__name__} is a network without `forward`")


class LinearNet(SegNet):
    """A 1x1 classifier on the last map, its logits brought to twice the size.

    Args:
        backbone: Any backbone; its last map is read.
        num_classes: K; there are K + 1 logits, background first.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = _classifier(backbone.channels[-1], num_classes + 1)

    def forward(self, images: Tensor) -> Tensor:
        """Gives the logits of images.

        Args:
            images: N x 3 x H x W floats, normalised as the backbone's `normalized` does.

        Returns:
            N x (K + 1) x h x w, h and w twice those of the last map (bilinear,
            align_corners=False).
        """
        logits = self.head(self.backbone(images))
        return F.interpolate(logits, scale_factor=2.0, mode="bilinear", align_corners=False)


class ViTNet(SegNet):
    """A norm and a 1x1 classifier on the patches of a ViT: stride 16.

    Args:
        backbone: A ViT with patches of 16 pixels, without its last norm.
        num_classes: K; there are K + 1 logits, background first.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc_norm = LayerNorm2d(backbone.channels[-1])
        self.head = _classifier(backbone.channels[-1], num_classes + 1)

    def forward(self, images: Tensor) -> Tensor:
        """Gives the logits of images.

        Args:
            images: N x 3 x H x W floats, normalised as the backbone's `normalized` does.

        Returns:
            N x (K + 1) x H/16 x W/16, rounded down.
        """
        return cast(Tensor, self.head(self.fc_norm(self.backbone(images))))


class PatchHead(nn.Module):
    """A 1x1 classifier that gives 4 x 4 logits for each position.

    Args:
        channels: F of the map that it reads.
        outputs: C, the logits of a pixel.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, outputs * LOGITS**2, 1)
        nn.init.trunc_normal_(self.fc.weight, std=0.02)
        nn.init.zeros_(cast(nn.Parameter, self.fc.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Gives the logits of a map, which is 4 times as wide and high after that.

        The classifier's channels are rows and columns within a patch, then classes, classes
        fastest.

        Args:
            x: N x F x h x w features.

        Returns:
            N x C x 4h x 4w logits.
        """
        cells = self.fc(x).unflatten(1, (LOGITS, LOGITS, -1))
        return cast(Tensor, cells.permute(0, 3, 4, 1, 5, 2).flatten(4, 5).flatten(2, 3))


class ConvNeXtNet(SegNet):
    """A norm and a classifier of 4 x 4 logits a position: stride 8.

    Args:
        backbone: A ConvNeXt, whose last map has stride 32.
        num_classes: K; there are K + 1 logits, background first.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.seg_norm = LayerNorm2d(backbone.channels[-1])
        self.seg_head = PatchHead(backbone.channels[-1], num_classes + 1)

    def forward(self, images: Tensor) -> Tensor:
        """Gives the logits of images.

        Args:
            images: N x 3 x H x W floats, normalised as the backbone's `normalized` does.

        Returns:
            N x (K + 1) x H/8 x W/8, where H and W are multiples of 32.
        """
        return cast(Tensor, self.seg_head(self.seg_norm(self.backbone(images))))


class Layer(NamedTuple):
    """Where a weight stands.

    Attributes:
        group: 1 of what a search of dilations owns, else 0.
        number: 0 for the stem, up to the number of layers for the head.
    """

    group: int
    number: int


def make_network(model: str, num_classes: int, *, pretrained: bool = False) -> SegNet:
    """Makes a network with the weights that its classes start from.

    Args:
        model: One of RF-ConvNeXt's modes, or any backbone of the registry.
        num_classes: K; there are K + 1 logits, background first.
        pretrained: Whether the library of the backbone brings its weights.

    Returns:
        The network; its head is drawn anew from PyTorch's generator.

    Raises:
        UsageError: There is no such model, or no weights come with it.
        DependencyError: The library of the backbone is not installed.
    """
    if pretrained or model not in (*MODES, *VITS, *CONVNEXTS):
        return LinearNet(make_backbone(model, pretrained=pretrained), num_classes)
    if model in MODES:
        return ConvNeXtNet(RFConvNeXt(model), num_classes)
    if model in VITS:
        return ViTNet(ViT(model, norm=False), num_classes)
    return ConvNeXtNet(ConvNeXt(model), num_classes)


def layers(network: SegNet) -> tuple[dict[str, Layer], int]:
    """Tells the layer of each parameter, by its published name, and the number of layers.

    Layers are those of the backbone's `layer_groups`, counted from 0; norm and head of the network
    come after the last one, so that their number is the number of layers.

    Args:
        network: Any network of `make_network`.

    Returns:
        Name -> layer, and the number of layers of the backbone.
    """
    backbone = network.backbone
    groups = backbone.layer_groups()
    numbers = {id(value): number for number, group in enumerate(groups) for value in group}
    second = backbone.second_group() if isinstance(backbone, RFConvNeXt) else []
    seconds = set(map(id, second))
    found = {
        plain_name(name): Layer(int(id(value) in seconds), numbers.get(id(value), len(groups)))
        for name, value in network.named_parameters()
    }
    return found, len(groups)


def _classifier(channels: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, outputs, 1)
    nn.init.trunc_normal_(layer.weight, std=_HEAD_STD)
    nn.init.zeros_(cast(nn.Parameter, layer.bias))
    return layer
