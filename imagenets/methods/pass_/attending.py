"""What clusters and labels: a backbone, and where it looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.models.backbone import Backbone
from imagenets.models.dilation import dilate
from imagenets.models.registry import make_backbone

ENLARGED = 4
"""How many times larger the attention makes the last map."""

MAP = 1 << 28
"""Elements of an enlarged map that labelling holds at once: 93 images of 256 x 341, resnet50."""


def as_backbone(arch: str | Backbone) -> Backbone:
    """A backbone, or a new one of a name."""
    return make_backbone(arch) if isinstance(arch, str) else arch


def pool(x: Tensor) -> Tensor:
    """The mean over all positions of N x F x h x w: N x F."""
    return x.mean((2, 3))


def enlarged(x: Tensor, factor: int) -> Tensor:
    """Maps that are so many times as high and wide, bilinear."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class Attending(nn.Module):
    """What clusters and labels: a backbone, and where it looks."""

    backbone: Backbone

    def __init__(self) -> None:
        super().__init__()
        self.enlarged = ENLARGED

    def refine_grid(self, stride: int) -> None:
        """Makes the backbone as fine as a stride, 0: as it is; the map grows but where it must."""
        before = self.backbone.strides[-1]
        dilate(self.backbone, stride)
        self.enlarged = max(1, ENLARGED * self.backbone.strides[-1] // before)

    def gated(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the x4 map of N x 3 x H x W images, F channels, and its attention in 0..1.

        Returns:
            The map, the same L2-normalised over channels, and the attention: N x F x h x w, or one
            channel for all.
        """
        raise TypeError(f"{type(self).__name__} lacks `gated`")

    def with_shallow(self, images: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `gated`, but with the map of a layer, from 1, or the last, in place of the x4 map."""
        raise TypeError(f"{type(self).__name__} lacks `with_shallow`")

    def images_at_once(self, size: Sequence[int]) -> int:
        """How many images of a height and width `gated` takes within `MAP` elements; at least one.

        It holds up to six tensors of that size: 6 GB.
        """
        height, width = (self.enlarged * -(-side // self.backbone.strides[-1]) for side in size)
        return max(1, MAP // (self.backbone.channels[-1] * height * width))

    def cluster_features(self, images: Tensor) -> Tensor:
        """Pools the map before normalisation under its attention: N x F, not normalised."""
        features, _, attention = self.gated(images)
        return pool(features * attention)


class OwnAttention(Attending):
    """Steps 3 and 4 of a backbone that has an attention itself: nothing is trained for it."""

    def __init__(self, arch: str | Backbone) -> None:
        super().__init__()
        self.backbone = as_backbone(arch)

    def gated(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `Attending.gated`; one channel, 1 where an image looks most."""
        return self._gate(*self.backbone.attended(images))

    def with_shallow(self, images: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `Attending.with_shallow`; the only map."""
        features, looks = self.backbone.attended(images)
        _, normalised, attention = self._gate(features, looks)
        return features, normalised, attention

    def _gate(self, features: Tensor, looks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        peak = looks.amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        maps = enlarged(features, self.enlarged)
        return maps, F.normalize(maps), enlarged((looks / peak)[:, None], self.enlarged)
