"""Step 3: k-means on attention-pooled features; the centroids are the generated categories."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from imagenets.core.files import atomic, sha256, write_json
from imagenets.core.log import progress
from imagenets.data.augment import center_crop, normalize
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader.crops import ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.trained import load_attention
from imagenets.training import checkpoints
from imagenets.training.run import Run, seeded
from imagenets.training.stage import Stage

log = logging.getLogger(__name__)

CENTROIDS = "centroids.npy"
RESTARTS = "restarts.pt"
"""The restarts that are done, while others are left: their inertias, and the best centroids."""

ITERATIONS = 20
CHUNK = 16384
"""Points whose distances are held at once."""


def cluster(run: Run[Config]) -> dict[str, float]:
    """Clusters the training images; leaves `cluster/centroids.npy` and `clusters.json`."""
    folder = run.folder("cluster")
    data = run.dataset("train")
    features = F.normalize(_features(run, data))
    kept, k = folder / RESTARTS, len(data.classes)
    centroids, labels, inertia = kmeans(features, k, run.config.restarts, run.config.seed, kept)
    with atomic(folder / CENTROIDS) as part, part.open("wb") as file:
        np.save(file, centroids.cpu().numpy(), allow_pickle=False)
    clusters, class_ids = labels.cpu().numpy(), data.class_ids.astype(np.int64)
    reports = {
        "images": len(labels),
        "inertia": inertia,
        "NMI": 100 * mutual_information(clusters, class_ids),
        "accuracy": 100 * matched_accuracy(clusters, class_ids),
    }
    write_json(folder / "clusters.json", reports)
    kept.unlink(missing_ok=True)
    log.info("cluster: NMI %.1f %%, accuracy %.1f %%", reports["NMI"], reports["accuracy"])
    return reports


@torch.inference_mode()
def _features(run: Run[Config], data: ImageNetS) -> Tensor:
    """Pooled features of all images, N x F float32, in the order of the data set."""
    network = load_attention(run)
    features = torch.empty(len(data), network.backbone.channels[-1], device=run.device)
    for indices, crops in _crops(run, data):
        features[indices] = network.cluster_features(normalize(crops.float() / 255))
    return features


def _crops(run: Run[Config], data: ImageNetS) -> Iterator[tuple[Tensor, Tensor]]:
    """The central crops of all images, in full batches, with their indices.

    Images are read in batches of one resized shape, which are small where shapes are many; their
    crops all have one shape and go on together.
    """
    crop, count = ShortSide(run.config.side), run.config.batch
    batches = by_shape(crop.shapes(data.sizes), count)
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


def kmeans(
    points: Tensor, k: int, restarts: int, seed: int, kept: Path | None = None
) -> tuple[Tensor, Tensor, float]:
    """Euclidean k-means over all points, the best of several restarts.

    Args:
        points: N x F float32.
        k: Number of clusters, at most N.
        restarts: How often to start from k points drawn anew.
        seed: Fixes the draws.
        kept: File that keeps the restarts that are done; those found in it are not done again.

    Returns:
        k x F centroids, N labels, and the sum of squared distances.
    """
    done = checkpoints.partial(kept, points.device, "inertias", "best") if kept else None
    inertias: list[float] = done["inertias"] if done else []
    best: Tensor | None = done["best"] if done else None
    left = range(len(inertias), restarts)
    for restart in progress(left, "cluster: k-means", restarts, first=len(inertias)):
        order = torch.randperm(len(points), generator=seeded(seed, "kmeans", restart))
        centroids, inertia = _lloyd(points, points[order[:k].to(points.device)].clone())
        if best is None or inertia < min(inertias):
            best = centroids
        inertias.append(inertia)
        if kept is not None:
            checkpoints.save(kept, {"inertias": inertias, "best": best})
    assert best is not None
    return best, _nearest(points, best)[0], min(inertias)


def _lloyd(points: Tensor, centroids: Tensor) -> tuple[Tensor, float]:
    for _ in range(ITERATIONS):
        labels, distances = _nearest(points, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        counts = torch.bincount(labels, minlength=len(centroids))
        centroids = sums / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):  # an empty cluster moves to the points that fit worst
            centroids[empty] = points[distances.topk(len(empty)).indices]
    return centroids, float(_nearest(points, centroids)[1].sum())


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    labels, distances = [], []
    for chunk in points.split(CHUNK):
        squares = (chunk**2).sum(1, keepdim=True) + (centroids**2).sum(1)
        distance, label = (squares - 2 * chunk @ centroids.t()).min(1)
        labels.append(label)
        distances.append(distance)
    return torch.cat(labels), torch.cat(distances)


def _pairs(labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    table = np.zeros((labels.max() + 1, classes.max() + 1), np.int64)
    np.add.at(table, (labels, classes), 1)
    return table


def mutual_information(labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> float:
    """Normalised mutual information of two labellings, arithmetic mean of entropies, 0..1."""
    joint = _pairs(labels, classes) / len(labels)
    rows, columns = joint.sum(1), joint.sum(0)
    seen = joint > 0
    mutual = (joint[seen] * np.log(joint[seen] / np.outer(rows, columns)[seen])).sum()
    entropy = -sum((p[p > 0] * np.log(p[p > 0])).sum() for p in (rows, columns)) / 2
    return float(mutual / entropy) if entropy > 0 else 1.0


def matched_accuracy(labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> float:
    """Share of images in the class their cluster is matched to (Hungarian), 0..1."""
    table = _pairs(labels, classes)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(labels))


def _result(folder: Path) -> str | None:
    path = folder / CENTROIDS
    return sha256(path) if path.is_file() else None


STAGE = Stage(
    name="cluster",
    needs=("attention",),
    settings=("arch", "batch", "side", "crop", "restarts", "seed"),
    splits=lambda config: ("train",),
    version=2,
    run=cluster,
    result=_result,
)
