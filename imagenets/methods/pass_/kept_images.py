"""Cleaner clusters: the images nearest to their centroids, which fine-tuning learns from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets.core.files import atomic
from imagenets.errors import CorruptError, MissingError

KEPT = "kept.npy"
"""A boolean for each training image, in their order: whether fine-tuning sees it."""


def nearest_share(
    clusters: npt.NDArray[np.int64], distances: npt.NDArray[np.floating], share: float
) -> npt.NDArray[np.bool_]:
    """Picks the same share of each cluster: the images nearest to the centroid, rounded up.

    An image far from its centroid is likelier to be in the wrong cluster.

    Args:
        clusters: The cluster of every image, 0..k - 1.
        distances: Of every image to the centroid of its cluster, in any unit.
        share: Of the images of a cluster, above 0 and at most 1.

    Returns:
        Whether each image is picked; of two as near the earlier one is.
    """
    order = np.lexsort((distances, clusters))
    sizes = np.bincount(clusters)
    places = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[clusters[order]]
    picked = np.empty(len(order), np.bool_)
    picked[order] = places < np.ceil(share * sizes)[clusters[order]]
    return picked


def write_kept(folder: Path, kept: npt.NDArray[np.bool_]) -> None:
    """Writes which images are kept into the folder of the clusters."""
    with atomic(folder / KEPT) as part, part.open("wb") as file:
        np.save(file, kept, allow_pickle=False)


def read_kept(folder: Path, images: int) -> npt.NDArray[np.bool_]:
    """Reads which of so many images are kept.

    Raises:
        MissingError: The file is not there.
        CorruptError: It cannot be read, or is of other images.
    """
    path = folder / KEPT
    again = "Delete its folder and run the step 'cluster' again (--stages)."
    if not path.is_file():
        raise MissingError(f"{path}: not there. {again}")
    try:
        kept: npt.NDArray[np.bool_] = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise CorruptError(f"{path}: not readable ({error}). {again}") from error
    if kept.dtype != np.bool_ or kept.shape != (images,):
        raise CorruptError(f"{path}: not of the {images} training images. {again}")
    return kept
