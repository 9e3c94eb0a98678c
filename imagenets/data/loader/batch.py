"""What a loader gives: N samples and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagenets.data.dataset.targets import OBJECT, target_of
from imagenets.errors import UsageError
from imagenets.pixels.ragged import RaggedBatch


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples.

    Attributes:
        images: Whole images as `RaggedBatch` (uint8, each of its own size), or, of a loader that
            crops, N x 3 x S x S uint8 or float32 in channels-last memory.
        masks: Ids as int16: `RaggedBatch`, or N x S x S; None where there are none.
        indices: N int64, which samples of the data set.
        class_ids: N int64, 1..K, 0 outside the tier.
        ilsvrc: N int64, ImageNet-1k labels for the published tiers.
        names: N names, `wnid/stem`.
        boxes: N x 4 int64, what was cut out (left, top, width, height), of views with the filter's
            reach; None of whole images.
        flips: N bool, what was mirrored; None of whole images.
        target_ids: N int64, of a data set with target="label": the class id of `ilsvrc`, 0 where
            the tier has none; else None.
        repeated: N bool, samples that another rank has in the same step, too: they only fill it up.
            Leave them out of scores. None where batches were put together by hand.
    """

    images: Tensor | RaggedBatch
    masks: Tensor | RaggedBatch | None
    indices: Tensor
    class_ids: Tensor
    ilsvrc: Tensor
    names: list[str]
    boxes: Tensor | None = None
    flips: Tensor | None = None
    repeated: Tensor | None = None
    target_ids: Tensor | None = None

    def __repr__(self) -> str:
        shape = "whole images" if isinstance(self.images, RaggedBatch) else tuple(self.images.shape)
        masks = "" if self.masks is None else ", with masks"
        return f"Batch({len(self)} samples, {shape}{masks}, {', '.join(self.names[:3])}, ...)"

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def whole(self) -> RaggedBatch:
        """The images, of a loader that does not crop."""
        assert isinstance(self.images, RaggedBatch), "this loader crops: see `images`"
        return self.images

    @property
    def crops(self) -> Tensor:
        """The images, N x 3 x H x W, of a loader that crops or resizes."""
        assert isinstance(self.images, Tensor), "this loader gives whole images: see `whole`"
        return self.images

    @property
    def crop_masks(self) -> Tensor:
        """The masks, N x H x W int16, of a loader that crops or resizes a split with masks."""
        assert isinstance(self.masks, Tensor), "this loader gives no masks of crops: see `masks`"
        return self.masks

    @property
    def targets(self) -> Tensor | RaggedBatch:
        """The mask of the label, uint8: 1 the object, 0 not, 255 ignored; made when asked for.

        N x S x S of a loader that crops, else `RaggedBatch`; on the device of the masks.

        Raises:
            UsageError: The data set was not opened with target="label".
        """
        masks, ids = self._targeted()
        if isinstance(masks, Tensor):
            return target_of(masks, ids)
        made = replace(masks, data=torch.empty_like(masks.data, dtype=torch.uint8))
        for target, mask, one in zip(made, masks, ids.tolist(), strict=True):
            target.copy_(target_of(mask, one))
        return made

    @property
    def present(self) -> Tensor:
        """N bool, whether any pixel of the target is 1: in the crop, of a loader that crops.

        Raises:
            UsageError: The data set was not opened with target="label".
        """
        masks, ids = self._targeted()
        if isinstance(masks, Tensor):
            ids = ids.to(masks.device)
            return (masks.flatten(1) == ids[:, None]).any(1) & (ids > 0)
        hits = [(mask == one).any() for mask, one in zip(masks, ids.tolist(), strict=True)]
        return torch.stack(hits) & (ids > 0).to(masks.data.device)

    @property
    def s_batch(self) -> npt.NDArray[np.bool_]:
        """The objects of the labels as Quantus wants them: N x 1 x H x W bool, an array.

        Quantus knows no ignored pixels: here they are not object. See docs/explain.md.

        Raises:
            UsageError: The data set was not opened with target="label", or the loader gives whole
                images.
        """
        targets = self.targets
        if isinstance(targets, RaggedBatch):
            raise UsageError("s_batch needs images of one size: give the Loader a crop or a view.")
        objects: npt.NDArray[np.bool_] = targets.cpu().numpy()[:, None] == OBJECT
        return objects

    @property
    def sizes(self) -> Tensor:
        """N x 2 int64: width and height of each image as it is in this batch."""
        if isinstance(self.images, RaggedBatch):
            return self.images.sizes
        height, width = self.images.shape[2:]
        return torch.tensor([[width, height]]).expand(len(self), 2)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch with images, masks and labels on another device."""
        return self._with(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory, from which copies to a GPU do not wait."""
        return self._with(lambda value: value.pin_memory())

    def clone(self) -> Batch:
        """A copy in memory of its own, to keep many batches without the loader's buffers."""
        images, masks = self.images, self.masks
        return replace(
            self,
            images=_cloned(images),
            masks=None if masks is None else _cloned(masks),
        )

    def _targeted(self) -> tuple[Tensor | RaggedBatch, Tensor]:
        if self.target_ids is None or self.masks is None:
            raise UsageError('these samples have no target: open the data set with target="label".')
        return self.masks, self.target_ids

    def _with(self, change: Any) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved = {
            name: change(value)
            for name, value in values.items()
            if isinstance(value, Tensor | RaggedBatch)
        }
        return replace(self, **moved)


def _cloned(value: Tensor | RaggedBatch) -> Tensor | RaggedBatch:
    if isinstance(value, RaggedBatch):
        return replace(value, data=value.data.clone())
    return value.clone()
