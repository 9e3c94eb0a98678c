"""A backbone that is looked at and not trained: its feature maps of whole images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.log import progress
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader import Batch, Loader, on_device
from imagenets.data.loader.crops import ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.models.backbone import Backbone

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Frozen:
    """A backbone and how images come into it.

    Attributes:
        backbone: With its weights, on the device and in evaluation mode.
        side: Short side of the images, pixels; the backbone may round it, see `Backbone.crop`.
        batch: Images at once; decides no feature but for rounding.
        device: Where the backbone runs.
        workers: Processes that decode images.
    """

    backbone: Backbone
    side: int
    batch: int
    device: torch.device
    workers: int

    def batches(self, data: ImageNetS) -> list[Indices]:
        """All images of a split, in batches of one shape."""
        crop = self.backbone.crop(self.side)
        one_shape = np.zeros_like(data.sizes)
        shapes = crop.shapes(data.sizes) if isinstance(crop, ShortSide) else one_shape
        return by_shape(shapes, self.batch)

    @torch.inference_mode()
    def maps(
        self, data: ImageNetS, batches: Sequence[Indices], what: str
    ) -> Iterator[tuple[Batch, Tensor]]:
        """The feature maps n x F x h x w of batches, under a progress bar with a name."""
        if not batches:  # a loader refuses that
            return
        crop = self.backbone.crop(self.side)
        loader = Loader(data, batches=batches, crop=crop, workers=self.workers, rank=0, world=1)
        for batch in progress(on_device(loader, self.device), what, len(loader)):
            yield batch, self.backbone(self.backbone.normalized(batch.crops))


def ids_on_grid(truth: ImageNetS, index: int, grid: tuple[int, int]) -> Tensor:
    """The mask of an image, reduced to a grid (nearest): h x w float32 ids on the host."""
    ids = torch.from_numpy(truth.mask(index).astype(np.float32))
    return F.interpolate(ids[None, None], grid, mode="nearest")[0, 0]
