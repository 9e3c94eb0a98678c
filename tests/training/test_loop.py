"""The loop keeps no checkpoint whose losses or weights are no numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import job
from torch import Tensor, nn

from imagenets.data.loader import Batch
from imagenets.errors import TrainingError
from imagenets.training.loop import Training, train
from imagenets.training.run import Run
from imagenets.training.saving import SaveEvery


def training(run: Run[Any], network: nn.Linear, bad: int, *, weights: bool = False) -> Training:
    """Six steps an epoch that count in a weight; one of them gives a loss that is no number."""

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        value = torch.nan if iteration == bad else 1.0
        network.weight.grad = torch.full_like(network.weight, value if weights else -1.0)
        return {"loss": torch.tensor(1.0 if weights else value)}

    return Training(
        name="pretrain",
        epochs=3,
        loader=run.training_loader(run.dataset("train")),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 1.0),
        schedule=lambda iteration, iterations: 1.0,
        step=step,
    )


@pytest.mark.parametrize("weights", [False, True])
def test_no_checkpoint_holds_what_is_no_number(
    weights: bool, tiny_root: Path, tmp_path: Path
) -> None:
    run = replace(job(tiny_root, tmp_path), save_every=SaveEvery(None, steps=1))
    network = nn.Linear(1, 1, bias=False)
    with pytest.raises(TrainingError, match=r"at epoch 2, step 3\. The last good checkpoint"):
        train(run, training(run, network, 8, weights=weights))
    names = sorted(path.name for path in (tmp_path / "pretrain").glob("*.pt"))
    assert names == ["checkpoint-7.pt", "checkpoint-8.pt"]
    again = nn.Linear(1, 1, bias=False)
    last = train(run, training(run, again, -1))
    assert last == {"loss": 1.0}
    assert bool(again.weight.isfinite())


def test_going_on_takes_the_steps_that_are_left(tiny_root: Path, tmp_path: Path) -> None:
    run = replace(job(tiny_root, tmp_path), save_every=SaveEvery(None, steps=4))
    network = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(network.weight)
    seen: list[int] = []

    def asked(iteration: int, iterations: int) -> float:
        assert iterations == 18
        seen.append(iteration)
        if len(seen) == 11:
            raise KeyboardInterrupt
        return 1.0

    begun = replace(training(run, network, -1), schedule=asked)
    with pytest.raises(KeyboardInterrupt):
        train(run, begun)
    other = nn.Linear(1, 1, bias=False)
    train(run, replace(training(run, other, -1), schedule=asked))
    assert seen == [*range(11), *range(10, 18)]  # saved after 4, 6 (an epoch), 10 steps
    assert other.weight.item() == 18
    assert train(run, training(run, nn.Linear(1, 1, bias=False), -1)) == {"loss": 1.0}
