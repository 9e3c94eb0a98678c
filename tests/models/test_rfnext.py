"""Convolutions that search for their dilation: what their states compute, and where they lead."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from imagenets.errors import UsageError
from imagenets.methods.semi.networks import layers, make_network
from imagenets.models.convnext import ConvNeXt
from imagenets.models.rfnext import MODES, RFConv2d, RFConvNeXt


def image(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def drawn(network: nn.Module) -> None:
    """Fills the weights, so that every layer counts; dilations and their weights stay."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if not name.endswith("sample_weights"):
                value.copy_(0.2 * torch.randn(value.shape, generator=generator))


def searched(weights: tuple[float, float]) -> RFConvNeXt:
    """A search whose convolutions weigh their dilations 1 and 2 so."""
    network = RFConvNeXt("rfconvnext_tiny_rfsearch")
    for convolution in network.convolutions.values():
        with torch.no_grad():
            convolution.sample_weights[:2] = torch.tensor(weights)
    return network


def test_a_scripted_search() -> None:
    """1 -> 1, 2 -> (weights 0.1, 0.3: 1.75) 2 -> 1, 2, 3 -> (0, 0, -1) 3 -> 2, 3, 4 -> 3."""
    convolution = RFConv2d(4, searches=True).train()
    convolution.interval = 2
    assert convolution.dilations == [(1, 1), (2, 2)]
    script = {2: ([0.1, 0.3], [1, 2, 3]), 4: ([0.0, 0.0, -1.0], [2, 3, 4])}
    script[6] = ([0.02, 0.02, 0.02], [2, 3, 4])  # 3 again
    seen = []
    for passes in range(1, 9):
        if passes in script:
            with torch.no_grad():
                convolution.sample_weights[: len(script[passes][0])] = torch.tensor(
                    script[passes][0]
                )
        convolution(image(1, 4, 9, 9))
        seen.append(int(convolution.counter))
        if passes in script:
            assert convolution.dilations == [(rate, rate) for rate in script[passes][1]]
            assert torch.equal(convolution.sample_weights, torch.full((3,), 0.01))
    assert seen == [1, 0, 1, 0, 1, 0, 1, 2]  # three steps at most
    assert int(convolution.current_search_step) == 3
    convolution.eval()(image(1, 4, 9, 9))
    assert int(convolution.counter) == 2


def test_halves_round_to_even_and_doubles_are_dropped() -> None:
    convolution = RFConv2d(1, searches=False)
    for middle, rates in {1: [1, 2], 2: [1, 2, 3], 3: [2, 3, 4], 5: [2, 5, 8]}.items():
        convolution.rates[0] = middle
        convolution.num_rates.fill_(1)
        convolution.expand()
        assert convolution.dilations == [(rate, rate) for rate in rates]
        assert int(convolution.num_rates) == len(rates)
    convolution.rates[0], convolution.rates[1] = 1, 2
    convolution.num_rates.fill_(2)
    convolution.estimate()
    assert convolution.dilations == [(2, 2)]  # 1.5


def test_each_axis_has_its_own_dilation() -> None:
    convolution = RFConv2d(3, searches=False)
    drawn(convolution)
    convolution.rates.copy_(torch.tensor([[1, 2], [3, 1], [1, 1]]))
    convolution.num_rates.fill_(2)
    x = image(2, 3, 20, 21)
    before = convolution(x)
    assert before.shape == x.shape
    convolution.merge()
    assert convolution.kernel_size == (19, 13)
    torch.testing.assert_close(convolution(x), before, rtol=1e-5, atol=1e-5)


def test_branches_share_a_kernel_and_are_weighted_by_size() -> None:
    convolution = RFConv2d(3, searches=True)
    drawn(convolution)
    with torch.no_grad():
        convolution.sample_weights[:2] = torch.tensor([-0.3, 0.1])
    x = image(1, 3, 16, 16)
    plain = nn.Conv2d(3, 3, 7, padding=3, groups=3)
    wide = nn.Conv2d(3, 3, 7, padding=6, dilation=2, groups=3)
    state = {"weight": convolution.weight, "bias": convolution.bias}
    plain.load_state_dict(state)
    wide.load_state_dict(state)
    torch.testing.assert_close(convolution(x), 0.75 * plain(x) + 0.25 * wide(x))


