"""Images of different sizes in one flat buffer: one copy to the device, no padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch
from torch import Tensor

from imagenets.errors import UsageError


@dataclass(frozen=True, slots=True)
class RaggedBatch(Sequence[Tensor]):
    """N images, each of its own size, one after the other; a sequence of views of them.

    An image lies as H x W x C, channels interleaved, as decoders write it.

    Attributes:
        data: Flat uint8 (images) or int16 (masks), all elements of all images.
        offsets: N int64, the first element of each image; always on the CPU.
        sizes: N x 2 int64, width and height; always on the CPU, where parameters are drawn.
        channels: 3 for images, 1 for masks.
    """

    data: Tensor
    offsets: Tensor
    sizes: Tensor
    channels: int = 3

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self.image(i) for i in range(len(self))[index]]
        return self.image(range(len(self))[index])

    def check(self) -> None:
        """Refuses a batch whose images do not lie inside its data.

        Raises:
            UsageError: Sizes or offsets do not fit.
        """
        shapes = self.offsets.ndim == 1 and self.sizes.shape == (len(self.offsets), 2)
        if not shapes or self.data.ndim != 1 or not self.data.is_contiguous():
            raise UsageError(
                "a ragged batch has flat contiguous data, N offsets and N x 2 sizes, not "
                f"{tuple(self.data.shape)}, {tuple(self.offsets.shape)}, {tuple(self.sizes.shape)}."
            )
        count = len(self.data)
        elements = self.sizes.double().prod(1) * self.channels  # whole numbers would overflow
        wrong = (self.offsets < 0) | (self.sizes < 1).any(1)
        wrong |= elements > count - self.offsets.double()
        if bool(wrong.any()):
            index = int(wrong.nonzero()[0])
            raise UsageError(
                f"image {index} of the batch, {self.sizes[index].tolist()} pixels from element "
                f"{int(self.offsets[index])} on, does not lie inside its {count} elements."
            )

    def image(self, index: int) -> Tensor:
        """Gives one image without copying it.

        Args:
            index: Of the image, 0..N - 1.

        Returns:
            A view of `data`, in its dtype, C x H x W, or H x W where there is one channel.
        """
        width, height = self.sizes[index].tolist()
        start = int(self.offsets[index])
        flat = self.data[start : start + width * height * self.channels]
        if self.channels == 1:
            return flat.view(height, width)
        return flat.view(height, width, self.channels).permute(2, 0, 1)

    @classmethod
    def from_images(cls, images: Sequence[Tensor]) -> RaggedBatch:
        """Joins images into a batch, copying each once.

        Args:
            images: C x H x W images, or H x W masks, each of its own size. They share dtype and
                channels.

        Returns:
            A batch of the same dtype, on the device of the first image.

        Raises:
            ValueError: If there are none, or their types or channels differ.
        """
        if not images:
            raise ValueError("no images to join: give at least one")
        kinds = {(image.dtype, image.shape[0] if image.ndim == 3 else 1) for image in images}
        if len(kinds) > 1:
            raise ValueError(f"images of one batch share type and channels, got {kinds}")
        ((dtype, channels),) = kinds
        sizes = torch.tensor([[image.shape[-1], image.shape[-2]] for image in images])
        ends = (sizes.prod(1) * channels).cumsum(0)
        batch = cls(
            data=torch.empty(int(ends[-1]), dtype=dtype, device=images[0].device),
            offsets=torch.cat([ends.new_zeros(1), ends[:-1]]),
            sizes=sizes,
            channels=channels,
        )
        for index, image in enumerate(images):
            batch.image(index).copy_(
                image.view(image.shape[-3:] if channels > 1 else image.shape[-2:])
            )
        return batch

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RaggedBatch:
        """Brings the images to another device: one copy of the flat buffer.

        Args:
            device: Where `data` goes; `offsets` and `sizes` stay on the CPU.
            non_blocking: Whether the call may return before the copy is done. That needs `data` in
                page-locked memory, see `pin_memory`.

        Returns:
            A batch of the same images; its `data` is this one's where that is there already.
        """
        return replace(self, data=self.data.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> RaggedBatch:
        """Brings the images into page-locked memory, from which copies to a GPU need not wait.

        Returns:
            A batch of the same images, whose `data` is page-locked.
        """
        return replace(self, data=self.data.pin_memory())
