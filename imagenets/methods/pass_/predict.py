"""Step 6: masks of the validation or test images at their own size."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.distributed import barrier, on_first
from imagenets.core.pool import available_cpus
from imagenets.data.loader import Batch
from imagenets.data.loader.readable import Readable
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.inference import class_scores, images_at_once, largest
from imagenets.methods.pass_.mask_files import (
    PREDICTS,
    finish,
    masks_result,
    unfinished,
    write_mask,
)
from imagenets.methods.pass_.presets import PREDICTION, Config
from imagenets.methods.pass_.refinement import refine
from imagenets.methods.pass_.regions import Regions, vote
from imagenets.methods.pass_.sizes import whole
from imagenets.methods.pass_.trained import load_segmentation
from imagenets.pixels.grids import largest_of_grid, nearest_of_grid
from imagenets.training.run import Run
from imagenets.training.stage import Stage

Ids = npt.NDArray[np.uint16]

LARGE = 1_000_000
"""Pixels above which logits are brought to a height of 1000, as published, and ids to the rest."""

LARGE_HEIGHT = 1000


def predict(split: str, run: Run[Config]) -> dict[str, float]:
    """Writes `predict/validation/<wnid>/<stem>.png`; ids are generated classes, unmatched."""
    folder = run.folder(PREDICTS[split])
    data = run.dataset(split)
    network = load_segmentation(run, len(data.classes))
    paths = [folder / split / f"{name}.png" for name in data.names]
    crop, every = whole(network.backbone, run.config, data.sizes, largest(run.config))
    batches = on_first(lambda: unfinished(every, paths))
    for batch in run.batches(data, batches, crop, f"predict: {split}"):
        for name, ids in segment(network, batch, data, run.config):
            write_mask(folder / split / f"{name}.png", ids)
    barrier(f"predict: {split}")
    on_first(lambda: finish(folder, split, len(data)))
    return {"images": len(data)}


def segment(
    network: SegmentationNet, batch: Batch, data: Readable, config: Config
) -> Iterator[tuple[str, Ids]]:
    """Segments a batch of resized images: for each its name and H x W uint16 ids 0..K.

    Args:
        network: Trained.
        batch: n x 3 x h x w uint8 images, of the largest scale.
        data: Where they are from.
        config: What is made of the network's logits.
    """
    sizes = data.sizes_of(batch.indices.cpu().numpy()).tolist()
    length = images_at_once(network, batch.crops, config)
    with ThreadPoolExecutor(available_cpus()) as pool:
        for first in range(0, len(batch), length):
            part = slice(first, first + length)
            with torch.inference_mode():
                scores = class_scores(network, batch.crops[part], config)
                grids = scores.permute(0, 2, 3, 1).cpu().numpy()
            names = batch.names[part]
            found = pool.map(partial(_ids, config), names, batch.crops[part], grids, sizes[part])
            yield from zip(names, found, strict=True)


def check_regions(run: Run[Config], split: str) -> None:
    """Looks whether the settings' segments are there for every image of a split.

    Raises:
        MissingError: Some are not.
    """
    regions = regions_of(run.config)
    if regions is not None:
        regions.check(run.dataset(split).names)


def _files(split: str, run: Run[Config]) -> dict[str, str]:
    """The segments of all images, as what the masks are made from; looked at before they are."""
    regions, names = regions_of(run.config), run.dataset(split).names
    return {} if regions is None else {"regions": regions.digest(names)}


def regions_of(config: Config) -> Regions | None:
    """The segments that vote, if there are any."""
    return Regions(Path(config.regions)) if config.regions else None


def _ids(
    config: Config, name: str, image: Tensor, scores: npt.NDArray[np.float32], size: tuple[int, int]
) -> Ids:
    """Turns the h x w x (K + 1) scores of an image, 3 x H x W uint8, into ids of its own size."""
    ids = _by_scores(config, image, scores, size)
    regions = regions_of(config)
    return ids if regions is None else vote(ids, regions.read(name, size))


def _by_scores(
    config: Config, image: Tensor, scores: npt.NDArray[np.float32], size: tuple[int, int]
) -> Ids:
    if not config.refine:
        return _full_size(scores, size)
    there = np.unique(largest_of_grid(scores, (image.shape[2], image.shape[1])))
    maps = torch.from_numpy(scores[..., there]).permute(2, 0, 1).to(image.device)
    maps = F.interpolate(maps[None], image.shape[1:], mode="bilinear", align_corners=False)[0]
    refined = refine(image.float() / 255, maps, config.refine)
    return there[_full_size(refined.permute(1, 2, 0).cpu().numpy(), size)]


def _full_size(logits: npt.NDArray[np.float32], size: tuple[int, int]) -> Ids:
    """Turns h x w x (K + 1) logits into the ids of an image of a width and height."""
    width, height = size
    if height * width <= LARGE:
        return largest_of_grid(logits, (width, height))
    ids = largest_of_grid(logits, (int(width * LARGE_HEIGHT / height), LARGE_HEIGHT))
    return nearest_of_grid(ids, (width, height))


def _stage(split: str) -> Stage:
    return Stage(
        name=PREDICTS[split],
        needs=lambda config: ("finetune",),
        settings=("arch", "batch", "side", *PREDICTION),
        splits=lambda config: (split,),
        version=2,
        run=partial(predict, split),
        result=masks_result,
        files=partial(_files, split),
    )


STAGE = _stage("validation")
TEST_STAGE = _stage("test")
