"""The six steps of the baseline on a tiny set: whole, interrupted, continued, and misused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_run import SMALL, job, run_stages, take_over

from imagenets.cli import baseline
from imagenets.data.augment import center_crop, short_side
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.methods.pass_ import STAGES, cluster, predict, trained
from imagenets.methods.pass_.features import central_crops
from imagenets.methods.pass_.heads import PretrainNet
from imagenets.methods.pass_.label_files import open_labels
from imagenets.methods.pass_.presets import LATER, PRESETS, Schedule
from imagenets.methods.pass_.score import used_by
from imagenets.methods.pass_.settings import Changes, make_config
from imagenets.protocols import judge
from imagenets.training.optimizers import LarcSGD, cosine_rate
from imagenets.training.watch import MEASURED


def checkpoint(out: Path, stage: str = "pretrain") -> dict[str, Any]:
    path = out / stage / "checkpoint.pt"
    return dict(torch.load(path, weights_only=True))


def measured(key: str, value: Any) -> bool:
    """Whether it differs from run to run; the `memory` of a checkpoint is its queues."""
    return key in MEASURED and not isinstance(value, dict)


def same(a: Any, b: Any) -> bool:
    """Whether two checkpoints are equal bit by bit, times aside."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        return all(same(a[key], b[key]) for key in a if not measured(key, a[key]))
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_all_steps_leave_what_the_next_one_reads(finished: Path, tiny_root: Path) -> None:
    clusters = json.loads((finished / "cluster" / "clusters.json").read_text())
    assert clusters["images"] == 24
    nearest = json.loads((finished / "cluster" / "nearest.json").read_text())
    assert list(nearest) == ["1", "2", "3"]
    named = [name for names in nearest.values() for name in names]
    assert len(set(named)) == len(named) >= 8
    assert set(named) <= set(job(tiny_root, finished).dataset("train").names)
    sweep = json.loads((finished / "pseudo" / "threshold.json").read_text())
    assert len(sweep["mIoU"]) == 81
    assert max(sweep["mIoU"]) == sweep["mIoU"][round(sweep["best"] * 100)]
    data = job(tiny_root, finished).dataset("train")
    labelled = data.with_masks(open_labels(finished, data))
    for index, (width, height) in enumerate(data.sizes.tolist()):
        labels = labelled.mask(index)
        assert labels.shape == (height, width)
        assert labels.max() <= 3
    assert len(list((finished / "predict" / "validation").rglob("*.png"))) == 12
    assert not list(finished.rglob("*.part"))


