"""The features that k-means reads, in a file: a row an image, never all of them in memory."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.distributed import barrier, is_first, on_first, own_items, rounds, world
from imagenets.core.files import naming, part_of, publish
from imagenets.data.augment import center_crop
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader.order import by_shape
from imagenets.errors import CorruptError, TrainingError
from imagenets.methods.pass_.attending import OwnAttention
from imagenets.methods.pass_.given import backbone_of
from imagenets.methods.pass_.heads import AttentionNet
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.sizes import central
from imagenets.methods.pass_.trained import load_attention
from imagenets.models.backbone import Backbone
from imagenets.training import checkpoints
from imagenets.training.run import Run
from imagenets.training.saving import SavePoints

FEATURES = "features.npy"
"""Normalised features while the stage is at work, N x F; 9.8 GB for 1.2 million of resnet50."""

WRITTEN = "features.pt"
"""How many images an interrupted stage has written to it."""


def features_file(run: Run[Config], data: ImageNetS, folder: Path) -> npt.NDArray[np.floating]:
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
    if not on_first(path.is_file):
        _write(run, data, path, load_attention(run))
    try:
        rows: npt.NDArray[np.floating] = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CorruptError(f"{path}: not readable ({error}). Delete it and run again.") from error
    if len(rows) != len(data) or rows.dtype != kind:
        raise CorruptError(f"{path}: not the features of these images. Delete it and run again.")
    return rows


@torch.inference_mode()
def _write(
    run: Run[Config], data: ImageNetS, path: Path, network: AttentionNet | OwnAttention
) -> None:
    """Writes the rows of all images, each rank its own, at their places in one file."""
    shape, kind = (len(data), network.backbone.channels[-1]), np.dtype(run.config.features)
    kept, part = path.with_name(WRITTEN), part_of(path)

    def begin() -> int:
        found = checkpoints.partial(kept, torch.device("cpu"), "images") if part.is_file() else None
        done: int = found["images"] if found else 0
        if not done:
            _begin(part, shape, kind)
        return done

    done, start = on_first(begin), _header(shape, kind)[1]
    count = run.config.batch
    steps = rounds(-(-(len(data) - done) // count))
    with naming(path), part.open("r+b") as file:

        def save() -> None:
            os.fsync(file.fileno())
            barrier("cluster: features")
            on_first(lambda: checkpoints.save(kept, {"images": done}))

        with SavePoints(run.save_every, save) as points:
            coming = zip_longest(central_crops(run, data, done, network.backbone), steps)
            for batch, _ in points.waiting(coming):
                if batch is not None:  # else this rank has none left, and waits for the others
                    rows = features_of(network, batch[1]).cpu().numpy()
                    _store(file.fileno(), start, batch[0], rows.astype(kind, copy=False))
                done = min(done + world() * count, len(data))
                points.passed()
        os.fsync(file.fileno())
    barrier("cluster: features")
    on_first(lambda: publish(part, path))
    if is_first():
        kept.unlink(missing_ok=True)


def _store(file: int, start: int, indices: Tensor, rows: npt.NDArray[np.generic]) -> None:
    for index, row in zip(indices.tolist(), rows, strict=True):
        os.pwrite(file, row.data, start + index * row.nbytes)


def features_of(network: AttentionNet | OwnAttention, crops: Tensor) -> Tensor:
    """The L2-normalised features of n x 3 x S x S uint8 crops: n x F float32."""
    return F.normalize(network.cluster_features(network.backbone.normalized(crops)))


def central_crops(
    run: Run[Config], data: ImageNetS, first: int = 0, backbone: Backbone | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """The central crops of all images, in full batches, with their indices; of ranks, each its own.

    Images are read in batches of one resized shape, which are small where shapes are many; their
    crops all have one shape and go on together.

    Args:
        run: Its settings say how large images, crops and batches are.
        data: The images.
        first: So many are left out, in the order in which they come; a multiple of the batch.
        backbone: For whom; by default a new one of the run.
    """
    count = run.config.batch
    crop, side = central(backbone or backbone_of(run), run.config)
    shapes = crop.shapes(data.sizes)
    order = np.concatenate(by_shape(shapes, count))[first:]
    own = own_items([order[start : start + count] for start in range(0, len(order), count)])
    parts = [[images[rows] for rows in by_shape(shapes[images], count)] for images in own]
    flat = [rows for pieces in parts for rows in pieces]
    coming = run.batches(data, flat, crop, "cluster: features", shared=False)
    for pieces in parts:
        indices, crops = [], []
        for batch in islice(coming, len(pieces)):
            indices.append(batch.indices)
            crops.append(center_crop(batch.crops, side))
        yield torch.cat(indices), torch.cat(crops)


def _begin(part: Path, shape: tuple[int, int], kind: np.dtype[np.generic]) -> None:
    """Makes a file with room for all rows."""
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


def _header(shape: tuple[int, int], kind: np.dtype[np.generic]) -> tuple[bytes, int]:
    """The first bytes of a .npy file, and their number."""
    head = io.BytesIO()
    facts = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(head, facts)
    return head.getvalue(), head.tell()
