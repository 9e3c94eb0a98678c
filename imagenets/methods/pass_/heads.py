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

from imagenets.errors import UsageError
from imagenets.methods.pass_.attending import Attending, as_backbone, enlarged, pool
from imagenets.models.backbone import Backbone, OneMap
from imagenets.models.resnet import initialise

EMBEDDING = 128
"""Channels of every embedding and of the prototypes."""


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


def _initialise(network: nn.Module) -> None:
    """Draws new weights, but for networks from elsewhere: these have theirs."""
    for part in network.children():
        if not isinstance(part, OneMap):
            initialise(part)


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
    """Step 1: image, shallow and pixel heads on the backbone (arXiv:2106.03149, section 4).

    Raises:
        UsageError: The backbone gives one feature map, and the shallow heads need another one.
    """

    def __init__(self, arch: str | Backbone, hidden: int, prototypes: int) -> None:
        super().__init__()
        self.backbone = as_backbone(arch)
        if len(self.backbone.channels) < 2:
            raise UsageError(
                f"{self.backbone.name}: pretraining needs two feature maps, and this backbone has "
                "one. Give its weights (--backbone with --weights or --pretrained)."
            )
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
        _initialise(self)

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
            pooled.append(pool(fourth))
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
        return F.normalize(head(pool(pixels)).float())


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


class AttentionNet(_WithPrototypes, Attending):
    """Steps 2 to 4: the backbone, the pixel attention head and the prototypes."""

    def __init__(self, arch: str | Backbone, hidden: int, prototypes: int) -> None:
        super().__init__()
        self.backbone = as_backbone(arch)
        features = self.backbone.channels[-1]
        self.projection_head = _projection(features, hidden)
        self.prototypes = nn.Linear(EMBEDDING, prototypes, bias=False)
        self.fbg = PixelAttention(features)
        _initialise(self)

    def gated(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Computes the x4 layer4 map of N x 3 x H x W images and its attention.

        Returns:
            The map (N x F x H/8 x W/8), the same L2-normalised over channels, and the
            attention of the normalised map (same shape, in 0..1).
        """
        return self.gate(self.backbone(images))

    def with_shallow(self, images: Tensor, layer: int) -> tuple[Tensor, Tensor, Tensor]:
        """See `Attending.with_shallow`."""
        level = min(layer, len(self.backbone.channels)) - 1
        shallow, features = self.backbone.maps(images, (level, -1))
        _, normalised, attention = self.gate(features)
        return shallow, normalised, attention

    def gate(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same of the layer4 map of images, N x F x H/32 x W/32."""
        features = enlarged(features, self.enlarged)
        normalised = F.normalize(features)
        return features, normalised, self.fbg(normalised)

    def forward(self, crops: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Embeds crops through the attention: (V*n x 128, L2-normalised) and (V*n x M)."""
        pooled = [
            pool(normalised * attention)
            for _, normalised, attention in map(self.gated, _by_size(crops))
        ]
        embedding = self.projection_head(torch.cat(pooled)).float()
        with _full_precision(embedding):
            embedding = F.normalize(embedding)
            return embedding, self.prototypes(embedding)


class SegmentationNet(nn.Module):
    """Steps 5 and 6: the backbone and a 1x1 classifier over background + K classes."""

    def __init__(self, arch: str | Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = as_backbone(arch)
        self.last_layer = nn.Conv2d(self.backbone.channels[-1], num_classes + 1, 1)
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Gives N x (K + 1) x h x w logits of N x 3 x H x W images, h and w as the map has them."""
        return cast(Tensor, self.last_layer(self.backbone(images)))
