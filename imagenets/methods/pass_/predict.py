"""Step 6: masks of the validation or test images at their own size."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.data.augment import normalize
from imagenets.data.loader import Batch
from imagenets.data.loader.crops import ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.data.loader.readable import Readable
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.mask_files import (
    PREDICTS,
    by_size,
    finish,
    masks_result,
    unfinished,
    write_mask,
)
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.trained import load_segmentation
from imagenets.training.run import Run
from imagenets.training.stage import Stage

LARGE = 1_000_000
"""Pixels above which logits are not brought to the full size: K + 1 maps of it would not fit."""

LARGE_HEIGHT = 1000


def predict(split: str, run: Run[Config]) -> dict[str, float]:
    """Writes `predict/validation/<wnid>/<stem>.png`; ids are generated classes, unmatched."""
    folder = run.folder(PREDICTS[split])
    data = run.dataset(split)
    network = load_segmentation(run, len(data.classes))
    paths = [folder / split / f"{name}.png" for name in data.names]
    crop = ShortSide(run.config.side)
    batches = unfinished(by_shape(crop.shapes(data.sizes), run.config.batch), paths)
    for batch in run.batches(data, batches, crop, f"predict: {split}"):
        for name, ids in segment(network, batch, data):
            write_mask(folder / split / f"{name}.png", ids.cpu().numpy())
    finish(folder, split, len(data))
    return {"images": len(data)}


@torch.inference_mode()
def segment(network: SegmentationNet, batch: Batch, data: Readable) -> Iterator[tuple[str, Tensor]]:
    """Segments a batch of resized images: for each its name and H x W int64 ids 0..K.

    Args:
        network: Trained.
        batch: n x 3 x h x w uint8 images.
        data: Where they are from.
    """
    logits = network(normalize(batch.crops.float() / 255))
    for positions, (height, width) in by_size(data.sizes_of(batch.indices.cpu().numpy())):
        for position in positions.tolist():  # K + 1 maps at full size: one image at a time
            yield batch.names[position], _full_size(logits[position, None], height, width)


def _full_size(logits: Tensor, height: int, width: int) -> Tensor:
    """Turns 1 x (K + 1) x h x w logits into H x W ids."""
    large = height * width > LARGE
    size = (LARGE_HEIGHT, int(width * LARGE_HEIGHT / height)) if large else (height, width)
    scaled = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    ids = scaled.argmax(1)
    if large:
        ids = F.interpolate(ids[None].float(), (height, width), mode="nearest")[0].long()
    return ids[0]


def _stage(split: str) -> Stage:
    return Stage(
        name=PREDICTS[split],
        needs=("finetune",),
        settings=("arch", "batch", "side"),
        splits=lambda config: (split,),
        version=2,
        run=partial(predict, split),
        result=masks_result,
    )


STAGE = _stage("validation")
TEST_STAGE = _stage("test")
