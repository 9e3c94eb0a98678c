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


def test_timms_vit_and_convnext_are_ours() -> None:
    import timm

    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for arch, name, unused in (
        ("vit_small_patch16", "vit_small_patch16_224", "head."),
        ("convnext_tiny", "convnext_tiny", "head."),
    ):
        theirs = timm.create_model(name).eval()
        ours = make_backbone(arch).eval()
        with torch.no_grad():
            for value in theirs.parameters():
                value.add_(
                    0.05 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1))
                )
        report = load_weights(ours, theirs.state_dict())
        assert all(left.startswith(unused) for left in report.unused)
        with torch.inference_mode():
            expected = theirs.forward_features(x)
            if arch.startswith("vit"):
                expected = expected[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
            scale = expected.abs().max().item()
            torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-5 * scale)
            if ours.attends:
                grid, looks = ours.attended(x)
                other = make_backbone(f"timm:{name}").eval()
                load_weights(other, theirs.state_dict())
                torch.testing.assert_close(grid, ours(x), rtol=1e-4, atol=1e-5 * scale)
                torch.testing.assert_close(looks, other.attended(x)[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_timms_weights_give_timms_maps(arch: str) -> None:
    import timm

    theirs = timm.create_model(arch).eval()
    with torch.inference_mode():
        expected = theirs.forward_intermediates(images(), [3, 4], intermediates_only=True)
    for ours, other in zip(maps_of(theirs.state_dict(), arch), expected, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)
