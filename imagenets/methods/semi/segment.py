"""Inference: ids at the size of each image, and scores of a network that is being trained."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch

from imagenets.core.distributed import world
from imagenets.core.pool import available_cpus
from imagenets.data.loader import Batch
from imagenets.data.loader.crops import Crop, ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.data.loader.readable import Readable
from imagenets.evaluation.distributed import all_reduce
from imagenets.evaluation.metrics import Evaluator
from imagenets.methods.semi.networks import SegNet
from imagenets.methods.semi.presets import Config
from imagenets.pixels.grids import largest_of_grid, nearest_of_grid
from imagenets.training.run import Run

Ids = npt.NDArray[np.uint16]

LARGE = 1000
"""An image of more than this squared is segmented with this long side, then brought to its size."""

BATCH = 32
"""Images at once, at most."""


def evaluate(run: Run[Config], network: SegNet) -> dict[str, float]:
    """Scores a network, put into eval mode, on validation; ranks share the images.

    Returns:
        `mIoU` and `mBIoU` in percent.
    """
    data, truth = run.dataset("validation"), run.dataset("validation", masks=True)
    crop, batches = shared_out(run, network, data.sizes)
    evaluator = Evaluator(len(data.classes))
    network.eval()
    for batch in run.batches(data, batches, crop, "evaluate: validation"):
        for index, _, ids in segment(network, batch, data):
            evaluator.update(ids, truth.mask(index))
    if world() > 1:
        all_reduce(evaluator)
    found = evaluator.compute()
    return {"mIoU": found["mIoU"], "mBIoU": found["mBIoU"]}


def shared_out(
    run: Run[Config], network: SegNet, sizes: npt.NDArray[np.integer]
) -> tuple[Crop, list[npt.NDArray[np.int64]]]:
    """How images come into a network, and batches of those that come in one shape.

    Args:
        run: Its settings give the short side.
        network: Its backbone says what it takes.
        sizes: N x 2, width and height of the images.
    """
    backbone = network.backbone
    crop = backbone.crop(run.config.side)
    if isinstance(crop, ShortSide):
        shapes = crop.shapes(sizes)
    else:
        shapes = np.full((len(sizes), 2), crop.size)
    return crop, list(by_shape(shapes, min(BATCH, run.config.batch)))


def segment(network: SegNet, batch: Batch, data: Readable) -> Iterator[tuple[int, str, Ids]]:
    """Segments a batch of resized images: for each its index, name and H x W uint16 ids 0..K.

    Args:
        network: Trained.
        batch: n x 3 x h x w uint8 images, resized.
        data: Where they are from.
    """
    with torch.inference_mode():
        logits = network(network.backbone.normalized(batch.crops))
        grids = logits.float().permute(0, 2, 3, 1).cpu().numpy()
    indices = batch.indices.cpu().numpy()
    with ThreadPoolExecutor(available_cpus()) as pool:
        found = pool.map(full_size, grids, data.sizes_of(indices).tolist())
        yield from zip(indices.tolist(), batch.names, found, strict=True)


def full_size(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> Ids:
    """Turns h x w x (K + 1) logits into the ids of an image of a width and height."""
    width, height = size
    if height * width <= LARGE**2:
        return largest_of_grid(logits, size)
    longer = max(size)
    ids = largest_of_grid(logits, (width * LARGE // longer, height * LARGE // longer))
    return nearest_of_grid(ids, size)
