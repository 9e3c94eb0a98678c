"""The three networks of PASS: a backbone and heads.

The published checkpoints name the weights of the backbone without a prefix; see
`imagenets.models.checkpoints.plain_state`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.models.backbone import Backbone
from imagenets.models.dilation import dilate
from imagenets.models.registry import make_backbone
from imagenets.models.resnet import initialise

EMBEDDING = 128
"""Channels of every embedding and of the prototypes."""

ENLARGED = 4
"""How many times larger the attention makes the last map."""

MAP = 1 << 28
"""Elements of an enlarged map that labelling holds at once: 93 images of 256 x 341, resnet50."""


def _projection(inputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, EMBEDDING),
        nn.BatchNorm1d(EMBEDDING, affine=False),
    )


def _pixel_projection(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, hidden, 1, bias=False),
        nn.BatchNorm2d(hidden),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs, affine=False),
    )


def _pool(x: Tensor) -> Tensor:
    return x.mean((2, 3))


def _by_size(crops: Sequence[Tensor]) -> list[Tensor]:
    """Joins neighbouring crops of one size, so that the backbone sees each size once."""
    groups: list[list[Tensor]] = []
    for crop in crops:
        if not groups or groups[-1][0].shape[-1] != crop.shape[-1]:
            groups.append([])
        groups[-1].append(crop)
    return [group[0] if len(group) == 1 else torch.cat(group) for group in groups]


def _full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """float32 within autocast: half precision has no digits for normalised scores."""
    kind = x.device.type
    return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)  # meta has none


class _WithPrototypes(nn.Module):
    backbone: Backbone
    prototypes: nn.Linear

    @torch.no_grad()
    def normalize_prototypes(self) -> None:
        """L2-normalises every prototype in place, as before each training step."""
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight))


@dataclass
class PretrainOutput:
    """What one pretraining pass gives; V crops of n images, two of them of the first size.

    Attributes:
        embedding: V*n x 128, L2-normalised, crop after crop.
        scores: V*n x M, embedding times prototypes.
        shallow_scores: 2n x M, from layer3, gradients stop at the prototypes.
        shallow_embedding: 2n x 128, L2-normalised.
        projection: 2n x 128 x G x G, layer4 pixels at the grid points of the two views.
        prediction: 2n x 128 x G x G, the predictor's answer to `projection`.
    """

    embedding: Tensor
    scores: Tensor
    shallow_embedding: Tensor
    shallow_scores: Tensor
    projection: Tensor
    prediction: Tensor


class PretrainNet(_WithPrototypes):
    """Step 1: image, shallow and pixel heads on the backbone (arXiv:2106.03149, section 4)."""

    def __init__(self, arch: str, hidden: int, prototypes: int) -> None:
        super().__init__()
        self.backbone = make_backbone(arch)
        *_, shallow, features = self.backbone.channels
        self.projection_head = _projection(features, hidden)
        self.projection_head_shallow = nn.ModuleDict(
            {"projection_head_shallow3": _projection(shallow, hidden)}
        )
        self.projection_head_pixel_shallow = nn.ModuleDict(
            {"projection_head_pixel3": _pixel_projection(shallow, hidden, shallow)}
        )
        self.projection_head_pixel = _pixel_projection(features, hidden, EMBEDDING)
        self.predictor_head_pixel = nn.Sequential(
            nn.Conv2d(EMBEDDING, EMBEDDING, 1, bias=False),
            nn.BatchNorm2d(EMBEDDING),
            nn.ReLU(inplace=True),
            nn.Conv2d(EMBEDDING, EMBEDDING, 1),
        )
        self.prototypes = nn.Linear(EMBEDDING, prototypes, bias=False)
        initialise(self)

    def forward(self, crops: Sequence[Tensor], grids: tuple[Tensor, Tensor]) -> PretrainOutput:
        """Runs all crops of a batch.

        Args:
            crops: V tensors n x 3 x s x s, those of one size next to each other, the two
                aligned views first; neighbours of one size may come as one tensor.
            grids: q and k, each n x G x G x 2 in [-1, 1] (-2 where the views do not overlap).

        Returns:
            Embeddings, scores and pixel projections, see `PretrainOutput`.
        """
        pooled: list[Tensor] = []
        for i, batch in enumerate(_by_size(crops)):
            third, fourth = self.backbone.maps(batch, (-2, -1))
            pooled.append(_pool(fourth))
            if i == 0:
                shallow = self._shallow(third)
                pixels = self.projection_head_pixel(fourth)
        embedding = self.projection_head(torch.cat(pooled)).float()
        with _full_precision(embedding):
            embedding = F.normalize(embedding)
            projection = F.grid_sample(pixels.float(), torch.cat(grids), align_corners=False)
            return PretrainOutput(
                embedding=embedding,
                scores=self.prototypes(embedding),
                shallow_embedding=shallow,
                shallow_scores=F.linear(shallow, self.prototypes.weight.detach()),
                projection=projection,
                prediction=self.predictor_head_pixel(projection),
            )

    def _shallow(self, third: Tensor) -> Tensor:
        pixels = self.projection_head_pixel_shallow["projection_head_pixel3"](third)
        head = self.projection_head_shallow["projection_head_shallow3"]
        return F.normalize(head(_pool(pixels)).float())


class PixelAttention(nn.Module):
    """The foreground head `fbg`: a sigmoid gate for every channel of every pixel."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(1, features, 1, 1))
        self.atten = nn.Sequential(
            nn.Conv2d(features, features, 1),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
            nn.Conv2d(features, features, 1),
            nn.BatchNorm2d(features),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.atten(x) + self.threshold)


