"""Weights reach a network by name and shape, with a report; gaps in the backbone are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.models.checkpoints import (
    load_weights,
    plain_name,
    plain_state,
    read_checkpoint,
    read_state,
)
from imagenets.models.registry import BACKBONES, make_backbone

ARCH = "resnet18w05"


@pytest.fixture
def network() -> SegmentationNet:
    torch.manual_seed(0)
    return SegmentationNet(ARCH, 3)


def others(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Other weights for a network, under published names with a prefix."""
    return {prefix + name: value + 1 for name, value in plain_state(network).items()}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "_orig_mod."])
def test_every_usual_prefix_loads_every_weight(network: SegmentationNet, prefix: str) -> None:
    given = others(network, prefix)
    report = load_weights(network, given)
    assert len(report.matched) == len(given)
    assert report.missing == report.unused == report.reshaped == ()
    for name, value in network.state_dict().items():
        assert torch.equal(value, given[prefix + plain_name(name)])


def test_a_backbone_with_a_gap_is_refused_and_a_missing_head_is_reported(
    network: SegmentationNet,
) -> None:
    given = others(network, "module.")
    del given["module.last_layer.weight"]
    report = load_weights(network, given)
    assert report.missing == ("last_layer.weight",)
    del given["module.layer3.0.conv1.weight"]
    given["module.layer3.0.convolution.weight"] = torch.zeros(1)
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    given = {name: value + 1 for name, value in given.items()}
    with pytest.raises(UsageError, match=r"1 weights of the backbone.*layer3\.0\.conv1\.weight"):
        load_weights(network, given, source="a.pt")
    torch.testing.assert_close(dict(network.state_dict()), kept, rtol=0, atol=0)  # none was filled
    report = load_weights(network, given, allow_partial=True)
    assert report.unused == ("module.layer3.0.convolution.weight",)
    assert "layer3.0.conv1.weight" in str(report)


def test_names_of_another_network_are_refused(network: SegmentationNet) -> None:
    with pytest.raises(UsageError, match="missing"):
        load_weights(network, {f"encoder.{name}": v for name, v in others(network, "").items()})


def test_shapes_differ_only_by_ones(network: SegmentationNet) -> None:
    given = others(network, "")
    given["last_layer.weight"] = given["last_layer.weight"][:, :, 0, 0]
    assert load_weights(network, given).reshaped == ("last_layer.weight",)
    given["last_layer.weight"] = given["last_layer.weight"].t()
    report = load_weights(network, given)
    assert report.missing == report.unused == ("last_layer.weight",)


def test_old_files_without_counters_of_batches_are_taken(network: SegmentationNet) -> None:
    given = {n: v for n, v in others(network, "").items() if not n.endswith("batches_tracked")}
    assert load_weights(network, given).missing


@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_files_hold_a_state_dict_or_one_below_a_key(
    network: SegmentationNet, tmp_path: Path, key: str | None
) -> None:
    given = others(network, "module.")
    path = tmp_path / "weights.pt"
    torch.save(given if key is None else {key: given, "epoch": 3}, path)
    assert read_state(path).keys() == given.keys()


def test_bad_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    with pytest.raises(MissingError, match=r"weights\.pt"):
        read_state(path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(CorruptError, match=r"weights\.pt"):
        read_state(path)
    torch.save({"epoch": 1}, path)
    with pytest.raises(CorruptError, match="no weights"):
        read_state(path)
    torch.save(torch.zeros(2), path)
    with pytest.raises(CorruptError, match="holds a Tensor"):
        read_checkpoint(path)


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return exec, ("raise SystemExit",)


def test_nothing_is_executed_when_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": {}, "more": Malicious()}, path)
    with pytest.raises(CorruptError):
        read_state(path)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "resnet50", "resnet50_d16", "resnet18w05", "vit_small_patch16", "convnext_tiny"],
)
def test_backbones_keep_what_they_promise(name: str) -> None:
    backbone = make_backbone(name)
    maps = backbone.maps(torch.zeros(1, 3, 64, 96), range(len(backbone.channels)))
    for features, channels, stride in zip(maps, backbone.channels, backbone.strides, strict=True):
        assert features.shape == (1, channels, 64 // stride, 96 // stride)
    assert torch.equal(backbone(torch.zeros(1, 3, 64, 96)), maps[-1])
    grouped = [parameter for group in backbone.layer_groups() for parameter in group]
    assert sorted(map(id, grouped)) == sorted(map(id, backbone.parameters()))


def test_where_the_class_token_of_a_vit_looks() -> None:
    backbone = make_backbone("vit_small_patch16").eval()
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        grid, looks = backbone.attended(x)
        assert looks.shape == (2, 4, 6)
        assert torch.allclose(grid, backbone(x), atol=1e-5)
        assert (looks.flatten(1).sum(1) < 1).all()  # the rest is for the class token itself
        last = backbone.get_submodule("blocks.11")
        seen: list[Tensor] = []
        last.get_submodule("norm1").register_forward_hook(lambda *found: seen.append(found[2]))
        backbone(x)
        qkv = last.get_submodule("attn.qkv")(seen[0]).view(2, 25, 3, 6, 64)
        scores = torch.einsum("nhc,nlhc->nhl", qkv[:, 0, 0], qkv[:, :, 1]) / 8
        expected = scores.softmax(2)[:, :, 1:].mean(1)
    torch.testing.assert_close(looks.flatten(1), expected)


def test_an_unknown_backbone_names_the_known() -> None:
    with pytest.raises(UsageError, match=", ".join(BACKBONES)):
        make_backbone("vgg")
