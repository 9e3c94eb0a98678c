"""Whole images do not stack: what torch's DataLoader needs to put samples of any size together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from imagenets.data.dataset.sample import Sample


class Samples(TypedDict, total=False):
    """N samples.

    Attributes:
        image: N tensors uint8, 3 x H x W, each of its own size.
        mask: N tensors int64, H x W; only where all samples have one.
        target: N tensors uint8, H x W; of samples with a target.
        class_id: N int64.
        ilsvrc: N int64.
        name: N names.
        target_id: N int64; of samples with a target.
        present: N bool; of samples with a target.
    """

    image: list[Tensor]
    mask: list[Tensor]
    target: list[Tensor]
    class_id: Tensor
    ilsvrc: Tensor
    name: list[str]
    target_id: Tensor
    present: Tensor


def collate(samples: Sequence[Sample]) -> Samples:
    """Puts samples of different sizes together: `DataLoader(data, 4, collate_fn=collate)`.

    Args:
        samples: Of an `ImageNetS`.

    Returns:
        Lists of images and masks, tensors of labels.
    """
    made: Samples = {
        "image": [sample["image"] for sample in samples],
        "class_id": torch.tensor([sample["class_id"] for sample in samples]),
        "ilsvrc": torch.tensor([sample["ilsvrc"] for sample in samples]),
        "name": [sample["name"] for sample in samples],
    }
    if all("mask" in sample for sample in samples):
        made["mask"] = [sample["mask"] for sample in samples]
    if all("target" in sample for sample in samples):
        made["target"] = [sample["target"] for sample in samples]
        made["target_id"] = torch.tensor([sample["target_id"] for sample in samples])
        made["present"] = torch.tensor([sample["present"] for sample in samples])
    return made
