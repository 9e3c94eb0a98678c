"""What is cut out of the samples of a batch, and where in a buffer everything lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagenets.data.loader.crops import Crop
from imagenets.pixels.ragged import RaggedBatch

if TYPE_CHECKING:
    from imagenets.data.loader.order import Share
from imagenets.data.loader.readable import Readable


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch, or a part of one.

    Attributes:
        rows: n indices into the data set.
        sizes: n x 2, width and height of the images as the data set has them.
        images: n, first byte of each image in the buffer.
        masks: n, first byte of each mask; None: leave masks out.
        boxes: n x 4, what to cut out; None: whole images.
        flips: n, what to mirror; None with whole images.
        shape: Height and width of the crops; None with whole images.
        end: Bytes of the whole batch.
    """

    rows: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int32]
    images: npt.NDArray[np.int64]
    masks: npt.NDArray[np.int64] | None
    boxes: npt.NDArray[np.int32] | None
    flips: npt.NDArray[np.bool_] | None
    shape: tuple[int, int] | None
    end: int

    def part(self, some: slice) -> Layout:
        """Some of the samples."""
        return replace(
            self,
            rows=self.rows[some],
            sizes=self.sizes[some],
            images=self.images[some],
            masks=None if self.masks is None else self.masks[some],
            boxes=None if self.boxes is None else self.boxes[some],
            flips=None if self.flips is None else self.flips[some],
        )


def lay_out(dataset: Readable, crop: Crop | None, share: Share, keys: tuple[int, ...]) -> Layout:
    """Draws the crops of a batch, and says where everything goes.

    Crops are drawn for the step of all ranks and then sliced: they do not depend on how many ranks
    share it.

    Args:
        dataset: Whose samples they are.
        crop: What to cut out; None: whole images.
        share: Which samples.
        keys: Fix what is drawn.
    """
    rows = share.rows[share.own]
    boxes = flips = shape = None
    if crop is None:
        sizes = dataset.sizes_of(rows)
        pixels, bytes_each = sizes.prod(1, dtype=np.int64), 3
    else:
        every = dataset.sizes_of(share.rows)
        seed = int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0]) >> 1
        drawn, mirrored = crop.draw(every, torch.Generator().manual_seed(seed))
        sizes = every[share.own]
        boxes, flips = drawn.astype(np.int32)[share.own], mirrored[share.own]
        shape = crop.shape(sizes)
        pixels = np.full(len(rows), shape[0] * shape[1])
        bytes_each = 12 if crop.output == "float32" else 3
    images = _starts(pixels * bytes_each, 0)
    end = -(-int(images[-1]) // 8) * 8
    masks = _starts(pixels * 2, end) if dataset.has_masks else None
    end = end if masks is None else int(masks[-1])
    first = None if masks is None else masks[:-1]
    return Layout(rows, sizes, images[:-1], first, boxes, flips, shape, end)


def tensors(
    memory: Tensor, layout: Layout, crop: Crop | None
) -> tuple[Tensor | RaggedBatch, Tensor | RaggedBatch | None]:
    """Images and masks of a filled buffer, as views of its memory (flat uint8)."""
    ids = None
    if layout.masks is not None:
        ids = memory[int(layout.masks[0]) : layout.end].view(torch.int16)
    if crop is not None:
        assert layout.shape is not None
        shape = (len(layout.rows), *layout.shape)
        pixels = memory[: int(np.prod(shape)) * (12 if crop.output == "float32" else 3)]
        pixels = pixels.view(torch.float32) if crop.output == "float32" else pixels
        images = pixels.view(*shape, 3).permute(0, 3, 1, 2)
        return images, None if ids is None else ids.view(shape)
    sizes = torch.from_numpy(layout.sizes.astype(np.int64))
    starts = torch.from_numpy(layout.images)
    whole = RaggedBatch(memory[: int(sizes.prod(1).sum()) * 3], starts, sizes)
    if ids is None or layout.masks is None:
        return whole, None
    offsets = torch.from_numpy((layout.masks - layout.masks[0]) // 2)
    return whole, RaggedBatch(ids, offsets, sizes, channels=1)


def _starts(sizes: npt.NDArray[np.int64], first: int) -> npt.NDArray[np.int64]:
    """Where things of these sizes begin when laid end to end, and where the last one ends."""
    return first + np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
