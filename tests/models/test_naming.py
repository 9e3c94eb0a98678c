"""Checkpoints that people bring, each in the names and the wrapping that its authors use."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.methods.pass_.heads import PretrainNet
from imagenets.models.backbone import Wrapped
from imagenets.models.checkpoints import LoadReport, load_weights, plain_state, read_state
from imagenets.models.registry import make_backbone

State = dict[str, Tensor]


def drawn(arch: str, seed: int = 5) -> State:
    """Weights for a backbone that no other seed gives."""
    generator = torch.Generator().manual_seed(seed)
    state = make_backbone(arch).state_dict()
    return {
        name: torch.rand(value.shape, generator=generator)
        if value.is_floating_point()
        else value.clone()
        for name, value in state.items()
    }


def head(prefix: str) -> State:
    return {f"{prefix}.weight": torch.zeros(10, 8), f"{prefix}.bias": torch.zeros(10)}


def prefixed(state: State, prefix: str) -> State:
    return {prefix + name: value for name, value in state.items()}


def mae(state: State) -> dict[str, Any]:
    decoder = {"mask_token": torch.zeros(1, 1, 8), **head("decoder_blocks.0.attn.qkv")}
    return {"model": state | decoder, "epoch": 400, "args": Namespace(blr=1e-3)}


def dino(state: State) -> dict[str, Any]:
    student = prefixed(drawn("vit_small_patch16", 6), "module.backbone.")
    teacher = prefixed(state, "backbone.") | head("head.last_layer")
    return {"student": student, "teacher": teacher, "args": Namespace(), "epoch": 1}


def moco3(state: State) -> dict[str, Any]:
    other = prefixed(drawn("vit_small_patch16", 6), "module.momentum_encoder.")
    return {"state_dict": prefixed(state, "module.base_encoder.") | other}


def moco2(state: State) -> dict[str, Any]:
    other = prefixed(drawn("resnet18", 6), "module.encoder_k.")
    return {
        "state_dict": prefixed(state, "module.encoder_q.") | head("module.encoder_q.fc") | other
    }


def meta(state: State) -> dict[str, Any]:
    """As facebookresearch/ConvNeXt names them; its linear layers are 2-d."""
    changes = [
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.(\d)\.", r"downsample_layers.\1.\2."),
        (r"^stages\.(\d)\.blocks\.(\d+)\.", r"stages.\1.\2."),
        (r"\.conv_dw\.", ".dwconv."),
        (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    ]
    found = {}
    for name, value in state.items():
        for pattern, new in changes:
            name = re.sub(pattern, new, name)
        flat = ".pwconv" in name and value.ndim == 4
        found[name] = value[:, :, 0, 0] if flat else value
    assert "downsample_layers.0.0.weight" in found
    assert "downsample_layers.3.1.bias" in found
    assert "stages.2.8.pwconv2.bias" in found
    assert "stages.2.8.gamma" in found
    return {"model": found | head("norm") | head("head")}


def published_pass(state: State) -> dict[str, Any]:
    whole = plain_state(PretrainNet("resnet18", 16, 8)) | state
    return {"state_dict": prefixed(whole, "module."), "epoch": 200}


def compiled(state: State) -> dict[str, Any]:
    return prefixed(state, "_orig_mod.module.")


def ours(state: State) -> dict[str, Any]:
    return {"state_dict": prefixed(state, "backbone.") | head("last_layer"), "optimizer": {}}


KINDS = [
    ("vit_small_patch16", mae, {"mask_token", "decoder_blocks"}),
    ("vit_small_patch16", lambda state: {"model": state | head("head")}, {"head"}),  # SERE, timm
    ("vit_small_patch16", dino, {"head"}),
    ("vit_small_patch16", moco3, {"momentum_encoder"}),
    ("resnet18", moco2, {"fc", "encoder_k"}),
    ("convnext_tiny", meta, {"norm", "head"}),
    ("convnext_tiny", lambda state: state | head("head.fc"), {"head"}),  # timm
    ("resnet18", published_pass, {"projection_head", "prototypes", "predictor_head_pixel"}),
    ("resnet18", lambda state: state | head("fc"), {"fc"}),  # torchvision
    ("resnet18", compiled, set()),
    ("resnet18", ours, {"last_layer"}),
]


@pytest.mark.parametrize(("arch", "made", "heads"), KINDS)
def test_every_weight_of_the_backbone_is_found(
    arch: str, made: Callable[[State], dict[str, Any]], heads: set[str], tmp_path: Path
) -> None:
    state = drawn(arch)
    torch.save(made(state), tmp_path / "weights.pth")
    network = make_backbone(arch)
    report = load_weights(network, read_state(tmp_path / "weights.pth"))
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name].reshape(value.shape)), name
    assert report.missing == ()
    for part in heads:
        assert f"{part}: " in str(report) or f"({part}: " in str(report)
    assert bool(report.unused) == bool(heads)


@pytest.mark.parametrize(("arch", "made", "heads"), KINDS)
def test_one_weight_less_is_refused_or_told(
    arch: str, made: Callable[[State], dict[str, Any]], heads: set[str], tmp_path: Path
) -> None:
    state = drawn(arch)
    lost = next(name for name in reversed(state) if name.endswith("weight"))
    del state[lost]
    if made is published_pass:
        pytest.skip("it fills the gap with weights of its own")
    torch.save(made(state), tmp_path / "weights.pth")
    given = read_state(tmp_path / "weights.pth")
    with pytest.raises(UsageError, match=rf"1 weights of the backbone are missing.*{lost}"):
        load_weights(make_backbone(arch), given)
    assert load_weights(make_backbone(arch), given, allow_partial=True).missing == (lost,)


def embedded(side: int, first: int = 1) -> Tensor:
    """A position embedding of a ramp along the rows, the columns, and a constant."""
    steps = (torch.arange(side) + 0.5) / side
    ramps = torch.stack([*torch.meshgrid(steps, steps, indexing="ij"), torch.ones(side, side)], -1)
    tokens = torch.full((first, 3), 7.0)
    return torch.cat([tokens, ramps.reshape(-1, 3)])[None]


class Embedding(nn.Module):
    def __init__(self, side: int, first: int = 1) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.zeros(1, first + side**2, 3))
        self.proj = nn.Conv2d(3, 3, 16, 16)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.proj(images)
        return found


def filled(given: Tensor, side: int, first: int = 1) -> tuple[LoadReport, Tensor]:
    network = Wrapped(Embedding(side, first))
    state = network.backbone.state_dict() | {"pos_embed": given}
    report = load_weights(network, state)
    return report, network.backbone.get_parameter("pos_embed").detach()


@pytest.mark.parametrize("first", [0, 1, 5])
@pytest.mark.parametrize(("theirs", "own"), [(14, 16), (16, 14), (37, 16), (7, 28)])
def test_position_embeddings_are_resized_to_the_grid(theirs: int, own: int, first: int) -> None:
    given = embedded(theirs, first)
    report, found = filled(given, own, first)
    assert report.reshaped == ("backbone.pos_embed",)
    assert torch.equal(found[:, :first], given[:, :first])
    grid = found[0, first:].unflatten(0, (own, own))
    source = given[0, first:].unflatten(0, (theirs, theirs)).permute(2, 0, 1)[None]
    factor = (own + 0.1) / theirs
    expected = F.interpolate(source, scale_factor=factor, mode="bicubic", align_corners=False)
    torch.testing.assert_close(grid, expected[0].permute(1, 2, 0))
    torch.testing.assert_close(grid[..., 2], torch.ones(own, own))
    ramp = embedded(own, 0)[0].unflatten(0, (own, own))
    torch.testing.assert_close(grid[2:-2, 2:-2], ramp[2:-2, 2:-2], rtol=0, atol=0.5 / theirs)


def test_position_embeddings_with_other_first_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="pos_embed"):
        filled(embedded(14, 2), 16, 1)


def test_the_same_weight_twice_is_refused() -> None:
    state = drawn("resnet18w05")
    with pytest.raises(UsageError, match=r"holds conv1\.weight and module\.conv1\.weight"):
        load_weights(make_backbone("resnet18w05"), state | prefixed(state, "module."))


def test_heads_of_a_whole_network_need_not_be_given() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 8, 8)
            self.fc = nn.Linear(4, 2)

    network = Net()
    backbone = Wrapped(network, network.stem)
    report = load_weights(backbone, network.stem.state_dict(prefix="stem."))
    assert report.missing == ("backbone.fc.weight", "backbone.fc.bias")


@pytest.mark.extras
def test_safetensors_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = drawn("resnet18w05")
    path = tmp_path / "model.safetensors"
    with pytest.raises(MissingError):
        read_state(path)
    save_file(state, str(path))
    assert load_weights(make_backbone("resnet18w05"), read_state(path)).missing == ()
    path.write_bytes(b"no such file")
    with pytest.raises(CorruptError, match=r"model\.safetensors: not a readable checkpoint"):
        read_state(path)
