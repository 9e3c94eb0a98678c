"""Step 3: k-means on attention-pooled features; the centroids are the generated categories."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from imagenets.data.augment import centre_crop, normalise, short_side
from imagenets.methods.pass_.inference import load_attention
from imagenets.training.run import Run, progress, say, seeded, write_json

ITERATIONS = 20
CHUNK = 16384
"""Points whose distances are held at once."""


def cluster(run: Run) -> None:
    """Clusters the training images; leaves `cluster/centroids.npy` and `clusters.json`."""
    folder = run.folder("cluster")
    if (folder / "clusters.json").is_file():
        say("cluster: done")
        return
    features, class_ids = _features(run)
    data = run.dataset("train")
    k = len(data.classes)
    centroids, labels, inertia = kmeans(
        F.normalize(features), k, run.config.restarts, run.config.seed
    )
    part = folder / "centroids.part.npy"
    np.save(part, centroids.cpu().numpy(), allow_pickle=False)
    part.replace(folder / "centroids.npy")
    found = {
        "images": len(labels),
        "inertia": inertia,
        "NMI": 100 * mutual_information(labels.cpu().numpy(), class_ids),
        "accuracy": 100 * matched_accuracy(labels.cpu().numpy(), class_ids),
    }
    write_json(folder / "clusters.json", found)
    say(f"cluster: NMI {found['NMI']:.1f} %, accuracy {found['accuracy']:.1f} %")


@torch.inference_mode()
def _features(run: Run) -> tuple[Tensor, npt.NDArray[np.int64]]:
    """Pooled features of all training images, N x F, and their class ids."""
    network = load_attention(run)
    side, crop = run.config.side, run.config.crop
    rows: list[Tensor] = []
    class_ids: list[Tensor] = []
    loader = run.loader(run.dataset("train"))
    for batch in progress(loader, "cluster: features", len(loader)):
        images = [
            centre_crop(short_side(image.to(run.device), side), crop) for image in batch.whole
        ]
        with run.autocast():
            rows.append(network.cluster_features(normalise(torch.stack(images).float() / 255)))
        class_ids.append(batch.class_ids)
    return torch.cat(rows).float(), torch.cat(class_ids).numpy()


def kmeans(points: Tensor, k: int, restarts: int, seed: int) -> tuple[Tensor, Tensor, float]:
    """Euclidean k-means over all points, the best of several restarts.

    Args:
        points: N x F float32.
        k: Number of clusters, at most N.
        restarts: How often to start from k points drawn anew.
        seed: Fixes the draws.

    Returns:
        k x F centroids, N labels, and the sum of squared distances.
    """
    best: tuple[Tensor, Tensor, float] | None = None
    for restart in progress(range(restarts), "cluster: k-means", restarts):
        order = torch.randperm(len(points), generator=seeded(seed, "kmeans", restart))
        found = _lloyd(points, points[order[:k].to(points.device)].clone())
        if best is None or found[2] < best[2]:
            best = found
    assert best is not None
    return best


def _lloyd(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor, float]:
    for _ in range(ITERATIONS):
        labels, distances = _nearest(points, centroids)
        sums = torch.zeros_like(centroids).index_add_(0, labels, points)
        counts = torch.bincount(labels, minlength=len(centroids))
        centroids = sums / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):  # an empty cluster moves to the points that fit worst
            centroids[empty] = points[distances.topk(len(empty)).indices]
    labels, distances = _nearest(points, centroids)
    return centroids, labels, float(distances.sum())


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    labels, distances = [], []
    for chunk in points.split(CHUNK):
        squares = (chunk**2).sum(1, keepdim=True) + (centroids**2).sum(1)
        distance, label = (squares - 2 * chunk @ centroids.t()).min(1)
        labels.append(label)
        distances.append(distance)
    return torch.cat(labels), torch.cat(distances)


def _contingency(
    labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    table = np.zeros((labels.max() + 1, classes.max() + 1), np.int64)
    np.add.at(table, (labels, classes), 1)
    return table


def mutual_information(labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> float:
    """Normalised mutual information of two labellings, arithmetic mean of entropies, 0..1."""
    joint = _contingency(labels, classes) / len(labels)
    rows, columns = joint.sum(1), joint.sum(0)
    seen = joint > 0
    mutual = (joint[seen] * np.log(joint[seen] / np.outer(rows, columns)[seen])).sum()
    entropy = -sum((p[p > 0] * np.log(p[p > 0])).sum() for p in (rows, columns)) / 2
    return float(mutual / entropy) if entropy > 0 else 1.0


def matched_accuracy(labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> float:
    """Share of images in the class their cluster is matched to (Hungarian), 0..1."""
    table = _contingency(labels, classes)
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(labels))
