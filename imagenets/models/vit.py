"""Vision transformers with 16 x 16 patches, with the layer names of timm.

Dosovitskiy et al., arXiv:2010.11929.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.errors import UsageError
from imagenets.models.backbone import Backbone, as_grid, looked_at
from imagenets.models.layers import DropPath, Mlp

SIZES: dict[str, tuple[int, int, int]] = {
    # name: (channels, blocks, heads)
    "vit_small_patch16": (384, 12, 6),
    "vit_base_patch16": (768, 12, 12),
}

PATCH = 16
"""Side of a patch, pixels."""

GRID = 14
"""Side of the grid that the position embedding is made for: images of 224 x 224 pixels."""

_NUDGE = 0.1  # keeps the size of a resized embedding from being rounded down


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Takes and gives N x L x C tokens."""
        query, key, value = self._parts(x)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return cast(Tensor, self.proj(mixed.transpose(1, 2).flatten(2)))

    def of_class_token(self, x: Tensor) -> Tensor:
        """Where the first of N x L x C tokens looks: N x heads x 1 x L, after the softmax."""
        query, key, _ = self._parts(x)
        scale = query.shape[-1] ** -0.5
        looks: Tensor = scale * query[:, :, :1] @ key.transpose(2, 3)
        return looks.softmax(-1)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, N x heads x L x C / heads each."""
        qkv = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]


class Block(nn.Module):
    """Attention, then two linear layers, each behind a norm and beside a shortcut."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = Mlp(channels, 4 * channels)
        self.drop_path = DropPath(0.0)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return cast(Tensor, x + self.drop_path(self.mlp(self.norm2(x))))


class PatchEmbed(nn.Module):
    """Patches as a convolution with the stride of its kernel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, channels, PATCH, PATCH)

    def forward(self, images: Tensor) -> Tensor:
        return cast(Tensor, self.proj(images))


class ViT(Backbone):
    """A vision transformer without a classifier; its one map is the grid of its patches.

    Pixels to the right of the last whole patch and below it are not seen, so that the size of the
    map is rounded down.

    Args:
        name: One of `SIZES`.
        norm: Whether the tokens go through a last norm, called `norm`. A head that brings its own
            leaves it out.
    """

    strides = (PATCH,)
    attends = True

    def __init__(self, name: str, *, norm: bool = True) -> None:
        super().__init__()
        if name not in SIZES:
            raise UsageError(f"there is no ViT {name!r}: choose one of {', '.join(SIZES)}.")
        channels, blocks, heads = SIZES[name]
        self.name = name
        self.channels = (channels,)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + GRID**2, channels))
        self.patch_embed = PatchEmbed(channels)
        self.blocks = nn.Sequential(*(Block(channels, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(channels, eps=1e-6) if norm else nn.Identity()
        self._initialise()

    def maps(self, images: Tensor, levels: Sequence[int] = (-1,)) -> list[Tensor]:
        """Computes the grid of patches of N x 3 x H x W images; see `Backbone.maps`."""
        tokens, shape = self._embedded(images)
        found = as_grid(self.norm(self.blocks(tokens)), 1, shape)
        return [found for _ in levels]

    def attended(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the map and the class token's attention in the last block; see `Backbone`."""
        tokens, shape = self._embedded(images)
        *blocks, last = self.blocks
        for block in blocks:
            tokens = block(tokens)
        assert isinstance(last, Block)
        looks = looked_at(last.attn.of_class_token(last.norm1(tokens)), 1, shape)
        return as_grid(self.norm(last(tokens)), 1, shape), looks

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The embedding of patches, then each block; the last norm goes with the last block."""
        places: list[nn.Parameter] = [self.cls_token, self.pos_embed]
        blocks = [list(block.parameters()) for block in self.blocks]
        blocks[-1] += self.norm.parameters()
        return [[*places, *self.patch_embed.parameters()], *blocks]

    def _embedded(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The class token and the patches with their places, N x L x C, and the grid's shape."""
        grid = self.patch_embed(images)
        shape = (grid.shape[2], grid.shape[3])
        places = self._places(*shape, images.shape[2] == images.shape[3])
        tokens = grid.flatten(2).transpose(1, 2) + places[:, 1:]
        first = (self.cls_token + places[:, :1]).expand(len(images), -1, -1)
        return torch.cat([first, tokens], 1), shape

    def _places(self, rows: int, columns: int, square: bool) -> Tensor:
        """The position embedding for a grid, resized by factors a little above the true ones."""
        if square and rows * columns == GRID**2:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (GRID, GRID))
        factors = [(rows + _NUDGE) / GRID, (columns + _NUDGE) / GRID]
        resized = F.interpolate(grid, scale_factor=factors, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], resized.flatten(2).transpose(1, 2)], 1)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
