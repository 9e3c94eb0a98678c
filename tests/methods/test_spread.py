"""k-means++: starts of k-means that lie apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SMALL, job, run_stages, take_over

from imagenets.methods.pass_.cluster import kmeans
from imagenets.methods.pass_.points import Points, spread
from imagenets.methods.pass_.presets import INITS

CPU = torch.device("cpu")


def drawn(points: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    shared = Points.of(points.split(3), CPU)
    return spread(shared, count, torch.Generator().manual_seed(seed))


def test_points_are_drawn_in_proportion_to_their_squared_distance() -> None:
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    pairs = [drawn(points, 2, seed) for seed in range(2000)]
    found = [(two[0].tolist(), two[1].tolist()) for two in pairs]
    firsts = [sum(first == point for first, _ in found) for point in points.tolist()]
    assert min(firsts) > 430  # 500 of each are expected
    after = [second for first, second in found if first == [0, 0]]
    shares = [sum(second == point for second in after) / len(after) for point in points.tolist()]
    np.testing.assert_allclose(shares, [0, 1 / 14, 4 / 14, 9 / 14], atol=0.06)


def test_no_point_is_drawn_twice_while_others_are_left() -> None:
    points = torch.cat([torch.zeros(50, 3), torch.eye(3)])
    for seed in range(20):
        assert len(drawn(points, 4, seed).unique(dim=0)) == 4
    assert drawn(torch.zeros(5, 3), 3, 0).shape == (3, 3)


def test_fewer_points_than_clusters_leave_some_of_them_where_they_are() -> None:
    points = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for init in INITS:
        centroids, labels, inertia = kmeans(points, 8, 2, 0, init=init)
        assert len(labels.unique()) == 5
        assert inertia == pytest.approx(0, abs=1e-5)
        assert torch.isfinite(centroids).all()


def test_spread_starts_find_groups_that_random_ones_merge() -> None:
    generator = torch.Generator().manual_seed(1)
    centres = 40 * torch.randn(20, 4, generator=generator)
    points = centres.repeat_interleave(15, 0) + 0.1 * torch.randn(300, 4, generator=generator)
    inertias = {
        init: [kmeans(points, 20, 1, seed, init=init)[2] for seed in range(5)]
        for init in ("random", "plusplus")
    }
    assert np.median(inertias["plusplus"]) < np.median(inertias["random"]) / 2
    usual = kmeans(points, 20, 2, 0)
    assert torch.equal(usual[0], kmeans(points, 20, 2, 0, init="random")[0])


def test_the_setting_reaches_the_step(finished: Path, tiny_root: Path, tmp_path: Path) -> None:
    take_over(finished, tmp_path, ["pretrain", "attention"])
    config = replace(SMALL, kmeans_init="plusplus", restarts=1)
    run_stages(job(tiny_root, tmp_path, config), "cluster")
    entry = json.loads((tmp_path / "ledger.json").read_text())["cluster"]
    assert entry["key"]["settings"]["kmeans_init"] == "plusplus"
    assert not np.array_equal(
        np.load(tmp_path / "cluster" / "centroids.npy"),
        np.load(finished / "cluster" / "centroids.npy"),
    )
