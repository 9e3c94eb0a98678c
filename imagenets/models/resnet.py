"""The ResNet backbone of PASS: torchvision's layer names, layer3 and layer4 maps out."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from imagenets.errors import UsageError

DEPTHS: dict[str, tuple[bool, tuple[int, int, int, int], int]] = {
    # name: (bottleneck, blocks a layer, base width)
    "resnet18": (False, (2, 2, 2, 2), 64),
    "resnet50": (True, (3, 4, 6, 3), 64),
    "resnet50w2": (True, (3, 4, 6, 3), 128),
    "resnet50w4": (True, (3, 4, 6, 3), 256),
    "resnet50w5": (True, (3, 4, 6, 3), 320),
    # half as wide as resnet18: for two CPU cores, not a published network
    "resnet18w05": (False, (2, 2, 2, 2), 32),
}


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
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

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
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


class ResNet(nn.Module):
    """A ResNet without a classifier (He et al. 2016; stride on the 3x3 of the bottleneck).

    Attributes:
        features: Channels F of the layer4 map, 512 for resnet18 and 2048 for resnet50.
        shallow: Channels of the layer3 map, F / 2.
    """

    def __init__(self, arch: str) -> None:
        super().__init__()
        if arch not in DEPTHS:
            raise UsageError(f"there is no backbone {arch!r}: choose one of {', '.join(DEPTHS)}.")
        bottleneck, blocks, width = DEPTHS[arch]
        self.arch = arch
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        expansion = 4 if bottleneck else 1
        block = Bottleneck if bottleneck else BasicBlock
        inputs = width
        layers: list[nn.Sequential] = []
        for layer, count in enumerate(blocks):
            planes = width << layer
            rows: list[nn.Module] = []
            for i in range(count):
                rows.append(block(inputs, planes, 2 if layer and not i else 1))
                inputs = planes * expansion
            layers.append(nn.Sequential(*rows))
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.features = inputs
        self.shallow = inputs // 2

    def maps(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the layer3 and layer4 maps of N x 3 x H x W images.

        Returns:
            N x F/2 x H/16 x W/16 and N x F x H/32 x W/32, sizes rounded up.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        third = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)


def initialise(network: nn.Module) -> None:
    """Draws every convolution from He's normal distribution (fan-out); the rest is torch's own."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
