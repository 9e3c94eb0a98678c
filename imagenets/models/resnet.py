"""The ResNets of PASS, with the layer names of torchvision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from imagenets.errors import UsageError
from imagenets.models.backbone import Backbone

DEPTHS: dict[str, tuple[bool, tuple[int, int, int, int], int]] = {
    # name: (bottleneck, blocks a layer, base width)
    "resnet18": (False, (2, 2, 2, 2), 64),
    "resnet50": (True, (3, 4, 6, 3), 64),
    "resnet50_d16": (True, (3, 4, 6, 3), 64),
    "resnet50w2": (True, (3, 4, 6, 3), 128),
    "resnet50w4": (True, (3, 4, 6, 3), 256),
    "resnet50w5": (True, (3, 4, 6, 3), 320),
    # half as wide as resnet18: for two CPU cores, not a published network
    "resnet18w05": (False, (2, 2, 2, 2), 32),
}

DILATED = ("resnet50_d16",)
"""Those whose last layer has dilation 2 in place of a stride: maps of stride 16."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return cast(Tensor, self.relu(x + shortcut))


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions and a shortcut; the 3x3 carries the stride (v1.5)."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return cast(Tensor, self.relu(x + shortcut))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class ResNet(Backbone):
    """A ResNet without a classifier (He et al. 2016; stride on the 3x3 of the bottleneck).

    Its four feature maps are those of layer1 to layer4; resnet18 has 512 channels in the last one,
    resnet50 2048.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in DEPTHS:
            raise UsageError(f"there is no ResNet {name!r}: choose one of {', '.join(DEPTHS)}.")
        bottleneck, blocks, width = DEPTHS[name]
        self.name = name
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        expansion = 4 if bottleneck else 1
        block = Bottleneck if bottleneck else BasicBlock
        dilated = name in DILATED
        inputs = width
        layers: list[nn.Sequential] = []
        for layer, count in enumerate(blocks):
            planes = width << layer
            rows: list[nn.Module] = []
            for i in range(count):
                stride = 2 if layer and not i and not (dilated and layer == 3) else 1
                rows.append(block(inputs, planes, stride, 2 if dilated and layer == 3 and i else 1))
                inputs = planes * expansion
            layers.append(nn.Sequential(*rows))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.strides = (4, 8, 16, 16 if dilated else 32)
        self.channels = tuple(expansion * (width << layer) for layer in range(4))

    def maps(self, images: Tensor, levels: Sequence[int] = (-1,)) -> list[Tensor]:
        """Computes the maps of some layers of N x 3 x H x W images; see `Backbone.maps`."""
        wanted = [level % 4 for level in levels]
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        found: dict[int, Tensor] = {}
        for level, layer in enumerate((self.layer1, self.layer2, self.layer3, self.layer4)):
            x = layer(x)
            if level in wanted:
                found[level] = x
        return [found[level] for level in wanted]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The stem, then each block."""
        stem = [*self.conv1.parameters(), *self.bn1.parameters()]
        layers = (self.layer1, self.layer2, self.layer3, self.layer4)
        return [stem, *(list(block.parameters()) for layer in layers for block in layer)]


def initialise(network: nn.Module) -> None:
    """Draws every convolution from He's normal distribution (fan-out); the rest is torch's own."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
