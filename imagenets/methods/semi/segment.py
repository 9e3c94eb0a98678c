"""Inference: ids at the size of each image, and scores of a network that is being trained."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader import Batch
from imagenets.data.loader.crops import Crop, ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.data.loader.readable import Readable
from imagenets.evaluation.metrics import Evaluator
from imagenets.methods.semi.networks import SegNet
from imagenets.methods.semi.presets import Config
from imagenets.training.run import Run

LARGE = 1000
"""An image of more than this squared is segmented with this long side, then brought to its size."""

_ELEMENTS = 2**26
"""Logits of the full size that are held at once: some classes of a large image after the other."""

BATCH = 32
"""Images at once, at most."""


def evaluate(run: Run[Config], network: SegNet) -> dict[str, float]:
    """Scores a network, put into eval mode, on validation; writes nothing.

    Returns:
        `mIoU` and `mBIoU` in percent.
    """
    data, truth = run.dataset("validation"), run.dataset("validation", masks=True)
    crop, batches = shared_out(run, network, data)
    evaluator = Evaluator(len(data.classes))
    network.eval()
    for batch in run.batches(data, batches, crop, "evaluate: validation"):
        for index, _, ids in segment(network, batch, data):
            evaluator.update(ids.cpu().numpy(), truth.mask(index))
    found = evaluator.compute()
    return {"mIoU": found["mIoU"], "mBIoU": found["mBIoU"]}


def shared_out(
    run: Run[Config], network: SegNet, data: ImageNetS
) -> tuple[Crop, list[npt.NDArray[np.int64]]]:
    """How images come into a network, and batches of those that come in one shape."""
    backbone = network.backbone
    crop = backbone.crop(run.config.side)
    if isinstance(crop, ShortSide):
        shapes = crop.shapes(data.sizes)
    else:
        shapes = np.full((len(data), 2), crop.size)
    return crop, list(by_shape(shapes, min(BATCH, run.config.batch)))


@torch.inference_mode()
def segment(network: SegNet, batch: Batch, data: Readable) -> Iterator[tuple[int, str, Tensor]]:
    """Segments a batch of resized images: for each its index, name and H x W int64 ids 0..K.

    Args:
        network: Trained.
        batch: n x 3 x h x w uint8 images, resized.
        data: Where they are from.
    """
    logits = network(network.backbone.normalized(batch.crops))
    indices = batch.indices.cpu().numpy()
    rows = zip(indices.tolist(), batch.names, data.sizes_of(indices).tolist(), strict=True)
    for position, (index, name, (width, height)) in enumerate(rows):
        yield index, name, full_size(logits[position, None], height, width)


def full_size(logits: Tensor, height: int, width: int) -> Tensor:
    """Turns 1 x (K + 1) x h x w logits into H x W ids."""
    if height * width <= LARGE**2:
        return best_class(logits, height, width)
    longer = max(height, width)
    ids = best_class(logits, height * LARGE // longer, width * LARGE // longer)
    return F.interpolate(ids[None, None].float(), (height, width), mode="nearest")[0, 0].long()


def best_class(logits: Tensor, height: int, width: int) -> Tensor:
    """The class with the largest logit at each position of a larger grid, some classes at a time.

    Args:
        logits: 1 x C x h x w.
        height: Of the grid.
        width: Of the grid.

    Returns:
        height x width int64; the first of equal ones.
    """
    size, length = (height, width), max(1, _ELEMENTS // (height * width))
    best, ids = None, None
    for first in range(0, logits.shape[1], length):
        part = logits[:, first : first + length]
        values, at = F.interpolate(part, size, mode="bilinear", align_corners=False).max(1)
        if best is None or ids is None:
            best, ids = values, at
            continue
        better = values > best
        best, ids = torch.where(better, values, best), torch.where(better, at + first, ids)
    assert ids is not None
    return ids[0]
