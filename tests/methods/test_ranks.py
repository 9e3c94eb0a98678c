"""Two and three ranks compute what one does: real processes, a global batch of 24."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import run_ranks
from small_run import SMALL, job, run_stages

from imagenets import ImageNetS
from imagenets.core.distributed import rank, world
from imagenets.core.pool import in_chunks
from imagenets.errors import RankError, UsageError
from imagenets.methods.pass_ import STAGES, pseudo
from imagenets.methods.pass_.cluster import kmeans
from imagenets.methods.pass_.label_format import LabelReader
from imagenets.methods.pass_.presets import TRAINED, Config, Schedule
from imagenets.methods.pass_.score import score_run
from imagenets.training.optimizers import LarcSGD
from imagenets.training.saving import SaveEvery
from imagenets.training.watch import MEASURED

STEPS = 10  # of one epoch each: the tiny set has 24 training images
RATE = 0.01  # at the published rates so small a network multiplies rounding by ten in a step
CONFIG: Config = replace(
    SMALL,
    batch=24,
    pretrain=Schedule(STEPS, RATE, queue=72, queue_from=2, freeze=3),
    attention=Schedule(STEPS, RATE, queue=48),
    finetune=Schedule(STEPS, RATE / 5),
    accumulate=2,
    foreground="saliency",
    ema=0.7,
    recluster=0.8,
)
UNEVEN = replace(CONFIG, batch=7)


def run_one(out: Path, stage: str, config: Config = CONFIG) -> None:
    pseudo.FILE = 7  # several files, so that ranks share them
    run = job(Path(out.parent, "root").resolve(), out, config)
    run_stages(replace(run, save_every=SaveEvery(None, 1)), stage)


def work(folder: Path) -> dict[str, Any]:
    """Runs every stage, clusters points, and tries two stages that end in an error."""
    for stage in STAGES:
        run_one(folder / stage, stage)
    clusters = [
        kmeans(points.tensor_split(world())[rank()], k, 3, 1, init=i) for points, k, i in POINTS
    ]
    data = ImageNetS(folder / "root", "validation", "3", masks=True)
    scores = score_run(data, folder / "predict", workers=1)
    chunks = list(in_chunks(by_whom, range(10), 1, chunk=2, shared=True))
    with pytest.raises((UsageError, RankError)) as refused:
        run_one(folder / "uneven", "pretrain", UNEVEN)
    stops_in_its_seventh_step()
    with pytest.raises((StopError, RankError)) as stopped:
        run_one(folder / "stopped", "pretrain")
    return {
        "clusters": clusters,
        "scores": scores.metrics,
        "chunks": chunks,
        "refused": str(refused.value),
        "stopped": str(stopped.value),
    }


def by_whom(items: Sequence[int]) -> tuple[int, list[int]]:
    """Which rank has worked on which items."""
    return rank(), list(items)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


_ALIKE = torch.cat([drawn(1, 6).repeat(60, 1), drawn(40, 6)])
POINTS = [
    (drawn(300, 6), 7, "random"),
    (_ALIKE, 12, "random"),  # many are one, so that clusters are empty
    (drawn(300, 6), 7, "plusplus"),
    (_ALIKE, 12, "plusplus"),
]
"""Points, how many clusters, and how k-means starts."""


class StopError(Exception):
    """The last rank has stopped."""


def stops_in_its_seventh_step() -> None:
    step, calls = LarcSGD.step, []

    def counted(self: LarcSGD, *given: Any) -> Any:
        calls.append(self)
        if len(calls) == 7 and rank() == 1:
            raise StopError("this is rank 1")
        return step(self, *given)

    LarcSGD.step = counted  # type: ignore[method-assign]


def begun(one: Path, folder: Path, stage: str) -> None:
    """A copy of a run as it was before a stage."""
    out = folder / stage
    out.mkdir()
    shutil.copy(one / "ledger.json", out)
    for earlier in list(STAGES)[: list(STAGES).index(stage)]:
        shutil.copytree(one / earlier, out / earlier)


@pytest.fixture(scope="module")
def one(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one rank leaves."""
    out = tmp_path_factory.mktemp("one") / "run"
    (out.parent / "root").symlink_to(tiny_root)
    for stage in STAGES:
        run_one(out, stage)
    return out


Several = tuple[Path, list[dict[str, Any]]]
"""A folder for each stage, and what every rank has returned."""


@pytest.fixture(scope="module", params=[2, 3])
def several(
    request: pytest.FixtureRequest, one: Path, tmp_path_factory: pytest.TempPathFactory
) -> Several:
    """A folder for each stage, run by several ranks from what one rank left of those before."""
    folder = tmp_path_factory.mktemp("several")
    (folder / "root").symlink_to((one.parent / "root").resolve())
    for stage in STAGES:
        begun(one, folder, stage)
    return folder, run_ranks(request.param, folder, work, folder)


def history(out: Path, stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / stage / "log.jsonl").read_text().splitlines()]


def same_losses(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected) == STEPS
    for number, (want, got) in enumerate(zip(expected, found, strict=True)):
        assert got.keys() == want.keys()
        assert got["stage"] == want["stage"]
        for name in got.keys() - {"stage", *MEASURED}:
            assert got[name] == pytest.approx(want[name], rel=1e-5, abs=1e-5), (number, name)


