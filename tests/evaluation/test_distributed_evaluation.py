"""Ranks that share the images out end with the metrics of one process that saw them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from imagenets.errors import UsageError
from imagenets.evaluation.distributed import all_reduce
from imagenets.evaluation.matching import CoOccurrence
from imagenets.evaluation.metrics import Evaluator
from imagenets.evaluation.sweep import ThresholdSweep

K, IMAGES = 4, 7


def accumulate(indices):
    evaluator, seen, sweep = Evaluator(K), CoOccurrence(K), ThresholdSweep(K, (0.2, 0.5))
    for index in indices:
        rng = np.random.default_rng(index)
        pred, gt = rng.integers(0, K + 1, (2, 11, 8))
        evaluator.update(pred, gt)
        seen.update(pred, gt)
        sweep.update(pred, rng.random((11, 8)), gt)
    return evaluator, seen, sweep


def rank_main(rank, ranks, folder):
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    parts = accumulate(range(rank, IMAGES, ranks))
    for part in parts:
        all_reduce(part)
    evaluator, seen, sweep = parts
    expected, expected_seen, expected_sweep = accumulate(range(IMAGES))
    assert evaluator.images == IMAGES
    assert evaluator.compute() == expected.compute()
    assert np.array_equal(evaluator.confusion, expected.confusion)
    assert np.array_equal(seen.matrix, expected_seen.matrix)
    assert np.array_equal(sweep.compute().miou, expected_sweep.compute().miou)
    (folder / f"done-{rank}").touch()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_all_ranks_hold_the_figures_of_the_whole(ranks, tmp_path):
    mp.spawn(rank_main, (ranks, tmp_path), nprocs=ranks)
    assert len(list(tmp_path.glob("done-*"))) == ranks


def test_without_a_process_group_it_says_what_is_missing():
    with pytest.raises(UsageError, match="init_process_group"):
        all_reduce(Evaluator(2))
