"""A running average of weights: a plain mean at first, then one that forgets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imagenets.training.average import Average


def stepped(average: Average, network: nn.Module, count: int, seed: int) -> list[Tensor]:
    """Moves the weights so many times; gives them after each step."""
    generator, found = torch.Generator().manual_seed(seed), []
    for _ in range(count):
        with torch.no_grad():
            weight = network[0].weight  # type: ignore[index]  # its type is any module
            weight.copy_(torch.randn(weight.shape, generator=generator))
        network(torch.randn(5, 3, generator=generator))  # moves batch norm
        average.update()
        found.append(weight.detach().clone())
    return found


def made() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_it_is_the_mean_of_the_first_steps_and_then_keeps_its_share() -> None:
    network = made()
    average = Average(network, 0.75)
    rows = stepped(average, network, 4, 0)
    expected = torch.stack(rows).mean(0)
    torch.testing.assert_close(average.state_dict()["weights"]["0.weight"], expected)
    for row in stepped(average, network, 3, 1):
        expected = 0.75 * expected + 0.25 * row
    torch.testing.assert_close(average.state_dict()["weights"]["0.weight"], expected)
    found = average.state_dict()["weights"]
    assert found["1.num_batches_tracked"] == 7
    assert not torch.equal(found["1.running_mean"], network.state_dict()["1.running_mean"])


def test_it_goes_on_from_its_state() -> None:
    network = made()
    whole = Average(network, 0.75)
    stepped(whole, network, 3, 0)
    again = Average(made(), 0.75)
    again.load_state_dict(whole.state_dict())
    again._network = network
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    stepped(whole, network, 2, 1)
    network.load_state_dict(kept)
    stepped(again, network, 2, 1)
    assert again.state_dict()["steps"] == 5
    for name, value in whole.state_dict()["weights"].items():
        assert torch.equal(again.state_dict()["weights"][name], value)
