"""Gradients of several ranks: their mean, whatever their number and types."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ranks import run_ranks
from torch import Tensor

from imagenets.core.distributed import rank
from imagenets.training import gradients
from imagenets.training.gradients import average_gradients


def parameters(me: int) -> list[Tensor]:
    made = []
    for number, dtype in enumerate([torch.float32, torch.float32, torch.float64, torch.float32]):
        generator = torch.Generator().manual_seed(10 * number + me)
        parameter = torch.zeros(3, 4, 2, 2, dtype=dtype, requires_grad=True)
        grad = torch.randn(3, 4, 2, 2, dtype=dtype, generator=generator)
        parameter.grad = grad.contiguous(memory_format=torch.channels_last) if number else grad
        made.append(parameter)
    made.insert(2, torch.zeros(5, requires_grad=True))  # frozen: without a gradient
    return made


def work() -> list[list[Tensor | None]]:
    found = []
    for gradients.MESSAGE in (1, 60, 10_000):
        own = parameters(rank())
        average_gradients(own)
        assert own[2].grad is None
        found.append([parameter.grad for parameter in own])
    return found


@pytest.mark.slow
def test_every_rank_gets_the_mean(tmp_path: Path) -> None:
    found = [grads for grads_of_rank in run_ranks(2, tmp_path, work) for grads in grads_of_rank]
    assert len(found) == 6
    for index, pair in enumerate(zip(parameters(0), parameters(1), strict=True)):
        if index != 2:
            want = (pair[0].grad + pair[1].grad) / 2
            for grads in found:
                torch.testing.assert_close(grads[index], want)
                assert grads[index].stride() == pair[0].grad.stride()


def test_one_rank_keeps_its_own() -> None:
    own = parameters(0)
    average_gradients(own)
    for parameter, before in zip(own, parameters(0), strict=True):
        assert parameter.grad is before.grad is None or parameter.grad.equal(before.grad)
