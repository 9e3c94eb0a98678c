"""What the steps after training share: trained networks in, masks of many sizes out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagenets import masks
from imagenets.data.augment import normalise, short_side
from imagenets.methods.pass_.heads import AttentionNet
from imagenets.training.run import Run, weights


def load_attention(run: Run) -> AttentionNet:
    """The trained network of step 2, for inference."""
    config = run.config
    network: AttentionNet = run.place(AttentionNet(config.arch, config.hidden, config.prototypes))
    network.load_state_dict(weights(run, "attention"))
    return network.eval()


def by_shape(
    images: Sequence[Tensor], side: int, device: torch.device
) -> Iterator[tuple[list[int], Tensor]]:
    """Resizes images to a short side and groups those of equal shape.

    Args:
        images: uint8 tensors 3 x H x W.
        side: Short side, pixels.
        device: Where the batch goes.

    Yields:
        Positions in `images` and their n x 3 x h x w float32 batch, normalised.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    resized = [short_side(image.to(device, non_blocking=True), side) for image in images]
    for position, image in enumerate(resized):
        groups.setdefault(tuple(image.shape), []).append(position)
    for positions in groups.values():
        stacked = torch.stack([resized[position] for position in positions])
        yield positions, normalise(stacked.float() / 255)


def write_mask(path: Path, ids: npt.NDArray[np.integer]) -> None:
    """Writes a mask PNG under a temporary name and renames it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(masks.encode(ids))
    part.replace(path)
