"""ConvNeXt whose depthwise convolutions search for their dilation (RF-Next, arXiv:2206.06637).

A convolution holds up to three dilations, its branches, which share one kernel. What it gives is
the sum of its branches, weighted by |w| / sum |w|. `estimate` makes one dilation of them, the
weighted mean; `expand` puts a smaller and a larger one beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from imagenets.errors import UsageError
from imagenets.models.convnext import KERNEL, ConvNeXt

MODES: dict[str, str] = {
    "rfconvnext_tiny_rfsearch": "search",
    "rfconvnext_tiny_rfsingle": "single",
    "rfconvnext_tiny_rfmultiple": "multiple",
    "rfconvnext_tiny_rfmerge": "merge",
}
"""Name -> what its convolutions do with their dilations."""

BRANCHES = 3
"""Dilations that a convolution holds at most."""

STEPS = 3
"""How often a search estimates and expands."""

LARGE_KERNEL = 13
"""Merged kernels above this side are trained, with the rate of the second layer group."""

_SPREAD = 0.5  # the smaller and the larger dilation are 1 -+ this times the middle one
_START = 0.01  # each branch's weight

Rate = tuple[int, int]
"""A dilation along rows and along columns."""


@dataclass(slots=True)
class _Known:
    """What the buffers of a convolution hold, as numbers of Python: asking a GPU would wait."""

    stamp: tuple[int, ...]
    rates: list[Rate]
    counter: int
    step: int


class RFConv2d(nn.Conv2d):
    """A depthwise 7 x 7 convolution with branches.

    Args:
        channels: Of its input and output.
        searches: Whether it searches in training.

    Attributes:
        sample_weights: The branches' weights w, 3 float32.
        rates: Their dilations, 3 x 2 int32 (rows, columns); the first `num_rates` count.
        num_rates: Number of branches, 1 int32.
        counter: Of one that searches: forward passes in training since the last step, 1 int32.
        current_search_step: Of one that searches: steps taken, 1 int32.
        interval: Forward passes in training from one step of the search to the next; 0 = no steps.
        wide: Whether the dilation was above 1, or the kernel above 13, before training.
    """

    rates: Tensor
    num_rates: Tensor
    counter: Tensor
    current_search_step: Tensor

    def __init__(self, channels: int, searches: bool) -> None:
        super().__init__(channels, channels, KERNEL, groups=channels)
        self.sample_weights = nn.Parameter(torch.full((BRANCHES,), _START))
        self.searches = searches
        self.interval = 0
        self.wide = False
        if searches:
            self.register_buffer("counter", torch.zeros(1, dtype=torch.int32))
            self.register_buffer("current_search_step", torch.zeros(1, dtype=torch.int32))
        self.register_buffer("rates", torch.ones(BRANCHES, 2, dtype=torch.int32))
        self.register_buffer("num_rates", torch.ones(1, dtype=torch.int32))
        self._known: _Known | None = None
        if searches:
            self.estimate()
            self.expand()

    def forward(self, x: Tensor) -> Tensor:
        """Convolves N x C x H x W maps; the size stays."""
        if self.searches and self.training and self.interval:
            self._count()
        rates = self.dilations
        if len(rates) == 1:
            return self._branch(x, rates[0])
        shares = self._shares(len(rates))
        found = shares[0] * self._branch(x, rates[0])
        for share, rate in zip(shares[1:], rates[1:], strict=True):
            found = found + share * self._branch(x, rate)
        return found

    @property
    def dilations(self) -> list[Rate]:
        """The dilations of the branches there are."""
        return self._look().rates

    @torch.no_grad()
    def estimate(self) -> None:
        """Leaves one branch: the weighted mean of the dilations, rounded, at least 1."""
        rates = self.dilations
        shares = self._shares(len(rates)).double().tolist()
        means = [
            sum(share * rate[axis] for share, rate in zip(shares, rates, strict=True))
            for axis in (0, 1)
        ]
        self._set([(max(1, round(means[0])), max(1, round(means[1])))])

    @torch.no_grad()
    def expand(self) -> None:
        """Puts dilations of half and of one and a half times the size beside the one there is."""
        middle = self.dilations[0]
        factors = (1 - _SPREAD, 1.0, 1 + _SPREAD)
        found = [
            (max(1, round(middle[0] * factor)), max(1, round(middle[1] * factor)))
            for factor in factors
        ]
        self._set(list(dict.fromkeys(found)))
        self.sample_weights.fill_(_START)

    @torch.no_grad()
    def merge(self) -> None:
        """Makes one larger kernel of all branches, which computes the same with dilation 1."""
        rates = self.dilations
        shares = self._shares(len(rates))
        rows, columns = (max(rate[axis] for rate in rates) for axis in (0, 1))
        large = self._empty((KERNEL - 1) * rows + 1, (KERNEL - 1) * columns + 1)
        for share, (down, right) in zip(shares, rates, strict=True):
            top, left = (KERNEL // 2 * (rows - down), KERNEL // 2 * (columns - right))
            bottom, end = large.shape[2] - top, large.shape[3] - left
            large[:, :, top:bottom:down, left:end:right] += share * self.weight
        self._take_kernel(large)
        self._set([(1, 1)])
        self.wide = max(self.kernel_size) > LARGE_KERNEL

    def set_kernel(self, shape: Sequence[int]) -> None:
        """Makes room for a kernel of another size, of a merged network: rows, columns."""
        self._take_kernel(self._empty(*shape))

    def _empty(self, rows: int, columns: int) -> Tensor:
        return self.weight.new_zeros(self.out_channels, 1, rows, columns)

    def _take_kernel(self, kernel: Tensor) -> None:
        self.weight = nn.Parameter(kernel, requires_grad=self.weight.requires_grad)
        self.kernel_size = (kernel.shape[2], kernel.shape[3])

    def _branch(self, x: Tensor, rate: Rate) -> Tensor:
        rows, columns = self.kernel_size
        padding = (rows // 2 * rate[0], columns // 2 * rate[1])
        return F.conv2d(x, self.weight, self.bias, 1, padding, rate, self.groups)

    def _shares(self, count: int) -> Tensor:
        sizes = self.sample_weights[:count].abs()
        return sizes / sizes.sum()

    @torch.no_grad()
    def _count(self) -> None:
        """Counts a forward pass in training; takes a step of the search when it is due."""
        known = self._look()
        known.counter += 1
        if known.counter >= self.interval and known.step < STEPS:
            self.counter.zero_()
            self.current_search_step.fill_(known.step + 1)
            self.estimate()
            self.expand()
        else:
            self.counter.fill_(known.counter)
            known.stamp = self._stamp()

    def _set(self, rates: list[Rate]) -> None:
        filled = rates + [(1, 1)] * (BRANCHES - len(rates))
        self.rates.copy_(torch.tensor(filled, dtype=torch.int32))
        self.num_rates.fill_(len(rates))
        counter, step = (self._known.counter, self._known.step) if self._known else (0, 0)
        self._known = _Known(self._stamp(), rates, counter, step)

    def _look(self) -> _Known:
        """What the buffers hold; read anew once somebody else has written to one of them."""
        stamp = self._stamp()
        if self._known is None or not stamp or self._known.stamp != stamp:
            count = int(self.num_rates)
            if not 1 <= count <= BRANCHES:
                raise UsageError(f"a convolution with {count} dilations: 1 to {BRANCHES} can be.")
            rates = [(down, right) for down, right in self.rates[:count].tolist()]
            counter = int(self.counter) if self.searches else 0
            step = int(self.current_search_step) if self.searches else 0
            self._known = _Known(stamp, rates, counter, step)
        return self._known

    def _stamp(self) -> tuple[int, ...]:
        """Changes with every write to a buffer, and when one is replaced; empty: nobody knows."""
        buffers = [*self.buffers(recurse=False)]
        if any(buffer.is_inference() for buffer in buffers):
            return ()
        return tuple(number for buffer in buffers for number in (id(buffer), buffer._version))


class RFConvNeXt(ConvNeXt):
    """A ConvNeXt with `RFConv2d` for its depthwise convolutions.

    Args:
        name: One of `MODES`. A `search` starts with the dilations 1 and 2; `single` and `multiple`
            take those of a search (`take_rates`), `merge` those of a trained `multiple`
            (`take_rates`, its weights, then `merge`).
    """

    def __init__(self, name: str) -> None:
        if name not in MODES:
            raise UsageError(f"there is no RF-ConvNeXt {name!r}: choose one of {', '.join(MODES)}.")
        self.mode = MODES[name]
        searches = self.mode == "search"
        super().__init__("convnext_tiny", lambda channels: RFConv2d(channels, searches))
        self.name = name

    @property
    def convolutions(self) -> dict[str, RFConv2d]:
        """The convolutions with branches, by name."""
        return {name: part for name, part in self.named_modules() if isinstance(part, RFConv2d)}

    def set_interval(self, passes: int) -> None:
        """Says after how many forward passes in training a search takes its next step."""
        for convolution in self.convolutions.values():
            convolution.interval = passes

    @torch.no_grad()
    def take_rates(self, state: Mapping[str, Tensor]) -> None:
        """Takes the dilations of another network: of a search, or of `multiple` to be merged.

        Args:
            state: Its weights, by the names that they have in this backbone.

        Raises:
            UsageError: It has none, or this network searches for its own.
        """
        if self.mode == "search":
            raise UsageError(f"{self.name} searches for its own dilations: it takes none.")
        for name, convolution in self.convolutions.items():
            for what in ("sample_weights", "rates", "num_rates"):
                value = state.get(f"{name}.{what}")
                if value is None or value.shape != getattr(convolution, what).shape:
                    raise UsageError(f"no {name}.{what}, so these are no weights of RF-ConvNeXt.")
                getattr(convolution, what).copy_(value)
            self._settle(convolution)

    def _settle(self, convolution: RFConv2d) -> None:
        if self.mode != "merge":
            convolution.estimate()
            convolution.wide = max(convolution.dilations[0]) > 1
        if self.mode == "multiple":
            convolution.expand()
        if self.mode == "single":
            convolution.sample_weights.requires_grad_(False)

    def merge(self) -> None:
        """Merges all branches (`RFConv2d.merge`); then only kernels above 13 are trained."""
        self.requires_grad_(False)
        for convolution in self.convolutions.values():
            convolution.merge()
            if convolution.wide:
                convolution.weight.requires_grad_(True)
                cast(nn.Parameter, convolution.bias).requires_grad_(True)

    def set_kernels(self, state: Mapping[str, Tensor]) -> None:
        """Makes room for the kernels of a merged network, whose sizes its weights tell."""
        for name, convolution in self.convolutions.items():
            kernel = state.get(f"{name}.weight")
            if kernel is not None and kernel.shape[2:] != convolution.weight.shape[2:]:
                convolution.set_kernel(kernel.shape[2:])

    def second_group(self) -> list[nn.Parameter]:
        """What has a rate and a layer decay of its own: the branches' weights, and wide kernels."""
        found: list[nn.Parameter] = []
        for convolution in self.convolutions.values():
            found.append(convolution.sample_weights)
            if convolution.wide:
                found += cast(list[nn.Parameter], [convolution.weight, convolution.bias])
        return found