class AttentionNet(_WithPrototypes):
    """Steps 2 to 4: the backbone, the pixel attention head and the prototypes."""

    def __init__(self, arch: str, hidden: int, prototypes: int) -> None:
        super().__init__()
        self.backbone = make_backbone(arch)
        features = self.backbone.channels[-1]
        self.projection_head = _projection(features, hidden)
        self.prototypes = nn.Linear(EMBEDDING, prototypes, bias=False)
        self.fbg = PixelAttention(features)
        self.enlarged = ENLARGED
        initialise(self)

    def refine_grid(self, stride: int) -> None:
        """Makes the backbone as fine as a stride, 0: as it is; the map grows but where it must."""
        before = self.backbone.strides[-1]
        dilate(self.backbone, stride)
        self.enlarged = max(1, ENLARGED * self.backbone.strides[-1] // before)

    def gated(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the x4 layer4 map of N x 3 x H x W images and its attention.

        Returns:
            The map (N x F x H/8 x W/8), the same L2-normalised over channels, and the
            attention of the normalised map (same shape, in 0..1).
        """
        return self.gate(self.backbone(images))

    def gate(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of the layer4 map of images, N x F x H/32 x W/32."""
        features = F.interpolate(
            features, scale_factor=self.enlarged, mode="bilinear", align_corners=False
        )
        normalised = F.normalize(features)
        return features, normalised, self.fbg(normalised)

    def forward(self, crops: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embeds crops through the attention: (V*n x 128, L2-normalised) and (V*n x M)."""
        pooled = [
            _pool(normalised * attention)
            for _, normalised, attention in map(self.gated, _by_size(crops))
        ]
        embedding = self.projection_head(torch.cat(pooled)).float()
        with _full_precision(embedding):
            embedding = F.normalize(embedding)
            return embedding, self.prototypes(embedding)

    def images_at_once(self, size: Sequence[int]) -> int:
        """How many images of a height and width `gated` takes within `MAP` elements; at least one.

        It holds up to six tensors of that size: 6 GB.
        """
        height, width = (self.enlarged * -(-side // self.backbone.strides[-1]) for side in size)
        return max(1, MAP // (self.backbone.channels[-1] * height * width))

    def cluster_features(self, images: Tensor) -> Tensor:
        """Pools the map before normalisation under its attention: N x F, not normalised."""
        features, _, attention = self.gated(images)
        return _pool(features * attention)


class SegmentationNet(nn.Module):
    """Steps 5 and 6: the backbone and a 1x1 classifier over background + K classes."""

    def __init__(self, arch: str, num_classes: int) -> None:
        super().__init__()
        self.backbone = make_backbone(arch)
        self.last_layer = nn.Conv2d(self.backbone.channels[-1], num_classes + 1, 1)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Gives N x (K + 1) x H/32 x W/32 logits of N x 3 x H x W images."""
        return cast(Tensor, self.last_layer(self.backbone(images)))
