"""What applies drawn parameters, by name; a new backend is a file and a line here.

`cpu` is compiled loops, shared out among threads. `cuda` is Triton kernels. `plain` is torch alone:
for devices that Triton does not know (MPS, XPU) and for CUDA where it is not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

import torch
from torch import Tensor

from imagenets.data.augment.params import Params
from imagenets.pixels.ragged import RaggedBatch

BACKENDS: Mapping[str, str] = MappingProxyType(
    {
        "cpu": "imagenets.data.augment.backends.cpu:views",
        "cuda": "imagenets.data.augment.backends.cuda:views",
        "plain": "imagenets.data.augment.backends.plain:views",
    }
)
"""Name -> `module:function`; imported when used, for each brings compiled code or a compiler."""


@dataclass(frozen=True)
class Target:
    """How views are handed over.

    Attributes:
        scale: 3 float32 on the CPU, the factor of each channel of bytes.
        bias: 3 float32 on the CPU, added after it.
        dtype: Of the result.
        channels_last: Whether a view lies in memory as S x S x 3.
        threads: Of the CPU.
        out: float32 results of an earlier call, to be written over; on the CPU.
    """

    scale: Tensor
    bias: Tensor
    dtype: torch.dtype = torch.float32
    channels_last: bool = False
    threads: int = 1
    out: Sequence[Tensor] | None = None


Views = Callable[[RaggedBatch | Sequence[Tensor], Sequence[Params], Target], list[Tensor]]
"""(images where the views are made, parameters of each group, target) -> for each group
V x N x 3 x S x S, normalised."""


def choose(device: torch.device) -> str:
    """Name of the backend for a device."""
    if device.type == "cpu":
        return "cpu"
    triton = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return "cuda" if triton else "plain"


def load(name: str) -> Views:
    """Imports a backend."""
    module, _, what = BACKENDS[name].partition(":")
    views: Views = getattr(import_module(module), what)
    return views
