"""Stages without training keep their parts: the restarts of k-means, the batches of the sweep."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_run import Ends, job, run_stages
from torch import Tensor

from imagenets.evaluation.sweep import ThresholdSweep
from imagenets.methods.pass_ import STAGES, cluster
from imagenets.training.saving import SaveEvery


@pytest.fixture
def points() -> Tensor:
    return torch.randn(300, 6, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("after", range(6))
def test_kmeans_goes_on_after_its_last_restart(
    after: int, points: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = cluster.kmeans(points, 7, restarts=6, seed=2)
    kept, lloyd = tmp_path / "restarts.pt", cluster._lloyd
    monkeypatch.setattr(cluster, "_lloyd", Ends(lloyd, after))
    with pytest.raises(KeyboardInterrupt):
        cluster.kmeans(points, 7, 6, 2, kept)
    rest = Ends(lloyd, 6 - after)  # one more would be refused
    monkeypatch.setattr(cluster, "_lloyd", rest)
    centroids, labels, inertia = cluster.kmeans(points, 7, 6, 2, kept)
    assert rest.calls == 6 - after
    assert torch.equal(centroids, whole[0])
    assert torch.equal(labels, whole[1])
    assert inertia == whole[2]
    assert len(torch.load(kept)["inertias"]) == 6


def test_restarts_that_cannot_be_read_are_done_again_with_a_word(
    points: Tensor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = tmp_path / "restarts.pt"
    whole = cluster.kmeans(points, 7, 3, 2, kept)
    data = bytearray(kept.read_bytes())
    data[data.index(whole[0].numpy().tobytes())] ^= 1  # torch itself would not notice
    kept.write_bytes(data)
    again = cluster.kmeans(points, 7, 3, 2, kept)
    assert torch.equal(again[0], whole[0])
    assert "restarts.pt: not as it was written" in caplog.text


def test_the_sweep_goes_on_after_its_last_batch(
    finished: Path, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = shutil.ignore_patterns("pseudo", "finetune", "predict")
    out = Path(shutil.copytree(finished, tmp_path / "run", ignore=left))
    run = replace(job(tiny_root, out), save_every=SaveEvery(None, steps=1))
    update = ThresholdSweep.update
    first = Ends(update, 7)
    monkeypatch.setattr(ThresholdSweep, "update", lambda *given: first(*given))
    with pytest.raises(KeyboardInterrupt):
        run_stages(run, "pseudo")
    seen = torch.load(out / "pseudo" / "sweep.pt")["batches"]
    assert seen > 0
    rest = Ends(update, 12)
    monkeypatch.setattr(ThresholdSweep, "update", lambda *given: rest(*given))
    run_stages(run, "pseudo")
    assert rest.calls < 12
    for name in ("threshold.json", "done.json"):
        assert (out / "pseudo" / name).read_bytes() == (finished / "pseudo" / name).read_bytes()
    kept = {path.name for stage in STAGES for path in (out / stage).glob("*.pt")}
    assert kept == {"checkpoint.pt"}
