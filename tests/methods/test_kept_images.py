"""Cleaner clusters: fine-tuning learns from the images nearest to their centroids alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import SMALL, job, run_stages, take_over

from imagenets.data.loader import Loader
from imagenets.errors import CorruptError, MissingError
from imagenets.methods.pass_ import finetune
from imagenets.methods.pass_.kept_images import nearest_share, read_kept, write_kept
from imagenets.training.loop import Training

HALF = replace(SMALL, keep=0.5)


def test_the_nearest_of_each_cluster_are_picked() -> None:
    clusters = np.array([2, 0, 2, 2, 0, 2, 2, 3])
    distances = np.array([0.5, 9, 0.1, 0.4, 7, 0.4, 0.9, 1])
    picked = nearest_share(clusters, distances, 0.5)
    assert picked.nonzero()[0].tolist() == [2, 3, 4, 5, 7]  # 3 of 5, 1 of 2, 1 of 1
    assert nearest_share(clusters, distances, 1.0).all()
    assert nearest_share(clusters, distances, 0.01).nonzero()[0].tolist() == [2, 4, 7]


def test_fine_tuning_sees_the_kept_images_alone(
    finished: Path, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over(finished, tmp_path, ["pretrain", "attention"])
    run = job(tiny_root, tmp_path, HALF)
    run_stages(run, "cluster", "pseudo")
    reports = json.loads((tmp_path / "cluster" / "clusters.json").read_text())
    kept = read_kept(tmp_path / "cluster", reports["images"])
    assert 0 < kept.sum() == reports["kept"] < len(kept)
    same = [(folder / "cluster" / "centroids.npy").read_bytes() for folder in (tmp_path, finished)]
    assert same[0] == same[1]
    seen: list[Loader] = []

    def train(run: Any, training: Training) -> dict[str, float]:
        seen.append(training.loader)
        return {}

    monkeypatch.setattr(finetune, "train", train)
    finetune.finetune(run)
    finetune.finetune(job(tiny_root, finished))
    data = run.dataset("train")
    near, every = ({name for batch in loader for name in batch.names} for loader in seen)
    assert near <= {data.names[i] for i in kept.nonzero()[0].tolist()}
    assert len(near) >= kept.sum() - SMALL.batch  # the last batch is left out
    assert len(every) == len(data)


def test_without_it_nothing_is_written(finished: Path) -> None:
    assert not (finished / "cluster" / "kept.npy").exists()
    assert "kept" not in json.loads((finished / "cluster" / "clusters.json").read_text())


def test_a_lost_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"kept\.npy: not there.*step 'cluster'"):
        read_kept(tmp_path, 3)
    write_kept(tmp_path, np.array([True, False, True]))
    assert read_kept(tmp_path, 3).tolist() == [True, False, True]
    with pytest.raises(CorruptError, match="not of the 4 training images"):
        read_kept(tmp_path, 4)
    (tmp_path / "kept.npy").write_bytes(b"no")
    with pytest.raises(CorruptError, match="not readable"):
        read_kept(tmp_path, 3)
