"""Centroids of the images nearest to them alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from small_run import SMALL, job, run_stages, take_over

from imagenets.methods.pass_.kept_images import nearest_share
from imagenets.methods.pass_.points import Points, nearest
from imagenets.methods.pass_.recluster import recluster

CPU = torch.device("cpu")


def moved(points: torch.Tensor, centroids: torch.Tensor, share: float) -> torch.Tensor:
    return recluster(Points.of(points.split(7), CPU), centroids, share)


def test_what_lies_far_out_no_longer_draws_the_centroid() -> None:
    near = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    points = torch.cat([near, torch.tensor([[30.0]])])  # one that belongs to neither
    means = torch.tensor([[1.0], [15.75]])
    assert torch.equal(moved(points, means, 1.0), means)
    assert moved(points, means, 0.75).flatten().tolist() == [1.0, 11.0]


def test_centroids_are_the_means_of_what_they_keep() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 20 * torch.randn(5, 3, generator=generator)
    points = centres.repeat_interleave(40, 0) + torch.randn(200, 3, generator=generator)
    found = moved(points, points[:200:40], 0.5)
    labels, distances = nearest([points], found)
    picked = torch.from_numpy(nearest_share(labels.numpy(), distances.numpy(), 0.5))
    for i in range(5):
        own = points[picked & (labels == i)]
        torch.testing.assert_close(found[i], own.mean(0), atol=1e-5, rtol=1e-5)


def test_an_empty_cluster_stays_where_it_was() -> None:
    centroids = torch.tensor([[0.0], [1000.0]])
    assert moved(torch.tensor([[0.0], [2.0], [4.0]]), centroids, 0.5)[1].item() == 1000


def test_the_setting_reaches_the_step(finished: Path, tiny_root: Path, tmp_path: Path) -> None:
    take_over(finished, tmp_path, ["pretrain", "attention"])
    run_stages(job(tiny_root, tmp_path, replace(SMALL, recluster=0.5)), "cluster")
    entry = json.loads((tmp_path / "ledger.json").read_text())["cluster"]
    assert entry["key"]["settings"]["recluster"] == 0.5
    found, usual = (np.load(at / "cluster" / "centroids.npy") for at in (tmp_path, finished))
    assert not np.array_equal(found, usual)
    reports = [
        json.loads((at / "cluster" / "clusters.json").read_text()) for at in (tmp_path, finished)
    ]
    assert reports[0]["inertia"] > reports[1]["inertia"]  # that of all images
