"""How large the tensors are that some code makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Largest(TorchDispatchMode):
    """Notes the largest tensor that anything gives, and how many operations there were.

    Attributes:
        elements: Most elements of a tensor.
        bytes: Most bytes of the memory that a tensor lies in.
        operations: Number of operations.
    """

    elements = 0
    bytes = 0
    operations = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        self.operations += 1
        for value in found if isinstance(found, tuple | list) else (found,):
            if isinstance(value, Tensor):
                self.elements = max(self.elements, value.numel())
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return found
