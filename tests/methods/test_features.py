"""Features for k-means: in a file, in the order of the data set, never whole in memory."""

from __future__ import annotations

import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from largest import Largest
from small_run import SMALL, Ends, job, run_stages
from torch import Tensor

from imagenets.data.augment import normalize
from imagenets.errors import CorruptError, TrainingError
from imagenets.methods.pass_ import cluster, features
from imagenets.methods.pass_.cluster import nearest_rows
from imagenets.methods.pass_.features import central_crops, features_file
from imagenets.methods.pass_.heads import AttentionNet
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.trained import load_attention
from imagenets.training.run import Run
from imagenets.training.saving import SaveEvery


@pytest.fixture
def run(finished: Path, tiny_root: Path, tmp_path: Path) -> Run[Config]:
    """Steps 1 and 2 are done; batches of five, so that one crosses those of one shape."""
    for stage in ("pretrain", "attention"):
        shutil.copytree(finished / stage, tmp_path / stage)
    run = job(tiny_root, tmp_path, replace(SMALL, batch=5))
    return replace(run, save_every=SaveEvery(None, steps=1))


@torch.inference_mode()
def expected(run: Run[Config]) -> Tensor:
    """All of them in memory, as they were computed before there was a file."""
    data = run.dataset("train")
    network = load_attention(run)
    rows = torch.empty(len(data), network.backbone.channels[-1])
    for indices, crops in central_crops(run, data):
        rows[indices] = network.cluster_features(normalize(crops.float() / 255))
    return F.normalize(rows)


def test_the_file_holds_the_features_of_all_images_bit_by_bit(run: Run[Config]) -> None:
    folder = run.folder("cluster")
    found = torch.from_numpy(features_file(run, run.dataset("train"), folder))
    assert torch.equal(found, expected(run))
    assert [path.name for path in folder.iterdir()] == ["features.npy"]
    assert np.load(folder / "features.npy").dtype == np.float32  # a file that anybody can open


def test_half_precision_takes_half_the_space_and_is_close(run: Run[Config]) -> None:
    half = replace(run, config=replace(run.config, features="float16"))
    folder = run.folder("cluster")
    found = torch.from_numpy(features_file(half, run.dataset("train"), folder))
    exact = expected(run)
    assert found.dtype == torch.float16
    assert (folder / "features.npy").stat().st_size <= exact.nbytes // 2 + 200
    torch.testing.assert_close(found.float(), exact, rtol=1e-3, atol=1e-7)
    kmeans = [cluster.kmeans(points, 3, 3, 0)[1] for points in (found, found.float())]
    assert torch.equal(*kmeans)


@pytest.mark.parametrize("after", [0, 1, 3, 4])
def test_an_interrupted_file_goes_on_after_its_last_batch(
    after: int, run: Run[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = run.folder("cluster"), run.dataset("train")
    pooled = AttentionNet.cluster_features
    with monkeypatch.context() as patch:
        stops = Ends(pooled, after)
        patch.setattr(AttentionNet, "cluster_features", lambda *given: stops(*given))
        with pytest.raises(KeyboardInterrupt):
            features_file(run, data, folder)
    assert not (folder / "features.npy").exists()
    rest = Ends(pooled, 5 - after)  # one more would be refused
    monkeypatch.setattr(AttentionNet, "cluster_features", lambda *given: rest(*given))
    found = torch.from_numpy(features_file(run, data, folder))
    assert rest.calls == 5 - after
    monkeypatch.undo()
    assert torch.equal(found, expected(run))


def test_features_that_are_there_are_not_computed_again(
    run: Run[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = run.folder("cluster"), run.dataset("train")
    first = features_file(run, data, folder).copy()
    monkeypatch.setattr(features, "load_attention", None)
    assert np.array_equal(features_file(run, data, folder), first)


def test_a_file_of_other_images_or_a_broken_one_is_named(run: Run[Config]) -> None:
    path, data = run.folder("cluster") / "features.npy", run.dataset("train")
    np.save(path, np.zeros((3, 256), np.float32))
    with pytest.raises(CorruptError, match=r"features\.npy: not the features of these images"):
        features_file(run, data, path.parent)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CorruptError, match=r"features\.npy: not readable.*Delete it"):
        features_file(run, data, path.parent)


def test_too_little_room_is_told_before_anything_is_computed(
    run: Run[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = namedtuple("full", "total used free")(0, 0, 20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(TrainingError, match=r"take 0 MB, and 0 MB are free.*--features float16"):
        features_file(run, run.dataset("train"), run.folder("cluster"))


def test_kmeans_reads_points_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    points = F.normalize(torch.randn(700, 6, generator=torch.Generator().manual_seed(3)))
    whole = cluster.kmeans(points, 7, 3, 2)
    monkeypatch.setattr(cluster, "CHUNK", 64)
    pieces = cluster.in_chunks(points.numpy(), torch.device("cpu"))
    assert pieces[0].data_ptr() == points.data_ptr()  # no copy
    with Largest() as largest:
        chunks = cluster.kmeans(pieces, 7, 3, 2)
    assert largest.elements == len(points) < points.numel()  # a label and a distance a point
    torch.testing.assert_close(chunks[0], whole[0], rtol=1e-6, atol=1e-7)
    assert torch.equal(chunks[1], whole[1])


def test_the_stage_leaves_no_features(run: Run[Config], tiny_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "all"
    small = job(tiny_root, out, replace(SMALL, features="float16"))
    run_stages(small, "pretrain", "attention", "cluster")
    left = sorted(path.name for path in (out / "cluster").iterdir())
    assert left == ["centroids.npy", "clusters.json", "nearest.json"]
    assert np.load(out / "cluster" / "centroids.npy").dtype == np.float32


def test_the_nearest_images_of_a_category_come_first_and_no_more_than_eight() -> None:
    clusters = np.array([0, 2, 0, 0, *[2] * 10])
    distances = np.array([3.0, 9.0, 1.0, 1.0, *range(10)])
    none_of, many = [], [4, 5, 6, 7, 8, 9, 10, 11]
    found = [rows.tolist() for rows in nearest_rows(clusters, distances, 3)]
    assert found == [[2, 3, 0], none_of, many]
