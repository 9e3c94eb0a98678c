"""Backbones of timm and transformers: the features are those that the library gives itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from imagenets.errors import UsageError
from imagenets.models.backbone import Backbone
from imagenets.models.registry import make_backbone

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore"),  # the libraries' own
]

SMALL: dict[str, int] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def images(backbone: Backbone) -> Tensor:
    side = backbone.size or 6 * (32 if backbone.patch == 1 else backbone.patch)
    return torch.randn(2, 3, side, side if backbone.size else side * 4 // 3)


@torch.inference_mode()
def seen(backbone: Backbone) -> tuple[Tensor, Tensor | None]:
    """Its map, and its attention if it has one."""
    backbone.eval()
    given = images(backbone)
    grid = backbone(given)
    assert grid.shape[:2] == (2, *backbone.channels)
    expected = [-(-side // backbone.strides[0]) for side in given.shape[2:]]
    assert list(grid.shape[2:]) == expected
    grouped = [id(p) for group in backbone.layer_groups() for p in group]
    assert sorted(grouped) == sorted(map(id, backbone.parameters()))
    if not backbone.attends:
        return grid, None
    again, attention = backbone.attended(given)
    torch.testing.assert_close(again, grid, rtol=1e-4, atol=1e-5)
    assert attention.shape == (2, *grid.shape[2:])
    assert (attention.sum((1, 2)) < 1).all()  # the rest is on tokens of no patch
    assert (attention > 0).all()
    return grid, attention


@pytest.mark.parametrize(
    ("model", "patch", "size", "attends"),
    [
        ("resnet10t", 1, None, False),
        ("convnext_atto", 1, None, False),
        ("mobilenetv3_small_050", 1, None, False),
        ("vit_tiny_patch16_224", 16, None, True),
        ("vit_small_patch14_reg4_dinov2", 14, None, True),
        ("deit_tiny_distilled_patch16_224", 16, None, True),
        ("swin_tiny_patch4_window7_224", 32, None, False),
        ("xcit_nano_12_p16_224", 16, None, False),  # attends to channels
        ("mixer_s32_224", 1, 224, False),
    ],
)
def test_features_of_timm(model: str, patch: int, size: int | None, attends: bool) -> None:
    backbone = make_backbone(f"timm:{model}")
    assert (backbone.patch, backbone.size, backbone.attends) == (patch, size, attends)
    seen(backbone)


def test_patches_of_a_vit_are_those_of_timm() -> None:
    import timm

    backbone = make_backbone("timm:vit_tiny_patch16_224").eval()
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    theirs.load_state_dict(backbone.backbone.state_dict())  # type: ignore[union-attr]
    given = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        (expected,) = theirs.forward_intermediates(given, 1, norm=True, intermediates_only=True)
        torch.testing.assert_close(backbone(given), expected, rtol=1e-4, atol=1e-5)
    assert backbone.mean == (0.5, 0.5, 0.5)


def test_attention_of_a_vit_is_the_softmax_of_its_last_block() -> None:
    backbone = make_backbone("timm:vit_tiny_patch16_224").eval()
    model: Any = backbone.backbone
    given = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        inputs = []
        hook = model.blocks[-1].attn.register_forward_pre_hook(lambda _, x: inputs.append(x[0]))
        found = backbone.attended(given)[1]
        hook.remove()
        attn = model.blocks[-1].attn
        q, k, _ = attn.qkv(inputs[0]).reshape(25, 3, 3, 64).permute(1, 2, 0, 3)
        expected = (q @ k.transpose(1, 2) * 64**-0.5).softmax(-1)[:, 0, 1:].mean(0).reshape(4, 6)
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-6)


def test_models_that_timm_has_not_are_named() -> None:
    with pytest.raises(UsageError, match=r"no model 'resnet18b'.*resnet18"):
        make_backbone("timm:resnet18b")
    with pytest.raises(UsageError, match="no grid"):
        make_backbone("timm:coat_tiny")


@pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="needs transformers")
@pytest.mark.parametrize(
    ("kind", "settings", "first", "patch", "attends"),
    [
        ("ViTConfig", {"image_size": 64, "patch_size": 16} | SMALL, 1, 16, True),
        ("Dinov2WithRegistersConfig", {"image_size": 56, "patch_size": 14} | SMALL, 5, 14, True),
        ("DINOv3ViTConfig", {"patch_size": 16, "num_register_tokens": 4} | SMALL, 5, 16, True),
        ("ViTMAEConfig", {"image_size": 64, "patch_size": 16} | SMALL, 1, 16, True),
        ("ConvNextConfig", {"hidden_sizes": [8, 8, 8, 16], "depths": [1] * 4}, 0, 1, False),
        (
            "SwinConfig",
            {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1] * 4, "window_size": 2},
            *(0, 32, False),
        ),
    ],
)
def test_features_of_transformers(
    kind: str, settings: dict[str, Any], first: int, patch: int, attends: bool, tmp_path: Path
) -> None:
    import transformers

    model = transformers.AutoModel.from_config(getattr(transformers, kind)(**settings))
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.1, 0.2, 0.3]}')
    backbone = make_backbone(f"hf:{tmp_path}", pretrained=True)
    assert (backbone.patch, backbone.size, backbone.attends) == (patch, None, attends)
    assert backbone.mean == (0.1, 0.2, 0.3)
    grid, _ = seen(backbone)
    if first and kind != "ViTMAEConfig":  # the tokens are those of the model, without the first
        torch.manual_seed(0)
        given = images(backbone)
        more = {"interpolate_pos_encoding": True} if kind == "ViTConfig" else {}
        with torch.inference_mode():
            tokens = model.eval()(pixel_values=given, **more).last_hidden_state[:, first:]
        torch.manual_seed(0)
        with torch.inference_mode():
            grid = backbone(given)
        torch.testing.assert_close(grid.flatten(2).transpose(1, 2), tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not importlib.util.find_spec("transformers"), reason="needs transformers")
def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="transformers cannot make it"):
        make_backbone(f"hf:{tmp_path}")
