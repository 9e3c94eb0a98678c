"""The networks and losses against a few of the published code's numbers, kept in recorded.json.

All of them, and resnet50's, are compared in test_pass_networks.py where the files are at hand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from regenerated import attention, grids, logits, pretraining
from torch import Tensor

from imagenets.methods.pass_.losses import sinkhorn

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text("utf-8"))


def agrees(name: str, value: Tensor) -> None:
    """Compares the shape, the mean, the mean size and the first entries."""
    want: dict[str, Any] = RECORDED[name]
    assert list(value.shape) == want["shape"], name
    x = value.detach().double()
    found = [x.mean(), x.abs().mean(), *x.flatten()[: len(want["first"])]]
    expected = [want["mean"], want["size"], *want["first"]]
    scale = max(map(abs, expected))
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4 * scale + 1e-5, err_msg=name)


@pytest.fixture(scope="module", params=[torch.contiguous_format, torch.channels_last], ids=str)
def step(request: pytest.FixtureRequest) -> tuple[dict[str, Tensor], dict[str, float]]:
    return pretraining("resnet18", request.param)


def test_a_step_of_pretraining(step: tuple[dict[str, Tensor], dict[str, float]]) -> None:
    values, _ = step
    assert len(values) == 10
    for name, value in values.items():
        agrees(f"pretrain/{name}", value)


def test_the_gradients_of_pretraining(step: tuple[dict[str, Tensor], dict[str, float]]) -> None:
    _, norms = step
    assert len(norms) == 92
    for name, norm in RECORDED["gradients"].items():
        assert norms[name] == pytest.approx(norm, rel=1e-3), name
    assert RECORDED["without gradient"] == sorted(name for name in norms if norms[name] < 0)


def test_attention_and_segmentation() -> None:
    for name, value in attention("resnet18").items():
        agrees(f"attention/{name}", value)
    agrees("finetune/logits", logits("resnet18"))


def test_sinkhorn_and_grids() -> None:
    scores = torch.from_numpy(np.random.default_rng(5).uniform(-1, 1, (12, 5)))
    agrees("sinkhorn", sinkhorn(scores))
    for name, grid in zip("qk", grids(), strict=True):
        agrees(f"grid/{name}", grid)
