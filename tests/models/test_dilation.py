"""Maps made finer hold the values of the coarse ones at the places that both have."""

from __future__ import annotations

import pytest
import torch

from imagenets.errors import UsageError
from imagenets.models.dilation import dilate
from imagenets.models.registry import make_backbone


@pytest.mark.parametrize("arch", ["resnet18w05", "resnet50", "resnet50_d16"])
@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
@torch.inference_mode()
def test_a_finer_map_holds_the_coarse_one(arch: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = make_backbone(arch).eval()
    images = torch.randn(2, 3, *size)
    coarse, own = network(images), network.strides[-1]
    names = list(network.state_dict())
    for stride in (16, 8, 4):
        dilate(network, stride)
        fine, step = network(images), own // stride
        assert network.strides[-1] == stride
        assert fine.shape[2:] == tuple(-(-side // stride) for side in size)
        shared = fine[:, :, ::step, ::step]
        assert torch.allclose(shared, coarse, rtol=1e-4, atol=1e-4 * float(coarse.abs().max()))
        if step > 1:  # between them is something new
            assert not torch.allclose(
                fine[:, :, 1::step, ::step], coarse[:, :, : fine.shape[2] // step]
            )
    assert list(network.state_dict()) == names


@torch.inference_mode()
def test_a_dilated_resnet50_is_the_published_one() -> None:
    torch.manual_seed(0)
    one, other = make_backbone("resnet50").eval(), make_backbone("resnet50_d16").eval()
    other.load_state_dict(one.state_dict())
    dilate(one, 16)
    images = torch.randn(1, 3, 64, 96)
    assert torch.equal(one(images), other(images))


def test_its_own_stride_changes_nothing() -> None:
    for stride in (0, 32):
        network = make_backbone("resnet18w05")
        before = str(network)
        dilate(network, stride)
        assert str(network) == before


def test_what_cannot_be_made_finer_is_told() -> None:
    with pytest.raises(UsageError, match="vit_small_patch16 is no ResNet, give 0"):
        dilate(make_backbone("vit_small_patch16"), 8)
    with pytest.raises(UsageError, match="can have 4, 8, 16, or 0"):
        dilate(make_backbone("resnet50_d16"), 32)
