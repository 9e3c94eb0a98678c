"""Cross entropy of upsampled logits that never holds the upsampled logits of a whole batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from imagenets.errors import UsageError

MEMORY = 2**30
"""Bytes that a slice takes at most on a GPU."""

CACHED = 2**22
"""The same on the CPU, where a slice that stays in the processor's cache is faster."""

_COPIES = 2
"""Maps of the upsampled size that are held at once: the logits and their log-softmax."""

_LEAST = 16
"""Floats of the widest vector of a CPU."""

_FAR = 60.0
"""Below the largest logit by so much, a class has a probability of 1e-26: taken for that of all
that are further. Smaller ones soon have too few digits for the processor, which then takes a
hundred times as long."""


def upsampled_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = -100,
    total: Tensor | float | None = None,
    memory: int | None = None,
) -> Tensor:
    """Mean cross entropy of bilinearly upsampled logits, computed over slices of the batch.

    The same as `cross_entropy(interpolate(logits.float(), size), labels)` (bilinear,
    align_corners=False), and the same gradient: each slice is taken back to its own small logits
    at once, and what slices of one image give is summed. The whole would need several tensors of
    N x C x H x W: for 256 images, 920 classes and 112 x 112 pixels 11.8 GB each, and more elements
    than CUDA kernels index.

    Args:
        logits: N x C x h x w, any float dtype, finite; the loss is computed in float32.
        labels: N x H x W int64 ids below C, or `ignore_index`.
        ignore_index: The label of pixels that do not count.
        total: What the sum over pixels is divided by; by default the number of pixels that count.
            Given where a batch is taken in parts, or shared out among ranks.
        memory: Bytes that a slice takes at most: 1 GiB, on the CPU 4 MiB (`MEMORY`, `CACHED`); one
            row of pixels at least.

    Returns:
        Scalar float32. Zero, with a gradient of zeros, where no pixel counts.

    Raises:
        UsageError: A label is not below C, nor `ignore_index`; on a GPU, which is not asked, the
            device fails instead.
    """
    if logits.device.type == "cpu":
        _check(labels, logits.shape[1], ignore_index)
    if total is None:
        total = (labels != ignore_index).sum().clamp_(min=1)
    if memory is None:
        memory = CACHED if logits.device.type == "cpu" else MEMORY
    # torch has no types for `apply`
    summed: Tensor = _Summed.apply(logits, labels, ignore_index, memory)  # type: ignore[no-untyped-call]
    return summed / total


def _check(labels: Tensor, classes: int, ignore_index: int) -> None:
    """Raises UsageError where a label has no class."""
    low, high = labels.masked_fill(labels == ignore_index, 0).aminmax()
    if low < 0 or high >= classes:
        raise UsageError(
            f"labels are 0 to {classes - 1} or {ignore_index}, which does not count; found "
            f"{int(low)} to {int(high)}."
        )


def slices(shape: tuple[int, int, int, int], memory: int) -> Iterator[tuple[slice, slice]]:
    """Cuts N x C x H x W logits into parts that stay within a memory budget.

    Args:
        shape: N, C, H, W.
        memory: Bytes that a part takes at most; one row of pixels at least.

    Yields:
        Images and rows of each part: whole images, or some rows of one.
    """
    images, classes, height, width = shape
    rows = max(1, memory // (_COPIES * 4 * classes * width))
    count, rows = max(1, rows // height), min(rows, height)
    for start in range(0, images, count):
        for top in range(0, height, rows):
            yield slice(start, min(start + count, images)), slice(top, min(top + rows, height))


class _Summed(torch.autograd.Function):
    """The sum over all pixels; its gradient is made on the way forward and kept in float32."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, ignore_index: int, memory: int) -> Tensor:
        images, classes, height, width = logits.shape
        large = labels.shape[1], labels.shape[2]
        # float32 within autocast, as for the loss of the whole
        with torch.autocast(logits.device.type, enabled=False):
            down = _weights(height, large[0], logits.device)
            right = _weights(width, large[1], logits.device)
            small = _padded(logits.float().permute(0, 2, 3, 1)).contiguous()
            classes = small.shape[3]
            gradient = torch.zeros_like(small) if ctx.needs_input_grad[0] else None
            found = torch.zeros((), device=logits.device)
            for part, rows in slices((images, classes, *large), memory):
                into = None if gradient is None else gradient[part]
                axes = down[rows], right
                found += _slice(small[part], labels[part, rows], axes, ignore_index, into)
        if gradient is not None:
            ctx.save_for_backward(gradient[..., : logits.shape[1]])
            ctx.dtype = logits.dtype
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * outer).to(ctx.dtype).permute(0, 3, 1, 2), None, None, None


def _padded(logits: Tensor) -> Tensor:
    """Logits with `_LEAST` classes at least: torch's softmax over fewer takes ten times as long.

    Those that are added have no probability to speak of.
    """
    lacking = _LEAST - logits.shape[3]
    if logits.device.type != "cpu" or lacking <= 0:
        return logits
    nothing = logits.amin() - _FAR
    return torch.cat([logits, nothing.expand(*logits.shape[:3], lacking)], 3)


def _weights(small: int, large: int, device: torch.device) -> Tensor:
    """Bilinear upsampling along one axis as a matrix, large x small; torch's own weights."""
    units = torch.eye(small, device=device)[None]
    return F.interpolate(units, large, mode="linear", align_corners=False)[0].t().contiguous()


def _slice(
    small: Tensor,
    labels: Tensor,
    axes: tuple[Tensor, Tensor],
    ignore_index: int,
    gradient: Tensor | None,
) -> Tensor:
    """Sums the loss of some rows of some images; adds to the gradient of their small logits.

    Args:
        small: n x h x w x C.
        labels: n x H x W, H rows of the large images.
        axes: Upsampling of these rows, H x h, and of columns, W x w.
        ignore_index: The label of pixels that do not count.
        gradient: n x h x w x C, or None.
    """
    down, right = axes
    count, height, width, classes = small.shape
    stretched = down @ small.view(count, height, width * classes)
    large = right @ stretched.view(count, -1, width, classes)
    ignored = (labels == ignore_index)[..., None]
    at = labels[..., None].masked_fill(ignored, 0)
    logs = F.log_softmax(large, 3)
    found = logs.gather(3, at).masked_fill_(ignored, 0).sum()
    if gradient is not None:
        slope = torch.exp(logs.clamp_(min=-_FAR), out=large)  # softmax, less one at the label
        slope.scatter_add_(3, at, torch.full_like(at, -1, dtype=slope.dtype))
        if slope.device.type != "cpu" or bool(ignored.any()):  # a GPU is not asked
            slope.masked_fill_(ignored, 0)
        narrow = right.t() @ slope
        gradient += (down.t() @ narrow.view(count, -1, width * classes)).view_as(gradient)
    return -found
