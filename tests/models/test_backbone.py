"""One interface for every backbone, also for one's own network; the registry names them."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from imagenets import ShortSide, Squash
from imagenets.errors import DependencyError, UsageError
from imagenets.models.backbone import Wrapped, as_grid, layer_groups, looked_at
from imagenets.models.checkpoints import load_weights, plain_state
from imagenets.models.registry import LIBRARIES, make_backbone
from imagenets.models.vit import Block, ViT


class Net(nn.Module):
    """Two blocks and a classifier that gives no grid."""

    def __init__(self, patch: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, patch, patch)
        self.blocks = nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 5, 1))
        self.head = nn.Linear(5, 2)

    def features(self, images: Tensor) -> Tensor:
        found: Tensor = self.blocks(self.stem(images))
        return found

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(images).mean((2, 3)))
        return found


def test_a_network_of_ones_own_is_a_backbone() -> None:
    network = Net()
    backbone = Wrapped(network, network.features, mean=(0.5,) * 3, std=(0.25,) * 3)
    images = torch.randn(2, 3, 32, 48)
    assert (backbone.name, backbone.channels, backbone.strides) == ("Net", (5,), (8,))
    assert torch.equal(backbone(images), network.features(images))
    assert torch.equal(backbone.maps(images, (0, -1))[1], network.features(images))
    white = backbone.normalized(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    torch.testing.assert_close(white, torch.full((1, 3, 2, 2), 2.0))
    assert plain_state(backbone).keys() == network.state_dict().keys()
    report = load_weights(backbone, Net().state_dict())
    assert len(report.matched) == len(network.state_dict())


def test_a_network_keeps_its_mode_when_it_is_wrapped() -> None:
    network = Net().train()
    Wrapped(network, network.features)
    assert network.training


@pytest.mark.parametrize(
    ("features", "what"),
    [
        (lambda x: x.mean((2, 3)), r"\(1, 3\)"),
        (lambda x: x[:, :, :7, :7], r"\(1, 3, 7, 7\)"),
        (lambda x: x[:, :, :64], r"\(1, 3, 64, 256\)"),
    ],
)
def test_what_is_no_grid_is_refused(features: Callable[[Tensor], Tensor], what: str) -> None:
    with pytest.raises(UsageError, match=rf"Net: makes {what} of an image of 256 x 256"):
        Wrapped(Net(), features)


def test_one_map_has_no_other_levels() -> None:
    network = Net()
    backbone = Wrapped(network, network.features)
    with pytest.raises(UsageError, match="one feature map"):
        backbone.maps(torch.zeros(1, 3, 32, 32), (-2, -1))
    with pytest.raises(UsageError, match="no class token"):
        backbone.attended(torch.zeros(1, 3, 32, 32))


def test_the_rule_of_sizes_comes_with_the_backbone() -> None:
    network = Net(14)
    assert make_backbone("resnet18w05").crop(256) == ShortSide(256)
    backbone = Wrapped(network, network.features, patch=14)
    crop = backbone.crop(256)
    assert isinstance(crop, ShortSide)
    sizes = np.array([[500, 375], [256, 256], [20, 1000], [1000, 20]])
    assert crop.shapes(sizes).tolist() == [
        [252, 336],  # 256 x 341 rounded to multiples of 14
        [252, 252],
        [12796, 252],
        [252, 12796],
    ]
    assert Wrapped(network, network.features, size=28).crop(256) == Squash(28)
    with pytest.raises(UsageError, match="multiple is 0"):
        ShortSide(256, 0)


def test_tokens_are_laid_out_row_by_row() -> None:
    tokens = torch.arange(2 * 8 * 3.0).reshape(2, 8, 3)
    grid = as_grid(tokens, 2, (2, 3))
    assert grid.shape == (2, 3, 2, 3)
    assert torch.equal(grid[1, :, 1, 2], tokens[1, 7])
    with pytest.raises(UsageError, match="8 tokens are not 1 and a grid of 2 x 3"):
        as_grid(tokens, 1, (2, 3))
    attention = torch.rand(2, 4, 8, 8)
    seen = looked_at(attention, 2, (2, 3))
    torch.testing.assert_close(seen[1, 1, 0], attention[1, :, 0, 5].mean())


@torch.inference_mode()
def test_our_vits_tell_where_their_class_token_looks() -> None:
    torch.manual_seed(0)
    backbone = make_backbone("vit_small_patch16").eval()
    assert isinstance(backbone, ViT)
    assert backbone.attends
    images = torch.randn(2, 3, 64, 96)
    grid, attention = backbone.attended(images)
    torch.testing.assert_close(grid, backbone(images), rtol=1e-4, atol=1e-5)
    seen: list[Tensor] = []
    last = backbone.blocks[-1]
    assert isinstance(last, Block)
    hook = last.attn.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    backbone(images)
    hook.remove()
    tokens, heads = seen[0][1], []
    queries, keys, _ = last.attn.qkv(tokens).chunk(3, dim=1)
    for part in range(0, 384, 64):
        scores = queries[:, part : part + 64] @ keys[:, part : part + 64].t() / 8
        heads.append(scores.softmax(1)[0, 1:].reshape(4, 6))
    torch.testing.assert_close(attention[1], torch.stack(heads).mean(0), rtol=1e-4, atol=1e-6)


def test_groups_of_layers_go_from_input_to_output() -> None:
    network = Net()
    groups = layer_groups(network)
    assert [len(group) for group in groups] == [2, 2, 2, 2]
    assert groups[0][0] is network.stem.weight
    assert groups[3][0] is network.head.weight
    assert len(layer_groups(nn.Linear(2, 2))) == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_that_is_not_there_is_named(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, {"timm": "timm", "hf": "transformers"}[library], None)
    with pytest.raises(DependencyError, match=rf"pip install 'imagenets\[{library}\]'"):
        make_backbone(f"{library}:some_model")


def test_our_backbones_bring_no_weights() -> None:
    with pytest.raises(UsageError, match="Give a file of weights"):
        make_backbone("resnet18", pretrained=True)
