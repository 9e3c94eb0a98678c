"""Step 3: k-means on attention-pooled features; the centroids are the generated categories."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from imagenets.core.distributed import add_up, gather, on_first, rank, world
from imagenets.core.files import atomic, sha256, write_json
from imagenets.core.log import progress
from imagenets.methods.pass_.features import FEATURES, features_file
from imagenets.methods.pass_.kept_images import KEPT, nearest_share, write_kept
from imagenets.methods.pass_.points import Points, nearest, spread
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.recluster import recluster
from imagenets.training import checkpoints
from imagenets.training.run import Run, seeded
from imagenets.training.stage import Stage

log = logging.getLogger(__name__)

CENTROIDS = "centroids.npy"
RESTARTS = "restarts.pt"
"""The restarts that are done, while others are left: their inertias, and the best centroids."""

NEAREST = "nearest.json"
"""Names of the training images nearest to each centroid, nearest first; no later step needs it."""

NEIGHBOURS = 8
"""Images of a category that are named there."""

ITERATIONS = 20
CHUNK = 16384
"""Points whose distances are held at once."""


def cluster(run: Run[Config]) -> dict[str, float]:
    """Clusters the training images; leaves `centroids.npy`, `clusters.json` and `nearest.json`."""
    folder = run.folder("cluster")
    data = run.dataset("train")
    points = in_chunks(_own_rows(features_file(run, data, folder)), run.device)
    kept, k = folder / RESTARTS, len(data.classes)
    config = run.config
    seed, init = config.seed, config.kmeans_init
    found = kmeans(points, k, config.restarts, seed, kept, device=run.device, init=init)
    centroids, labels, inertia = found
    if config.recluster < 1:
        centroids = recluster(Points.of(points, run.device), centroids, config.recluster)
        labels, away = nearest(points, centroids)
        inertia = float(add_up(away.sum()))
    clusters = np.concatenate(gather(labels.cpu().numpy()))
    distances = np.concatenate(gather(nearest(points, centroids)[1].cpu().numpy()))
    class_ids = data.class_ids.astype(np.int64)
    reports = {
        "images": len(clusters),
        "inertia": inertia,
        "NMI": 100 * mutual_information(clusters, class_ids),
        "accuracy": 100 * matched_accuracy(clusters, class_ids),
    }
    del points, found
    if config.keep < 1:
        picked = nearest_share(clusters, distances, config.keep)
        pure = matched_accuracy(clusters[picked], class_ids[picked])
        reports |= {"kept": int(picked.sum()), "kept accuracy": 100 * pure}
        on_first(lambda: write_kept(folder, picked))
    rows = nearest_rows(clusters, distances, k)
    names = {str(1 + i): [data.names[row] for row in rows[i].tolist()] for i in range(k)}
    on_first(lambda: _finish(folder, centroids, reports, names))
    log.info("cluster: NMI %.1f %%, accuracy %.1f %%", reports["NMI"], reports["accuracy"])
    return reports


def nearest_rows(
    clusters: npt.NDArray[np.int64], distances: npt.NDArray[np.floating], k: int
) -> list[npt.NDArray[np.int64]]:
    """The images of each cluster that lie nearest to its centroid, nearest first.

    Args:
        clusters: The cluster of every image, 0..k - 1.
        distances: Of every image to the centroid of its cluster, in any unit.
        k: Number of clusters.

    Returns:
        Rows of at most `NEIGHBOURS` images for each cluster; of two as near the earlier first.
    """
    order = np.lexsort((distances, clusters))
    starts = np.searchsorted(clusters[order], np.arange(k + 1))
    return [order[start : min(end, start + NEIGHBOURS)] for start, end in pairwise(starts.tolist())]


def _finish(
    folder: Path,
    centroids: Tensor,
    reports: Mapping[str, float],
    names: Mapping[str, Sequence[str]],
) -> None:
    with atomic(folder / CENTROIDS) as part, part.open("wb") as file:
        np.save(file, centroids.cpu().numpy(), allow_pickle=False)
    write_json(folder / "clusters.json", reports)
    write_json(folder / NEAREST, names)
    for name in (RESTARTS, FEATURES):
        (folder / name).unlink(missing_ok=True)


def _own_rows(rows: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """This rank's part, neighbours in the file."""
    ends = [len(rows) * number // world() for number in (rank(), rank() + 1)]
    return rows[ends[0] : ends[1]]


def in_chunks(rows: npt.NDArray[np.floating], device: torch.device) -> list[Tensor]:
    """Cuts points into chunks, which are brought to a GPU if they take half of what is free there.

    Else they stay where they are, and each pass of k-means reads them anew. Chunks, since tensors
    of more than 2^31 elements are beyond what CUDA kernels index: 1.2 million x 2048 are.
    """
    starts = range(0, max(1, len(rows)), CHUNK)
    chunks = [torch.from_numpy(rows[start : start + CHUNK]) for start in starts]
    if device.type != "cuda":
        return chunks
    free, _ = torch.cuda.mem_get_info(device)
    if rows.nbytes <= free // 2:
        return [chunk.to(device) for chunk in chunks]
    log.info(
        "cluster: the features (%.1f GB) stay in their file: %.1f GB are free on %s.",
        rows.nbytes / 1e9,
        free / 1e9,
        device,
    )
    return chunks


def kmeans(
    points: Tensor | Sequence[Tensor],
    k: int,
    restarts: int,
    seed: int,
    kept: Path | None = None,
    device: torch.device | None = None,
    init: str = "random",
) -> tuple[Tensor, Tensor, float]:
    """Euclidean k-means over all points, the best of several restarts.

    Ranks share the points: an iteration adds up k x F sums and k counts over them.

    Args:
        points: N x F float32 or float16, or that in chunks of `CHUNK` points. With several ranks,
            the points of this one: the N of all are theirs, end to end.
        k: Number of clusters, at most N.
        restarts: How often to start from k points drawn anew.
        seed: Fixes the draws.
        kept: File that keeps the restarts that are done; those found in it are not done again.
        device: Where it is worked out, in float32; by default where the points are.
        init: How points are drawn, one of `presets.INITS`; see `points.spread`.

    Returns:
        k x F centroids, N labels (of this rank's points), and the sum of squared distances.
    """
    chunks = points.split(CHUNK) if isinstance(points, Tensor) else points
    shared = Points.of(chunks, device or chunks[0].device)
    inertias, best = on_first(lambda: _kept(kept))
    left = range(len(inertias), restarts)
    for restart in progress(left, "cluster: k-means", restarts, first=len(inertias)):
        generator = seeded(seed, "kmeans", restart)
        if init == "plusplus":
            start = spread(shared, k, generator)
        else:
            start = shared.rows(torch.randperm(shared.total, generator=generator)[:k])
        centroids, inertia = _lloyd(shared, start)
        if best is None or inertia < min(inertias):
            best = centroids
        inertias.append(inertia)
        if kept is not None:
            state = {"inertias": inertias, "best": best}
            on_first(partial(checkpoints.save, kept, state))
    assert best is not None
    best = best.to(shared.device)
    return best, nearest(chunks, best)[0], min(inertias)


def _kept(path: Path | None) -> tuple[list[float], Tensor | None]:
    """The restarts that are done: their inertias and the best centroids."""
    found = checkpoints.partial(path, torch.device("cpu"), "inertias", "best") if path else None
    return (found["inertias"], found["best"]) if found else ([], None)


def _lloyd(points: Points, centroids: Tensor) -> tuple[Tensor, float]:
    for _ in range(ITERATIONS):
        sums = torch.zeros_like(centroids)
        labels, distances = nearest(points.own, centroids, sums)
        counts = add_up(torch.bincount(labels, minlength=len(centroids)))
        centroids = add_up(sums) / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):  # an empty cluster moves to the points that fit worst
            worst = points.worst(distances, len(empty))  # fewer than asked for, of few points
            centroids[empty[: len(worst)]] = points.rows(worst)
    return centroids, float(add_up(nearest(points.own, centroids)[1].sum()))


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
    path, kept = folder / CENTROIDS, folder / KEPT
    if not path.is_file():
        return None
    return f"{sha256(path)} {sha256(kept)}" if kept.is_file() else sha256(path)


STAGE = Stage(
    name="cluster",
    needs=lambda config: ("attention" if config.attend == "head" else "pretrain",),
    settings=(
        *("arch", "batch", "side", "crop", "restarts"),
        *("features", "seed", "kmeans_init", "recluster", "keep", "attend"),
    ),
    splits=lambda config: ("train",),
    version=2,
    run=cluster,
    result=_result,
)
