"""Batches of whole images of different sizes, in an order fixed by (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from imagenets.errors import ImageNetSError


@dataclass(frozen=True, slots=True)
class Batch:
    """N samples as they are stored.

    Attributes:
        images: N uint8 tensors 3 x H x W, each of its own size.
        masks: N int64 tensors H x W, or None where the split has none.
        class_ids: N int64.
        ilsvrc: N int64, ImageNet-1k labels.
        names: N names, `wnid/stem`.
    """

    images: list[Tensor]
    masks: list[Tensor] | None
    class_ids: Tensor
    ilsvrc: Tensor
    names: list[str]

    @property
    def sizes(self) -> Tensor:
        """N x 2 int64: width and height of each image."""
        return torch.tensor([[image.shape[2], image.shape[1]] for image in self.images])


def collate(samples: Sequence[dict[str, Any]]) -> Batch:
    """Joins samples of `ImageNetS` into a batch without padding them."""
    masks = [sample["mask"] for sample in samples] if "mask" in samples[0] else None
    return Batch(
        images=[sample["image"] for sample in samples],
        masks=masks,
        class_ids=torch.tensor([sample["class_id"] for sample in samples]),
        ilsvrc=torch.tensor([sample["ilsvrc"] for sample in samples]),
        names=[sample["name"] for sample in samples],
    )


class _Order:
    """The batches of one epoch, as lists of indices."""

    def __init__(self, length: int, size: int, seed: int, shuffle: bool, drop_last: bool) -> None:
        self.length, self.size = length, size
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.epoch = 0

    def __len__(self) -> int:
        return self.length // self.size if self.drop_last else -(-self.length // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.arange(self.length)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(self.length, generator=generator)
        for batch in order.split(self.size)[: len(self)]:
            yield batch.tolist()


class _Reported(Dataset[Any]):
    """Hands our own errors over as values: a worker would wrap them in its traceback."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __getitems__(self, indices: list[int]) -> Batch | ImageNetSError:
        try:
            return collate([self.dataset[index] for index in indices])
        except ImageNetSError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


class Loader:
    """Reads batches of a dataset, in worker processes if asked.

    Args:
        dataset: An `ImageNetS` without a transform, or anything whose samples are like its.
        batch_size: Samples a batch.
        seed: With the epoch fixes the order, whatever the number of workers.
        shuffle: Whether to draw a new permutation for each epoch.
        drop_last: Whether to leave out a last batch that is not full.
        workers: Processes that decode; 0 decodes in this one.

    Raises:
        ImageNetSError: While iterating, what the dataset raised, whichever process it was in.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        workers: int = 0,
    ) -> None:
        length = len(dataset)  # type: ignore[arg-type]  # torch's Dataset does not declare __len__
        self.order = _Order(length, batch_size, seed, shuffle, drop_last)
        self._batches: DataLoader[Any] = DataLoader(
            _Reported(dataset),
            batch_sampler=self.order,
            num_workers=workers,
            collate_fn=_as_it_is,
            persistent_workers=workers > 0,
        )

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose order the next iteration follows."""
        self.order.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            if isinstance(batch, ImageNetSError):
                raise batch
            yield batch
