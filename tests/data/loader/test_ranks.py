"""Two processes of one training run share every epoch of the loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from imagenets import ImageNetS, Loader, RandomResizedCrop

RANKS, EPOCHS = 2, 2


Epochs = list[list[list[list[int]]]]  # epoch, step, sample: its index and the sum of its pixels


def read(root: Path, batch_size: int, workers: int, **ranks: int) -> Epochs:
    """What a loader that shuffles and crops gives."""
    data = ImageNetS(root, "train", 3)
    loader = Loader(
        data,
        batch_size,
        crop=RandomResizedCrop(16),
        workers=workers,
        seed=7,
        drop_last=False,
        **ranks,
    )
    epochs = []
    for _ in range(EPOCHS):
        steps = []
        for batch in loader:
            sums = batch.images.sum((1, 2, 3), dtype=torch.int64)  # type: ignore[union-attr]
            steps.append(torch.stack([batch.indices.long(), sums], 1).tolist())
        epochs.append(steps)
    loader.close()
    return epochs


def indices(step: list[list[int]]) -> list[int]:
    return sorted(index for index, _ in step)


def rank_main(rank: int, root: Path, folder: Path, workers: int) -> None:
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    (folder / f"{rank}.json").write_text(json.dumps(read(root, 5, workers)))
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_two_gloo_ranks_read_every_sample_once(
    tiny_root: Path, tmp_path: Path, workers: int
) -> None:
    mp.spawn(rank_main, (tiny_root, tmp_path, workers), nprocs=RANKS)
    one, two = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(RANKS))
    apart = [read(tiny_root, 5, 0, rank=rank, world=RANKS) for rank in range(RANKS)]
    assert [one, two] == apart  # to the pixel, whoever decodes
    alone = read(tiny_root, 5 * RANKS, 0, rank=0, world=1)
    for epoch in range(EPOCHS):
        steps = list(zip(one[epoch], two[epoch], strict=True))
        assert sorted(index for a, b in steps for index, _ in a + b) == list(range(24))
        assert [indices(a + b) for a, b in steps] == [indices(step) for step in alone[epoch]]
    assert one[0] != one[1]
