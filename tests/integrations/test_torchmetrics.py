"""The metric for torchmetrics is the evaluator, on one rank and on two."""

from __future__ import annotations

import pickle
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import run_ranks

from imagenets.errors import CorruptError, DependencyError, UsageError
from imagenets.evaluation.metrics import SCALARS, Evaluator

K = 4
extras = pytest.mark.extras
pytestmark = pytest.mark.filterwarnings("ignore")  # of torchmetrics' own imports


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Three masks of 12 x 9 pixels and their ground truth, ignored pixels among them."""
    rng = np.random.default_rng(number)
    pred, gt = rng.integers(0, K + 1, (2, 3, 12, 9))
    gt[:, 0] = 1000
    return torch.from_numpy(pred), torch.from_numpy(gt)


def seen(numbers: range) -> Evaluator:
    evaluator = Evaluator(K)
    for number in numbers:
        evaluator.update(*batch(number))
    return evaluator


def alike(found: dict[str, torch.Tensor], expected: Evaluator) -> bool:
    metrics: Any = expected.compute()
    return {name: float(value) for name, value in found.items()} == {
        name: metrics[name] for name in SCALARS
    }


@extras
def test_it_gives_what_the_evaluator_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module("imagenets.integrations.torchmetrics")
    monkeypatch.setattr(module, "_WAITING", 2)
    metric, expected = module.EvaluatorMetric(K, per_class=True), seen(range(7))
    with pytest.raises(UsageError, match="no image was added"):
        metric.compute()
    for number in range(5):
        metric.update(*batch(number))
    for number in (5, 6):
        one = metric(*batch(number))  # of this batch alone
        assert one["mIoU"] == seen(range(number, number + 1)).compute()["mIoU"]
        assert len(metric.keys_) <= 2  # `forward` folds what waits, too
    found = metric.compute()
    assert found.pop("IoUs").tolist() == expected.compute()["IoUs"]
    assert alike(found, expected)
    assert np.array_equal(metric.evaluator().confusion, expected.confusion)
    again = pickle.loads(pickle.dumps(metric)).clone()
    assert again.images.equal(metric.images)
    assert np.array_equal(again.evaluator().confusion, expected.confusion)
    metric.reset()
    metric.update(*batch(3))
    assert alike({n: v for n, v in metric.compute().items() if n != "IoUs"}, seen(range(3, 4)))


@extras
def test_it_refuses_what_the_evaluator_refuses() -> None:
    from imagenets.integrations.torchmetrics import EvaluatorMetric

    with pytest.raises(UsageError, match="ignored id"):
        EvaluatorMetric(0)
    metric = EvaluatorMetric(K)
    ids = torch.zeros(4, 4, dtype=torch.long)
    with pytest.raises(CorruptError):
        metric.update(ids, ids + 7)
    with pytest.raises(UsageError, match="1 predictions for 2"):
        metric.update(ids, [ids, ids])


@extras
def test_repeated_images_are_left_out() -> None:
    from imagenets.integrations.torchmetrics import EvaluatorMetric

    metric, expected = EvaluatorMetric(K), Evaluator(K)
    pred, gt = batch(0)
    metric.update(pred, gt, torch.tensor([False, True, False]))
    expected.update(pred[::2], gt[::2])
    metric.update(*batch(1), [True, True, True])  # none of its own
    assert alike(metric.compute(), expected)
    with pytest.raises(UsageError, match="2 entries for 3 images"):
        metric.update(pred, gt, [True, False])
    with pytest.raises(UsageError, match="does the split have masks"):
        metric.update(pred, None, [True, False, False])


@extras
def test_a_batch_of_repeated_images_alone_scores_nothing_and_loses_nothing() -> None:
    from imagenets.integrations.torchmetrics import EvaluatorMetric

    metric, expected = EvaluatorMetric(K, per_class=True), Evaluator(K)
    metric(*batch(0))
    expected.update(*batch(0))
    alone = metric(*batch(1), repeated=[True, True, True])
    assert all(value.isnan().all() for value in alone.values())
    assert alone["IoUs"].shape == (K + 1,)
    found = metric.compute()
    assert found.pop("IoUs").tolist() == expected.compute()["IoUs"]
    assert alike(found, expected)


def of_a_loader(root: Path, images: int) -> list[float]:
    """Scores an odd number of images as a validation step does: with the batches of a loader."""
    from imagenets import ImageNetS
    from imagenets.data.loader import Loader
    from imagenets.integrations.torchmetrics import EvaluatorMetric

    data = ImageNetS(root, "validation", 3).subset(range(images))
    metric = EvaluatorMetric(3)
    for loaded in Loader(data, batch_size=2, crop=None, workers=1):
        metric.update([mask * 0 + 1 for mask in loaded.masks], loaded.masks, loaded.repeated)
    return [float(value) for value in metric.compute().values()] + [int(metric.images)]


@extras
def test_ranks_score_no_image_of_a_loader_twice(tiny_root: Path, tmp_path: Path) -> None:
    from imagenets import ImageNetS

    data, expected = ImageNetS(tiny_root, "validation", 3), Evaluator(3)
    for index in range(5):
        mask = data.mask(index)
        expected.update(np.ones_like(mask), mask)
    metrics: Any = expected.compute()
    found = run_ranks(2, tmp_path, of_a_loader, tiny_root, 5)
    assert [one[:-1] for one in found] == [[metrics[name] for name in SCALARS]] * 2
    assert sum(int(one[-1]) for one in found) == 5


def of_ranks(share_out: list[list[int]]) -> list[float]:
    """What a rank computes of all batches."""
    import torch.distributed as dist

    from imagenets.integrations.torchmetrics import EvaluatorMetric

    metric = EvaluatorMetric(K)
    for number in share_out[dist.get_rank()]:
        metric.update(*batch(number))
    own = int(metric.images)
    found = metric.compute()
    with metric.sync_context():
        confusion = metric.evaluator().confusion.sum()
    assert int(metric.images) == own  # its own share again
    return [*map(float, found.values()), float(confusion)]


@extras
@pytest.mark.parametrize("share_out", [[[0, 2, 4], [1, 3]], [[0, 1, 2, 3, 4], []]])
def test_two_ranks_give_what_one_process_gives(share_out: list[list[int]], tmp_path: Path) -> None:
    expected = seen(range(5))
    metrics: Any = expected.compute()
    numbers = [*(metrics[name] for name in SCALARS), float(expected.confusion.sum())]
    assert run_ranks(2, tmp_path, of_ranks, share_out) == [numbers, numbers]


@pytest.mark.parametrize("name", ["torchmetrics", "lightning"])
def test_a_missing_library_is_named_with_its_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"imagenets.integrations.{name}", raising=False)
    with pytest.raises(DependencyError, match=rf"pip install 'imagenets\[{name}\]'"):
        import_module(f"imagenets.integrations.{name}")