@pytest.mark.slow
def test_single_equals_convnext_at_the_estimated_dilation() -> None:
    search = searched((0.1, 0.3))
    single = RFConvNeXt("rfconvnext_tiny_rfsingle")
    single.take_rates(search.state_dict())
    drawn(single)
    plain = ConvNeXt("convnext_tiny")
    own = plain.state_dict()
    plain.load_state_dict(
        {name: value for name, value in single.state_dict().items() if name in own}
    )
    x = image(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(single(x), plain(x))
        for name, part in plain.named_modules():
            if name.endswith("conv_dw"):
                assert isinstance(part, nn.Conv2d)
                part.dilation, part.padding = (2, 2), (6, 6)
        torch.testing.assert_close(single(x), plain(x), rtol=1e-5, atol=1e-5)
    for convolution in single.convolutions.values():
        assert not convolution.sample_weights.requires_grad
        assert convolution.wide


@pytest.mark.slow
def test_merged_equals_unmerged() -> None:
    multiple = RFConvNeXt("rfconvnext_tiny_rfmultiple")
    multiple.take_rates(searched((0.1, 0.3)).state_dict())
    for number, convolution in enumerate(multiple.convolutions.values()):
        assert convolution.dilations == [(1, 1), (2, 2), (3, 3)]
        assert convolution.sample_weights.requires_grad
        with torch.no_grad():  # some kernels stay small
            convolution.sample_weights.copy_(torch.tensor([0.1, -0.2, 0.3]))
            if number % 2:
                convolution.num_rates.fill_(2)
    drawn(multiple)
    network = make_network("rfconvnext_tiny_rfmerge", 3)
    merged = network.backbone
    assert isinstance(merged, RFConvNeXt)
    merged.take_rates(multiple.state_dict())
    merged.load_state_dict(multiple.state_dict())
    x = image(1, 3, 64, 96)
    with torch.no_grad():
        before = multiple(x)
        merged.merge()
        after = merged(x)
    assert (after - before).abs().max() <= 1e-5 * before.abs().max()
    sides = [convolution.kernel_size for convolution in merged.convolutions.values()]
    assert sides == [(19, 19), (13, 13)] * 9
    found, count = layers(network)
    trained = {name for name, value in merged.named_parameters() if value.requires_grad}
    first = "stages.0.blocks.0.conv_dw"
    assert len(trained) == 18
    assert {f"{first}.weight", f"{first}.bias"} <= trained
    assert (found[f"{first}.weight"], found[f"{first}.sample_weights"]) == ((1, 1), (1, 1))
    assert found["stages.0.blocks.1.conv_dw.weight"] == (0, 2)
    assert found["seg_head.fc.weight"] == (0, count) == (0, 22)
    again = RFConvNeXt("rfconvnext_tiny_rfmerge")
    again.set_kernels(merged.state_dict())
    again.load_state_dict(merged.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x), after)


def test_wide_convolutions_are_in_the_second_group() -> None:
    network = make_network("rfconvnext_tiny_rfmultiple", 3)
    backbone = network.backbone
    assert isinstance(backbone, RFConvNeXt)
    search = searched((0.1, 0.3)).state_dict()
    search["stages.0.blocks.1.conv_dw.sample_weights"][:2] = torch.tensor([0.3, 0.1])
    backbone.take_rates(search)
    found, _ = layers(network)
    groups = {name: layer.group for name, layer in found.items() if "conv_dw" in name}
    narrow = {"stages.0.blocks.1.conv_dw.weight", "stages.0.blocks.1.conv_dw.bias"}
    assert {name for name, group in groups.items() if not group} == narrow


def test_dilations_that_were_loaded_or_copied_count() -> None:
    network = RFConvNeXt("rfconvnext_tiny_rfsearch")
    convolution = network.convolutions["stages.0.blocks.0.conv_dw"]
    assert len(convolution.dilations) == 2
    state = {name: value.clone() for name, value in network.state_dict().items()}
    state["stages.0.blocks.0.conv_dw.rates"][1] = 5
    network.load_state_dict(state)
    assert convolution.dilations == [(1, 1), (5, 5)]
    other = copy.deepcopy(convolution)
    other.rates[1] = 7
    assert (other.dilations, convolution.dilations) == ([(1, 1), (7, 7)], [(1, 1), (5, 5)])
    convolution.num_rates.fill_(4)
    with pytest.raises(UsageError, match="4 dilations"):
        convolution(image(1, 96, 8, 8))
    with torch.inference_mode():
        inside = RFConv2d(2, searches=True)
        inside.rates[1] = 3
        assert inside.dilations == [(1, 1), (3, 3)]


def test_what_is_no_rf_convnext_is_refused() -> None:
    with pytest.raises(UsageError, match="no weights of RF-ConvNeXt"):
        RFConvNeXt("rfconvnext_tiny_rfsingle").take_rates(ConvNeXt("convnext_tiny").state_dict())
    with pytest.raises(UsageError, match="searches for its own"):
        RFConvNeXt("rfconvnext_tiny_rfsearch").take_rates({})
    with pytest.raises(UsageError, match=", ".join(MODES)):
        RFConvNeXt("convnext_tiny")
