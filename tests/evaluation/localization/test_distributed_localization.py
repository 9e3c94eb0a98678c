"""Ranks that share the images out end with the metrics of one process that saw them all."""

from __future__ import annotations

import numpy as np
import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from imagenets.errors import UsageError
from imagenets.evaluation.localization import LocalizationEvaluator

IMAGES = 7


def accumulate(indices):
    evaluator = LocalizationEvaluator(3, workers=1)
    for index in indices:
        rng = np.random.default_rng(index)
        target = rng.choice([0, 1, 255], (9, 8)).astype(np.uint8)
        evaluator.update(rng.random((9, 8)), target, 1 + index % 3, f"image {index}")
    return evaluator


def rank_main(rank, ranks, folder):
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=ranks)
    evaluator = accumulate(range(rank, IMAGES, ranks))
    evaluator.all_reduce()
    found, expected = evaluator.compute(), accumulate(range(IMAGES)).compute()
    assert found == expected
    assert found.per_image.names == expected.per_image.names
    assert np.array_equal(found.per_image.values["energy"], expected.per_image.values["energy"])
    other = LocalizationEvaluator(share=0.1 * (1 + rank))
    with pytest.raises(UsageError, match="cannot merge"):
        other.all_reduce()
    (folder / f"done-{rank}").touch()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_all_ranks_hold_the_figures_of_the_whole(ranks, tmp_path):
    mp.spawn(rank_main, (ranks, tmp_path), nprocs=ranks)
    assert len(list(tmp_path.glob("done-*"))) == ranks


def test_without_a_process_group_it_says_what_is_missing():
    with pytest.raises(UsageError, match="init_process_group"):
        LocalizationEvaluator().all_reduce()
