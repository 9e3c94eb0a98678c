"""Probes of frozen features: beside a plain reading of their definitions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import permutations
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets import ImageNetS
from imagenets.cli.main import main
from imagenets.data.augment import normalize
from imagenets.data.augment.evaluation import short_side
from imagenets.errors import UsageError
from imagenets.methods.linear import PENALTIES, Features, Schedule, choose, fit
from imagenets.methods.pass_.cluster import kmeans
from imagenets.methods.probes import MEASURES, Probed, Probes, Settings
from imagenets.models.backbone import Wrapped
from imagenets.models.registry import make_backbone

SMALL = Settings(k=3, side=32, batch=4, steps=50, restarts=2)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 8, 8), nn.ReLU(), nn.Conv2d(12, 8, 1))


def probe(root: Path, settings: Settings = SMALL) -> Probed:
    return Probes(Wrapped(network(), name="tiny"), str(root), "3", settings).run()


@torch.inference_mode()
def features(image: Tensor) -> Tensor:
    found: Tensor = network().eval()(normalize(short_side(image, 32)[None].float() / 255))[0]
    return found


def vote(query: Tensor, rows: list[Tensor], ids: list[int], k: int = 3) -> int:
    """The id for which the k rows of the largest cosine vote."""
    cosines = [float(torch.dot(query, row) / query.norm() / row.norm()) for row in rows]
    nearest = sorted(range(len(rows)), key=lambda number: -cosines[number])[:k]
    votes: dict[int, float] = defaultdict(float)
    for number in nearest:
        votes[ids[number]] += exp(cosines[number] / 0.07)
    return max(votes, key=lambda one: votes[one])


def plain_iou(pairs: list[tuple[Tensor, Tensor]], classes: int) -> float:
    """Mean over ids of intersection by union, in percent; pixels of 1000 left out."""
    both, either = Counter[int](), Counter[int]()
    for pred, true in pairs:
        for p, t in zip(pred.flatten().tolist(), true.flatten().tolist(), strict=True):
            if t != 1000:
                either.update({p, t})
                both[p] += p == t
    return 100 * sum(both[i] / max(either[i], 1) for i in range(classes + 1)) / (classes + 1)


def labelled(root: Path) -> tuple[list[Tensor], list[int]]:
    """Every patch of train-semi that has a label."""
    rows, ids = [], []
    for sample in ImageNetS(root, "train-semi", "3"):
        maps = features(sample["image"])
        mask = F.interpolate(sample["mask"][None, None].float(), maps.shape[1:])[0, 0].long()
        for y in range(maps.shape[1]):
            for x in range(maps.shape[2]):
                if mask[y, x] != 1000:
                    rows.append(maps[:, y, x])
                    ids.append(int(mask[y, x]))
    return rows, ids


def test_patches_get_what_their_neighbours_vote_for(tiny_root: Path) -> None:
    rows, ids = labelled(tiny_root)
    pairs = []
    for sample in ImageNetS(tiny_root, "validation", "3"):
        maps = features(sample["image"])
        grid = torch.tensor(
            [
                [vote(maps[:, y, x], rows, ids) for x in range(maps.shape[2])]
                for y in range(maps.shape[1])
            ]
        )
        size = sample["mask"].shape
        pred = F.interpolate(grid[None, None].float(), size, mode="nearest")[0, 0].long()
        pairs.append((pred, sample["mask"]))
    found = probe(tiny_root)
    assert found.patches == len(rows)
    assert found.metrics["knn_mIoU"] == pytest.approx(plain_iou(pairs, 3))
    assert found.metrics["knn_mIoU"] > 10


def test_images_get_the_class_of_their_neighbours(tiny_root: Path) -> None:
    train = ImageNetS(tiny_root, "train-semi", "3", masks=False)
    rows = [features(sample["image"]).mean((1, 2)) for sample in train]
    ids = [int(one) for one in train.class_ids]
    right = [
        vote(features(sample["image"]).mean((1, 2)), rows, ids) == sample["class_id"]
        for sample in ImageNetS(tiny_root, "validation", "3", masks=False)
    ]
    assert probe(tiny_root).metrics["knn_accuracy"] == pytest.approx(100 * np.mean(right))
    assert any(right)


def test_clusters_are_matched_one_to_one(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", masks=False)
    pooled = torch.stack([features(sample["image"]).mean((1, 2)) for sample in data])
    labels = kmeans(F.normalize(pooled), 3, 2, 0)[1].tolist()
    shares = [
        np.mean([order[label] == one for label, one in zip(labels, data.class_ids, strict=True)])
        for order in permutations((1, 2, 3))
    ]
    assert probe(tiny_root).metrics["cluster_accuracy"] == pytest.approx(100 * max(shares))


def test_the_linear_probe_is_a_classifier_of_the_patches(tiny_root: Path) -> None:
    rows, ids = labelled(tiny_root)
    probed, schedule = probe(tiny_root), Schedule(SMALL.steps, SMALL.rate, SMALL.seed)
    features_of = Features(torch.stack(rows), torch.tensor(ids), 4)
    weight, bias = fit(features_of, probed.penalty, schedule)
    pairs = []
    for sample in ImageNetS(tiny_root, "validation", "3"):
        maps = features(sample["image"])
        logits = torch.einsum("of,fhw->ohw", weight, maps) + bias[:, None, None]
        large = F.interpolate(logits[None], sample["mask"].shape, mode="bilinear")[0]
        pairs.append((large.argmax(0), sample["mask"]))
    found = probed.metrics["linear_mIoU"]
    assert found == pytest.approx(plain_iou(pairs, 3), abs=0.2)  # of equal logits, rounding
    assert found > 10


def test_a_linear_classifier_finds_the_optimum_of_logistic_regression() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(300, 4) * torch.tensor([1.0, 10.0, 0.1, 3.0]) + 5
    ids = (vectors[:, 1] + 2 * torch.randn(300) > 5).long()
    weight, bias = fit(Features(vectors, ids, 2), 0.01, Schedule(2000, 0.05, 0))
    plain = nn.Linear(4, 2).double()
    wide = (vectors.double() - vectors.double().mean(0)) / vectors.double().std(0, correction=0)
    optimizer = torch.optim.LBFGS(plain.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(plain(wide), ids) + 0.005 * plain.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]  # the stubs want a float
    ours = F.linear(vectors, weight, bias).softmax(1)
    torch.testing.assert_close(ours, plain(wide).softmax(1).float(), atol=2e-3, rtol=0)


def test_the_penalty_is_that_which_tells_other_images_best() -> None:
    torch.manual_seed(0)
    images = torch.arange(20).repeat_interleave(15)
    ids = images % 4
    schedule = Schedule(100, 0.05, 0)
    told = torch.randn(300, 3) + 4 * F.one_hot(ids, 4)[:, :3]
    noise = torch.randn(20, 200)[images]  # learned by heart, it tells nothing of other images
    free = choose(Features(told, ids, 4), images, schedule)
    tight = choose(Features(torch.cat([told / 8, noise], 1), ids, 4), images, schedule)
    assert free == min(PENALTIES)
    assert tight > free
    assert choose(Features(told, ids, 4), torch.zeros(300), schedule) == PENALTIES[0]


def test_the_seed_decides_and_the_batch_does_not(tiny_root: Path) -> None:
    once = probe(tiny_root, replace(SMALL, bank=12))
    assert once.patches == 12  # two of each of six images
    again = probe(tiny_root, replace(SMALL, bank=12, batch=1))
    assert again.metrics == pytest.approx(once.metrics, abs=1e-6)
    others = [probe(tiny_root, replace(SMALL, bank=12, seed=seed)) for seed in (1, 2)]
    assert any(other.metrics != once.metrics for other in others)


def test_too_few_images_are_told(tiny_root: Path) -> None:
    with pytest.raises(UsageError, match=r"6 reference vectors, fewer than k = 7"):
        probe(tiny_root, replace(SMALL, k=7))
    with pytest.raises(UsageError, match=r"6 labelled patches are fewer than k = 7"):
        probe(tiny_root, replace(SMALL, k=7, bank=6))


def test_one_command_makes_one_table(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    file = tmp_path / "w.pt"
    torch.save(make_backbone("resnet18w05").state_dict(), file)
    words = ["probe", "--root", str(tiny_root), "--k", "3", "--side", "64", "--steps", "5"]
    words += ["--device", "cpu", "--workers", "0", "--backbone", f"resnet18w05={file}"]
    words += ["resnet18w05=random", "vit_small_patch16"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["k"] == 3
    rows = found["backbones"]
    assert [row["from"] for row in rows] == [str(file), "random", "random"]
    assert [row["backbone"] for row in rows] == ["resnet18w05"] * 2 + ["vit_small_patch16"]
    assert len({row["weights"] for row in rows}) == 3
    assert all(set(row["metrics"]) == set(MEASURES) for row in rows)
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "k-NN mIoU" in lines[0]
    for line, row in zip(lines[1:], rows, strict=True):
        assert line.split()[2:] == [f"{row['metrics'][name]:.2f}" for name in MEASURES]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["resnet18w05=no.pt"], 1, "no.pt is not there"),
        (["resnet18w05="], 2, "give NAME or NAME=WEIGHTS"),
        (["resnet18w05=random", "vgg16=random"], 2, "no backbone 'vgg16'"),
        (["resnet18w05=pretrained"], 2, "no weights come with it"),
        (["resnet18w05", "--bank", "0"], 2, "bank is 0"),
        (["resnet18w05", "--rate", "0"], 2, "the rate is 0"),
    ],
)
def test_what_is_wrong_is_told_before_the_work(
    words: list[str], code: int, said: str, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["probe", "--root", str(tiny_root), "--device", "cpu", "--backbone", *words]
    assert main(line) == code
    told = capsys.readouterr()
    assert said in told.err
    assert not told.out
