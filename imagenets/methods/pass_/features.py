"""The features that k-means reads, in a file: a row an image, never all of them in memory."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.files import naming, part_of, publish, sync
from imagenets.data.augment import center_crop, normalize
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader.crops import ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.errors import CorruptError, TrainingError
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.trained import load_attention
from imagenets.training import checkpoints
from imagenets.training.run import Run
from imagenets.training.saving import SavePoints

FEATURES = "features.npy"
"""Normalised features while the stage is at work, N x F; 9.8 GB for 1.2 million of resnet50."""

WRITTEN = "features.pt"
"""How many images an interrupted stage has written to it."""


def features_file(run: Run[Config], data: ImageNetS, folder: Path) -> Tensor:
    """The L2-normalised features of all images, computed where they are not there yet.

    Args:
        run: Its step 2 is finished.
        data: The images.
        folder: Where the file lies: `features.npy`, which gets this name when it is whole.

    Returns:
        N x F, float32 or float16 as the settings say, mapped from the file: pages are read when
        they are looked at, and memory is needed for none.

    Raises:
        TrainingError: There is no room for the file.
        CorruptError: The file that is there is not that of these images.
    """
    path, kind = folder / FEATURES, np.dtype(run.config.features)
    if not path.is_file():
        _write(run, data, path)
    try:
        rows: npt.NDArray[np.floating] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CorruptError(f"{path}: not readable ({error}). Delete it and run again.") from error
    if len(rows) != len(data) or rows.dtype != kind:
        raise CorruptError(f"{path}: not the features of these images. Delete it and run again.")
    return torch.from_numpy(rows)


@torch.inference_mode()
def _write(run: Run[Config], data: ImageNetS, path: Path) -> None:
    network = load_attention(run)
    shape, kind = (len(data), network.backbone.channels[-1]), np.dtype(run.config.features)
    kept, part = path.with_name(WRITTEN), part_of(path)
    found = checkpoints.partial(kept, torch.device("cpu"), "images") if part.is_file() else None
    done: int = found["images"] if found else 0
    start = _begin(part, shape, kind) if not done else _header(shape, kind)[1]

    with naming(path), part.open("r+b") as file:

        def save() -> None:
            os.fsync(file.fileno())
            checkpoints.save(kept, {"images": done})

        with SavePoints(run.save_every, save) as points:
            for indices, crops in points.waiting(central_crops(run, data, done)):
                pooled = network.cluster_features(normalize(crops.float() / 255))
                rows = F.normalize(pooled).cpu().numpy().astype(kind, copy=False)
                for index, row in zip(indices.tolist(), rows, strict=True):
                    os.pwrite(file.fileno(), row.data, start + index * row.nbytes)
                done += len(indices)
                points.passed()
    sync(part)
    publish(part, path)
    kept.unlink(missing_ok=True)


def central_crops(
    run: Run[Config], data: ImageNetS, first: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """The central crops of all images, in full batches, with their indices.

    Images are read in batches of one resized shape, which are small where shapes are many; their
    crops all have one shape and go on together.

    Args:
        run: Its settings say how large images, crops and batches are.
        data: The images.
        first: So many are left out, in the order in which they come; a multiple of the batch.
    """
    crop, count = ShortSide(run.config.side), run.config.batch
    batches = _left(by_shape(crop.shapes(data.sizes), count), first)
    held = 0
    indices: list[Tensor] = []
    crops: list[Tensor] = []
    for batch in run.batches(data, batches, crop, "cluster: features"):
        indices.append(batch.indices)
        crops.append(center_crop(batch.crops, run.config.crop))
        held += len(batch)
        if held >= count:
            numbers, images = torch.cat(indices), torch.cat(crops)
            yield numbers[:count], images[:count]
            indices, crops, held = [numbers[count:]], [images[count:]], held - count
    if held:
        yield torch.cat(indices), torch.cat(crops)


def _left(batches: Sequence[npt.NDArray[np.int64]], first: int) -> list[npt.NDArray[np.int64]]:
    """Batches without the first images."""
    left = []
    for batch in batches:
        if first < len(batch):
            left.append(batch[first:])
        first = max(0, first - len(batch))
    return left


def _begin(part: Path, shape: tuple[int, int], kind: np.dtype[np.generic]) -> int:
    """Makes a file with room for all rows; returns where they start."""
    header, start = _header(shape, kind)
    needed, free = start + shape[0] * shape[1] * kind.itemsize, shutil.disk_usage(part.parent).free
    if free < needed:
        raise TrainingError(
            f"{part.parent}: the features for k-means take {needed / 1e6:,.0f} MB, and "
            f"{free / 1e6:,.0f} MB are free. Free some space and run the same command again, or "
            "begin another run with --features float16, which takes half of it."
        )
    with naming(part), part.open("wb") as file:
        file.write(header)
        file.truncate(needed)
    return start


def _header(shape: tuple[int, int], kind: np.dtype[np.generic]) -> tuple[bytes, int]:
    """The first bytes of a .npy file, and their number."""
    head = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, facts)
    return head.getvalue(), head.tell()
