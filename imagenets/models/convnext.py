"""ConvNeXt, with the layer names of timm (Liu et al., arXiv:2201.03545)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from imagenets.errors import UsageError
from imagenets.models.backbone import Backbone
from imagenets.models.layers import DropPath, LayerNorm2d, Mlp

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # name: (blocks of each stage, channels of each stage)
    "convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
}

KERNEL = 7
"""Side of the depthwise convolutions."""

Depthwise = Callable[[int], nn.Module]
"""Makes a depthwise convolution of so many channels that keeps the size of its input."""


def depthwise(channels: int) -> nn.Module:
    """The usual one."""
    return nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels)


class Block(nn.Module):
    """A depthwise convolution, a norm and two linear layers, beside a shortcut."""

    def __init__(self, channels: int, convolution: nn.Module) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))
        self.conv_dw = convolution
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, 4 * channels)
        self.drop_path = DropPath(0.0)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv_dw(x).permute(0, 2, 3, 1)
        branch = self.gamma * self.mlp(self.norm(branch))
        return cast(Tensor, x + self.drop_path(branch.permute(0, 3, 1, 2)))


class ConvNeXtStage(nn.Module):
    """Half the size of the map before (not in the first stage), then blocks."""

    def __init__(self, inputs: int, channels: int, blocks: int, made: Depthwise) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if inputs != channels:
            halved = nn.Conv2d(inputs, channels, 2, 2)
            self.downsample = nn.Sequential(LayerNorm2d(inputs), halved)
        self.blocks = nn.Sequential(*(Block(channels, made(channels)) for _ in range(blocks)))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.blocks(self.downsample(x)))


class ConvNeXt(Backbone):
    """A ConvNeXt without its last norm and classifier; its maps are those of the four stages.

    Sizes of maps are rounded down.

    Args:
        name: One of `SIZES`.
        made: Makes the depthwise convolutions.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, name: str, made: Depthwise = depthwise) -> None:
        super().__init__()
        if name not in SIZES:
            raise UsageError(f"there is no ConvNeXt {name!r}: choose one of {', '.join(SIZES)}.")
        blocks, channels = SIZES[name]
        self.name = name
        self.channels = channels
        self.stem = nn.Sequential(nn.Conv2d(3, channels[0], 4, 4), LayerNorm2d(channels[0]))
        inputs = (channels[0], *channels)
        self.stages = nn.Sequential(
            *(ConvNeXtStage(inputs[i], channels[i], n, made) for i, n in enumerate(blocks))
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def maps(self, images: Tensor, levels: Sequence[int] = (-1,)) -> list[Tensor]:
        """Computes the maps of some stages of N x 3 x H x W images; see `Backbone.maps`."""
        wanted = [level % len(self.stages) for level in levels]
        x = self.stem(images)
        found: dict[int, Tensor] = {}
        for level, stage in enumerate(self.stages):
            x = stage(x)
            found[level] = x
        return [found[level] for level in wanted]

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The stem, then each downsampling and each block, in their order."""
        groups = [list(self.stem.parameters())]
        for stage in self.stages:
            assert isinstance(stage, ConvNeXtStage)
            halved = list(stage.downsample.parameters())
            groups += [halved] if halved else []
            groups += [list(block.parameters()) for block in stage.blocks]
        return groups
