"""The networks of the semi-supervised protocol against the published code's names and logits.

A digest of names, shapes and layers and some logits of each lie in recorded_semi.json; all of them
are compared where the files are at hand.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside import GOLDEN, needs_shared
from regenerated import image, semi_logits

from imagenets.errors import UsageError
from imagenets.methods.semi.networks import SegNet, layers, make_network
from imagenets.models.checkpoints import plain_state
from imagenets.models.layers import DropPath, set_drop_path

RECORDED = json.loads(Path(__file__).with_name("recorded_semi.json").read_text("utf-8"))
MODELS = [
    pytest.param(name, marks=pytest.mark.slow)
    if name in ("vit_base_patch16", "resnet50_d16")
    else name
    for name in RECORDED
]


def shapes(network: SegNet) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in plain_state(network).items()}


def digest(shapes: dict[str, list[int]], layers: dict[str, Any]) -> str:
    """Of names, shapes and (group, layer), in the order of names."""
    lines = [f"{name} {shapes[name]} {layers.get(name)}\n" for name in sorted(shapes)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("model", MODELS)
def test_names_shapes_and_layers_are_the_published_ones(model: str) -> None:
    network = make_network(model, 50)
    found, count = layers(network)
    assert count == RECORDED[model]["layers"]
    lists = {name: list(layer) for name, layer in found.items()}
    assert digest(shapes(network), lists) == RECORDED[model]["digest"]


@pytest.mark.parametrize("model", MODELS)
def test_logits_are_the_published_ones(model: str) -> None:
    for size, logits in semi_logits(model).items():
        want = RECORDED[model][size]
        assert list(logits.shape) == want["shape"]
        x = logits.double()
        found = [x.mean(), x.abs().mean(), *x.flatten()[:: x.numel() // 8][:8]]
        expected = [want["mean"], want["size"], *want["some"]]
        scale = max(map(abs, expected))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * scale)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("model", RECORDED)
def test_everything_agrees_with_the_published_code(model: str) -> None:
    published = json.loads((GOLDEN / "semi_state_dicts.json").read_text())
    assert RECORDED.keys() == published.keys()
    network = make_network(model, 50)
    assert shapes(network) == published[model]["state"]
    found, count = layers(network)
    assert {name: list(layer) for name, layer in found.items()} == published[model]["layer_id"]
    assert count == published[model]["num_layers"]
    with np.load(GOLDEN / "semi_golden.npz") as golden:
        for size, logits in semi_logits(model).items():
            expected = golden[f"{model}/{size}"]
            assert logits.shape == expected.shape
            scale = float(np.abs(expected).max())
            np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-4, atol=1e-4 * scale)


def test_any_backbone_gets_a_linear_head() -> None:
    network = make_network("resnet18w05", 3).eval()
    with torch.inference_mode():
        assert network(image(0, 2, 64)).shape == (2, 4, 4, 4)
    _, count = layers(network)
    assert count == 9
    with pytest.raises(UsageError, match="convnext_tiny"):
        make_network("vgg16", 3)


def test_drop_path_grows_with_depth_and_keeps_the_mean() -> None:
    network = make_network("vit_small_patch16", 3)
    set_drop_path(network, 0.11)
    rates = [part.rate for part in network.modules() if isinstance(part, DropPath)]
    assert rates == pytest.approx([0.01 * block for block in range(12)])
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    x = torch.ones(40_000, 2, 1)
    out = drop(x)
    assert sorted(set(out.flatten().tolist())) == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(out[:, 0], out[:, 1])  # a sample's branch as a whole
    assert out.mean().item() == pytest.approx(1, abs=0.02)
    assert drop.eval()(x) is x