@pytest.mark.slow
@pytest.mark.parametrize("stage", TRAINED)
def test_the_losses_are_those_of_one_rank(stage: str, one: Path, several: Several) -> None:
    same_losses(history(several[0] / stage, stage), history(one, stage))


@pytest.mark.slow
@pytest.mark.parametrize("stage", TRAINED)
def test_a_checkpoint_is_that_of_one_rank(stage: str, one: Path, several: Several) -> None:
    want, got = (torch.load(out / stage / "checkpoint.pt") for out in (one, several[0] / stage))
    assert got["state_dict"].keys() == want["state_dict"].keys()
    for name, value in want["state_dict"].items():
        torch.testing.assert_close(got["state_dict"][name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert ("average" in want) == ("average" in got) == (stage == "finetune")
    for name, value in want.get("average", {}).get("weights", {}).items():
        other = got["average"]["weights"][name]
        torch.testing.assert_close(other, value, rtol=1e-3, atol=1e-4, msg=name)
    queues = {"pretrain": 72, "attention": 48}
    assert (
        got["memory"].keys() == want["memory"].keys() == ({"queue"} if stage in queues else set())
    )
    for name, rows in want["memory"].items():
        assert rows.shape[1] == queues[stage]
        assert rows.any(2).all()
        torch.testing.assert_close(got["memory"][name], rows, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_clusters_are_those_of_one_rank(one: Path, several: Several) -> None:
    mine, theirs = one / "cluster", several[0] / "cluster" / "cluster"
    assert sorted(path.name for path in theirs.iterdir()) == [
        "centroids.npy",
        "clusters.json",
        "nearest.json",
    ]
    want, got = (np.load(folder / "centroids.npy") for folder in (mine, theirs))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    expected, found = (
        json.loads((folder / "clusters.json").read_text()) for folder in (mine, theirs)
    )
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(POINTS)))
def test_points_are_clustered_as_by_one_rank(number: int, several: Several) -> None:
    points, k, init = POINTS[number]
    centroids, labels, inertia = kmeans(points, k, 3, 1, init=init)
    found = [said["clusters"][number] for said in several[1]]
    assert torch.cat([own for _, own, _ in found]).equal(labels)
    for theirs, _, total in found:
        assert theirs.equal(found[0][0])
        torch.testing.assert_close(theirs, centroids, rtol=1e-5, atol=1e-6)
        assert total == pytest.approx(inertia, rel=1e-5, abs=1e-4)


@pytest.mark.slow
def test_pseudo_labels_are_those_of_one_rank(one: Path, several: Several) -> None:
    mine, theirs = one / "pseudo", several[0] / "pseudo" / "pseudo"
    names = sorted(path.name for path in mine.iterdir())
    assert sorted(path.name for path in theirs.iterdir()) == names
    assert len([name for name in names if name.endswith(".h5")]) >= 3
    assert (theirs / "threshold.json").read_bytes() == (mine / "threshold.json").read_bytes()
    images = 0
    for name in (name for name in names if name.endswith(".h5")):
        want, got = LabelReader.open(mine / name), LabelReader.open(theirs / name)
        assert got.table["name"].tolist() == want.table["name"].tolist()
        for place in range(len(want.table)):
            images += 1
            for a, b in zip(got.grids(place), want.grids(place), strict=True):
                assert np.array_equal(a, b)
    assert images == 24


@pytest.mark.slow
def test_predictions_are_those_of_one_rank(one: Path, several: Several) -> None:
    mine, theirs = one / "predict", several[0] / "predict" / "predict"
    paths = sorted(path.relative_to(mine) for path in mine.rglob("*.png"))
    assert len(paths) == 12
    for path in [*paths, Path("done.json")]:
        assert (theirs / path).read_bytes() == (mine / path).read_bytes()


@pytest.mark.slow
def test_scores_are_those_of_one_rank(one: Path, several: Several) -> None:
    data = ImageNetS(one.parent / "root", "validation", "3", masks=True)
    expected = score_run(data, one, workers=1)
    for found in several[1]:
        assert found["scores"] == expected.metrics
    for name in ("scores.json", "match.json"):
        want, got = (json.loads((out / name).read_bytes()) for out in (one, several[0] / "predict"))
        assert {**got, "provenance": 0} == {**want, "provenance": 0}  # it names the devices


@pytest.mark.slow
def test_chunks_are_shared_out_and_all_ranks_get_all(several: Several) -> None:
    count = len(several[1])
    for found in several[1]:
        assert found["chunks"] == [(i % count, [2 * i, 2 * i + 1]) for i in range(5)]


@pytest.mark.slow
def test_a_batch_that_ranks_cannot_share_is_refused(several: Several) -> None:
    for said in several[1]:
        assert f"a batch of 7 images cannot be shared by {len(several[1])} ranks" in said["refused"]


@pytest.mark.slow
def test_an_error_of_one_rank_ends_all_and_one_rank_goes_on(one: Path, several: Several) -> None:
    folder, said = several
    assert said[1]["stopped"] == "this is rank 1"
    for number in {*range(len(said))} - {1}:
        assert f"rank {number} has lost the others while " in said[number]["stopped"]
    kept = sorted((folder / "stopped" / "pretrain").glob("checkpoint-*.pt"))
    assert [path.stem for path in kept] == ["checkpoint-5", "checkpoint-6"]
    again = folder / "again"
    shutil.copytree(folder / "stopped", again)
    run_one(again, "pretrain")
    same_losses(history(again, "pretrain"), history(one, "pretrain"))
