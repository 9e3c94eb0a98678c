"""The backbones are those of torchvision and timm: the same names, the same maps."""

from __future__ import annotations

import pytest
import torch

from imagenets.models.checkpoints import load_weights
from imagenets.models.registry import make_backbone

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore"),  # the libraries' own
]


def maps_of(state: dict[str, torch.Tensor], arch: str) -> list[torch.Tensor]:
    ours = make_backbone(arch)
    assert load_weights(ours, state).unused == ("fc.weight", "fc.bias")
    with torch.inference_mode():
        return ours.eval().maps(images(), (-2, -1))


def images() -> torch.Tensor:
    return torch.randn(2, 3, 75, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_torchvisions_weights_give_torchvisions_maps(arch: str) -> None:
    from torchvision.models import get_model
    from torchvision.models.feature_extraction import create_feature_extractor

    theirs = get_model(arch).eval()
    with torch.inference_mode():
        expected = create_feature_extractor(theirs, ["layer3", "layer4"])(images())
    found = maps_of(theirs.state_dict(), arch)
    for ours, name in zip(found, ("layer3", "layer4"), strict=True):
        torch.testing.assert_close(ours, expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_timms_weights_give_timms_maps(arch: str) -> None:
    import timm

    theirs = timm.create_model(arch).eval()
    with torch.inference_mode():
        expected = theirs.forward_intermediates(images(), [3, 4], intermediates_only=True)
    for ours, other in zip(maps_of(theirs.state_dict(), arch), expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)