def test_a_run_is_scored_and_shown(
    finished: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--root", str(tiny_root), "--split", "3", "--out", str(finished)]
    assert baseline.main(["score", *place, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((finished / "scores.json").read_text())
    assert set(printed) > {"mIoU", "mBIoU", "FMeasure", "Acc", "S", "BL", "IoUs"}
    assert printed["protocol"] == "optimistic"
    published, crossed = printed["results"][:2]
    assert [row["protocol"] for row in (published, crossed)] == ["optimistic", "cross-fit match"]
    assert published["mIoU"] == printed["mIoU"]
    best = json.loads((finished / "pseudo" / "threshold.json").read_text())["best"]
    assert published["thresholds"] == crossed["thresholds"] == [best]
    assert crossed["threshold_from"] == "all validation images"  # the network learned from it
    assert crossed["match_from"] == "the other half of the images"
    assert [half["images"] for half in crossed["halves"]] == [6, 6]
    low, high = crossed["interval"]["mIoU"]
    assert low <= crossed["mIoU"] <= high
    assert printed["used"]["labels"] == "unused"
    verdicts = {name: found["valid"] for name, found in printed["valid_for"].items()}
    assert verdicts == {"unsupervised": True, "distance": False, "semi": False, "free": True}
    source = printed["provenance"]
    ledger = json.loads((finished / "ledger.json").read_text())
    assert source["seed"] == SMALL.seed
    assert source["settings"] == json.loads((finished / "config.json").read_text())
    assert source["data"]["validation"] == ledger["predict"]["key"]["data"]["validation"]
    assert source["results"] == {stage: ledger[stage]["result"] for stage in STAGES}
    assert source["code"] == {stage: ledger[stage]["key"]["code"] for stage in STAGES}
    assert source["made_on"]["predict"]["device"].startswith("cpu")
    assert source["made_on"]["finetune"]["versions"]["torch"] == version("torch")
    assert baseline.main(["score", *place]) == 0
    said = capsys.readouterr().out
    assert "optimistic, as published" in said
    assert "fully unsupervised  yes      pretrained on 3, no supervision" in said
    assert f"{low:.2f} to {high:.2f}" in said
    assert baseline.main(["report", *place]) == 0
    page = (finished / "report.html").read_text()
    assert page.count('<figure class="card"') == 12
    assert f"{printed['mIoU']:.2f}" in page
    for row in printed["results"]:
        name = f'<th scope="row">{row["protocol"]}</th>'
        assert f'{name}<td class="number">{row["mIoU"]:.2f}</td>' in page
    assert "cross-fit match: threshold from all validation images, match from the other" in page
    assert "the masks of train-semi were not used" in page
    assert printed["names"] == ["other", "n90000001", "n90000002", "n90000003"]
    for i, iou in enumerate(printed["IoUs"][1:], 1):
        assert f'data-words="n9000000{i}  n9000000{i} {i}"' in page
        assert f'data-value="{iou}">{iou:.1f}</td>' in page
    assert "filed under n90000002" in page


def test_a_run_that_pretrains_on_more_than_its_tier_is_told(tmp_path: Path) -> None:
    def valid(tier: str | None, split: str) -> bool | None:
        settings = {"pretrain_split": split} | ({"tier": tier} if tier else {})
        return judge(used_by(tmp_path, settings))["unsupervised"].valid

    assert valid("50", "train") is True
    assert valid("919", "train-full") is True  # as published
    assert valid("50", "train-full") is False
    assert valid("8", "train-full") is False
    assert valid("50", "train-semi") is False
    assert valid(None, "train") is None


def test_running_again_changes_nothing(
    finished: Path, tiny_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}

    before = files()
    with caplog.at_level("INFO"):
        run_stages(job(tiny_root, finished), *STAGES)
    assert files() == before
    assert [record.getMessage() for record in caplog.records] == [f"{s}: done" for s in STAGES]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "attention", "finetune"])
def test_continuing_equals_not_having_stopped(
    stage: str,
    finished: Path,
    tiny_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for out in (whole, parts):
        take_over(finished, out, list(STAGES)[: list(STAGES).index(stage)])
    config = replace(SMALL, **{stage: replace(getattr(SMALL, stage), epochs=2)})
    run_stages(job(tiny_root, whole, config), stage)

    calls: list[int] = []

    def interrupted(iteration: int, iterations: int, base: float, final: float) -> float:
        calls.append(iteration)
        if len(calls) == 8:  # in the middle of the second epoch of six batches
            raise KeyboardInterrupt
        return cosine_rate(iteration, iterations, base, final)

    with monkeypatch.context() as patch:
        patch.setattr(trained, "cosine_rate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_stages(job(tiny_root, parts, config), stage)
    assert [path.name for path in (parts / stage).glob("*.pt")] == ["checkpoint-6.pt"]
    run_stages(job(tiny_root, parts, config), stage)
    assert same(checkpoint(whole, stage), checkpoint(parts, stage))


@pytest.mark.slow
def test_the_result_does_not_depend_on_the_workers(
    finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    run_stages(replace(job(tiny_root, tmp_path), workers=2), "pretrain")
    assert same(checkpoint(finished), checkpoint(tmp_path))


@pytest.mark.slow
def test_another_seed_gives_another_network(
    finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    run_stages(job(tiny_root, tmp_path, replace(SMALL, seed=1)), "pretrain")
    assert not same(checkpoint(finished)["state_dict"], checkpoint(tmp_path)["state_dict"])


@pytest.mark.slow
def test_frozen_prototypes_stay_and_the_attention_step_leaves_the_backbone(
    finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    frozen = replace(SMALL, pretrain=replace(SMALL.pretrain, epochs=1, freeze=1000))
    untrained = replace(SMALL, pretrain=replace(SMALL.pretrain, epochs=0))
    run_stages(job(tiny_root, tmp_path / "frozen", frozen), "pretrain")
    run_stages(job(tiny_root, tmp_path / "start", untrained), "pretrain")
    start, after = checkpoint(tmp_path / "start"), checkpoint(tmp_path / "frozen")
    drawn = start["state_dict"]["prototypes.weight"]
    torch.testing.assert_close(
        after["state_dict"]["prototypes.weight"], torch.nn.functional.normalize(drawn)
    )
    assert not same(
        start["state_dict"]["backbone.conv1.weight"], after["state_dict"]["backbone.conv1.weight"]
    )
    before, attended = checkpoint(finished), checkpoint(finished, "attention")
    moved = {
        name
        for name, value in attended["state_dict"].items()
        if name in before["state_dict"]
        and value.is_floating_point()
        and "running" not in name
        and not torch.equal(value, before["state_dict"][name])
    }
    assert moved == {"prototypes.weight"}


def test_steps_out_of_order_say_which_one_is_missing(tiny_root: Path, tmp_path: Path) -> None:
    needs = {"attention": "pretrain", "pseudo": "attention", "predict": "finetune"}
    for stage, needed in needs.items():
        with pytest.raises(MissingError, match=needed):
            run_stages(job(tiny_root, tmp_path), stage)


def test_a_broken_checkpoint_is_named(finished: Path, tiny_root: Path, tmp_path: Path) -> None:
    take_over(finished, tmp_path, ["pretrain"])
    (tmp_path / "pretrain" / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CorruptError, match=r"checkpoint\.pt.*Delete it"):
        run_stages(job(tiny_root, tmp_path), "pretrain")


def test_a_batch_larger_than_the_training_set_is_refused(tiny_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--batch-size"):
        run_stages(job(tiny_root, tmp_path, replace(SMALL, batch=25)), "pretrain")


@pytest.mark.parametrize("stage", ["pseudo", "predict"])
def test_a_stage_killed_after_its_last_mask_is_finished(
    stage: str, finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    take_over(finished, tmp_path, list(STAGES)[: list(STAGES).index(stage) + 1])
    (tmp_path / stage / "done.json").unlink()
    run_stages(job(tiny_root, tmp_path), stage)
    noted = (tmp_path / stage / "done.json").read_bytes()
    assert noted == (finished / stage / "done.json").read_bytes()


def test_clustering_reads_full_batches_of_the_central_crops(
    tiny_root: Path, tmp_path: Path
) -> None:
    run = job(tiny_root, tmp_path, replace(SMALL, batch=5))
    data = run.dataset("train")
    batches = list(central_crops(run, data))
    assert [len(crops) for _, crops in batches] == [5, 5, 5, 5, 4]
    indices = torch.cat([numbers for numbers, _ in batches])
    assert sorted(indices.tolist()) == list(range(len(data)))
    crops = torch.cat([crops for _, crops in batches])
    for index, crop in zip(indices.tolist(), crops, strict=True):
        whole = short_side(data[index]["image"], SMALL.side)
        assert torch.equal(crop, center_crop(whole, SMALL.crop))


def test_kmeans_finds_separate_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(5) * 10
    truth = torch.arange(200) % 5
    points = centres[truth] + torch.randn(200, 5, generator=generator)
    centroids, labels, inertia = cluster.kmeans(points, 5, restarts=10, seed=1)
    assert cluster.matched_accuracy(labels.numpy(), truth.numpy()) == 1.0
    assert cluster.mutual_information(labels.numpy(), truth.numpy()) == pytest.approx(1.0)
    assert inertia == pytest.approx(float(((points - centroids[labels]) ** 2).sum()), rel=1e-4)
    again = cluster.kmeans(points, 5, restarts=10, seed=1)
    assert torch.equal(again[0], centroids)


def test_mutual_information_of_unrelated_and_of_partial_labels() -> None:
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert cluster.mutual_information(a, b) == pytest.approx(0.0)
    assert cluster.matched_accuracy(a, b) == 0.5
    # I = ln 2 - 3/4 H(1/3) over the mean of H(1/2) and H(1/4), worked out by hand
    c = np.array([0, 0, 0, 1])
    mutual = math.log(2) - 0.75 * (math.log(3) - 2 / 3 * math.log(2))
    entropy = (math.log(2) + 2 * math.log(2) - 0.75 * math.log(3)) / 2
    assert cluster.mutual_information(a, c) == pytest.approx(mutual / entropy)


def test_larc_scales_each_parameter() -> None:
    p = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    zero = torch.nn.Parameter(torch.zeros(2))
    optimizer = LarcSGD([p, zero], lr=2.0, momentum=0.0, weight_decay=0.5)
    p.grad, zero.grad = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0])
    optimizer.step()
    # |p| = 5, |g| = 2: rate 0.001 * 5 / (2 + 0.5 * 5), gradient g + 0.5 p
    ratio = 0.001 * 5 / (2 + 0.5 * 5)
    expected = torch.tensor([3.0 - 2 * ratio * 1.5, 4.0 - 2 * ratio * 4.0])
    torch.testing.assert_close(p.data, expected)
    torch.testing.assert_close(zero.data, torch.tensor([-2.0, 0.0]))


def test_larc_over_lists_equals_larc_for_each_parameter_bit_by_bit() -> None:
    torch.manual_seed(0)
    network = PretrainNet("resnet18w05", 16, 8).to(memory_format=torch.channels_last)
    for p in network.parameters():
        p.grad = torch.randn_like(p)
    frozen, still, *_ = parameters = list(network.parameters())
    frozen.grad, still.grad = None, torch.zeros_like(still)
    expected = []
    for p in parameters:
        if p.grad is None:
            expected.append(p.detach().clone())
            continue
        size, slope = p.detach().norm(), p.grad.norm()
        scaled = p.grad
        if size > 0 and slope > 0:
            ratio = 0.001 * size / (slope + 1e-6 * size + 1e-8)
            scaled = p.grad.add(p.detach(), alpha=1e-6).mul(ratio)
        expected.append(p.detach().add(scaled, alpha=-0.3))
    LarcSGD(parameters, lr=0.3).step()
    for p, value in zip(parameters, expected, strict=True):
        assert torch.equal(p, value)


def test_the_rate_falls_from_base_to_final() -> None:
    rates = [cosine_rate(i, 100, 0.6, 0.0006) for i in range(101)]
    assert rates[0] == 0.6
    assert rates[-1] == pytest.approx(0.0006)
    assert rates[50] == pytest.approx(0.3003)
    assert rates == sorted(rates, reverse=True)


def test_large_images_are_labelled_at_a_smaller_size() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 8, 3)).astype(np.float32)
    small = predict._full_size(logits, (100, 50))
    large = predict._full_size(logits, (2048, 1024))
    assert small.shape == (50, 100)
    assert large.shape == (1024, 2048)
    centres = large[512::1024, 1024::2048]
    assert np.array_equal(centres, small[25:26, 50:51])


@pytest.mark.parametrize(
    ("size", "between"),
    [((1000, 1000), (1000, 1000)), ((1651, 1100), (1500, 1000)), ((1001, 1000), (1001, 1000))],
)
def test_above_a_megapixel_ids_are_those_of_a_height_of_1000(
    size: tuple[int, int], between: tuple[int, int]
) -> None:
    """1651 x 1100 comes by way of a width of 1500.9, rounded down."""
    logits = np.random.default_rng(0).standard_normal((9, 13, 5)).astype(np.float32)
    maps = torch.from_numpy(logits).permute(2, 0, 1)[None].contiguous()
    middle = F.interpolate(maps, between[::-1], mode="bilinear", align_corners=False)
    whole = F.interpolate(middle.argmax(1)[None].float(), size[::-1], mode="nearest")[0, 0]
    found = predict._full_size(logits, size)
    assert (found != whole.numpy()).mean() < 1e-5


def test_presets_hold_the_published_numbers() -> None:
    assert PRESETS["pass50"].pretrain == Schedule(200, 0.6, queue=2048, queue_from=15, freeze=1001)
    assert [(v.views, v.size) for v in PRESETS["pass50"].views] == [(2, 224), (6, 96)]
    assert PRESETS["pass919"].pretrain_split == "train-full"
    assert PRESETS["pass300"].prototypes == 3000


def test_settings_that_came_later_are_written_only_where_they_change_something() -> None:
    usual = make_config("sample", Changes()).to_json()
    assert not set(LATER) & set(usual)
    parts = make_config("sample", Changes(accumulate=4)).to_json()
    assert parts == {**usual, "accumulate": 4}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--preset", "nope"], 2, "pass50, pass300, pass919"),
        (["--stages", "pretrain,paint"], 2, "no step paint"),
        (["--epochs", "many"], 2, "pretrain=N"),
        (["--device", "warp"], 2, "--device warp"),
        (["--split", "51"], 1, "no ImageNetS51 is prepared"),
    ],
)
def test_bad_calls_get_one_line(
    words: list[str],
    code: int,
    said: str,
    tiny_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = ["train", "--root", str(tiny_root), "--out", str(tmp_path / "run"), *words]
    assert baseline.main(call) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_a_root_without_a_set_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert baseline.main(["train", "--root", str(tmp_path)]) == 1
    assert "imagenets-prepare" in capsys.readouterr().err


def test_a_run_is_not_continued_with_other_settings(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "--root", str(tiny_root), "--out", str(tmp_path), "--batch-size", "8"]
    call += ["--stages", "pretrain", "--epochs", "0"]
    assert baseline.main(call) == 0
    assert baseline.main([*call, "--seed", "7"]) == 2
    assert "other settings (seed)" in capsys.readouterr().err
