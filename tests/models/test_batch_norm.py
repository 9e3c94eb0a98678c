"""The synchronised batch norm against torch's on the whole batch, in real processes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ranks import run_ranks
from torch import Tensor, nn

from imagenets.core.distributed import own_part
from imagenets.errors import UsageError
from imagenets.models.batch_norm import BatchNorm1d, BatchNorm2d, synchronise

CPU = torch.device("cpu")
BATCH = 12
CASES = ("flat", "maps", "channels_last", "plain", "average")


def case(name: str) -> tuple[nn.Module, Tensor, Tensor]:
    """A network with one batch norm, its input and the gradient of its output."""
    torch.manual_seed(len(name))
    shape = (BATCH, 5) if name == "flat" else (BATCH, 5, 3, 4)
    x, grad = torch.randn(shape) * 3 + 20, torch.randn(shape)
    kind = nn.BatchNorm1d if name == "flat" else nn.BatchNorm2d
    momentum = None if name == "average" else 0.1
    norm = kind(5, affine=name != "plain", momentum=momentum)
    if norm.affine:
        nn.init.uniform_(norm.weight, -2, 2)
        nn.init.uniform_(norm.bias)
    if name == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    return nn.Sequential(norm, nn.ReLU(inplace=True)), x, grad


def steps(network: nn.Module, x: Tensor, grad: Tensor) -> dict[str, Tensor]:
    """Two steps forward, one back; all that there is to compare."""
    network(own_part(x) * 2 - 1)
    mine = own_part(x).clone().requires_grad_()
    y = network(mine)
    y.backward(own_part(grad))
    assert mine.grad is not None
    found = {"y": y.detach(), "grad": mine.grad, **network.state_dict()}
    gradients = {f"grad of {name}": p.grad for name, p in network.named_parameters()}
    network.eval()
    return found | {"eval": network(own_part(x)).detach()} | gradients  # type: ignore[return-value]


def work() -> dict[str, dict[str, Tensor]]:
    found = {}
    for name in CASES:
        network, x, grad = case(name)
        before = dict(network.named_parameters())
        assert synchronise(network, CPU) is network
        assert all(value is before[name] for name, value in network.named_parameters())
        found[name] = steps(network, x, grad)
    return found


@pytest.fixture(scope="module", params=[2, 3])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run_ranks(request.param, tmp_path_factory.mktemp("ranks"), work)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ranks_normalise_as_one_process_does(name: str, ranks: list[Any]) -> None:
    expected = steps(*case(name))
    parts = [found[name] for found in ranks]
    assert all(part.keys() == expected.keys() for part in parts)
    for what, want in expected.items():
        if what in ("y", "grad", "eval"):
            got = torch.stack([part[what] for part in parts], 1).flatten(0, 1)
        elif what.startswith("grad of"):
            got = torch.stack([part[what] for part in parts]).sum(0)
        else:
            got = parts[0][what]
            assert all(got.equal(part[what]) for part in parts), what
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5, msg=f"{what} of {name}")


@pytest.mark.parametrize("name", CASES)
def test_on_one_rank_it_is_torchs(name: str) -> None:
    network, x, grad = case(name)
    found, expected = steps(synchronise(network, CPU), x, grad), steps(*case(name))
    assert isinstance(network[0], BatchNorm1d | BatchNorm2d)  # type: ignore[index]
    for what, want in expected.items():
        assert found[what].equal(want), what


def test_what_stays_and_what_is_refused() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2).eval()))
    network[0].weight.requires_grad_(False)
    names = list(network.state_dict())
    synchronise(synchronise(network, CPU), CPU)
    inner = network[1][0]
    assert type(inner) is BatchNorm1d
    assert not inner.training
    assert list(network.state_dict()) == names
    with pytest.raises(UsageError, match="BatchNorm3d cannot be synchronised"):
        synchronise(nn.Sequential(nn.BatchNorm3d(2)), CPU)


class WithReLU(nn.BatchNorm2d):
    """As timm has them: torch would convert it to a plain one, without a word."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batch_norms_that_do_more_are_refused(device: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), WithReLU(2))
    with pytest.raises(UsageError, match="WithReLU cannot be synchronised"):
        synchronise(network, torch.device(device))
    assert isinstance(network[1], WithReLU)
