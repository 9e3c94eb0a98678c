"""What is refused before views are made: compiled code and kernels take all of it at its word."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imagenets.data.augment.backends import Target
from imagenets.data.augment.params import Params
from imagenets.errors import UsageError
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import check_box

WIDEST = 1000.0
"""Largest sigma of a blur, output pixels."""

FIELDS: dict[str, tuple[tuple[torch.dtype, ...], tuple[int, ...]]] = {
    "boxes": ((torch.int64,), (4,)),
    "flips": ((torch.bool,), ()),
    "jitters": ((torch.bool,), ()),
    "factors": ((torch.float32,), (4,)),
    "order": ((torch.int64,), (4,)),
    "greys": ((torch.bool,), ()),
    "solarises": ((torch.bool,), ()),
    "sigmas": ((torch.float32,), ()),
}
"""Types, and shape after V x N, of each parameter of a view."""


def check_params(params: Params, sizes: Tensor) -> None:
    """Refuses parameters that do not fit the images: kernels would read what lies beside them.

    Args:
        params: Of V x N views.
        sizes: N x 2, width and height of the images.

    Raises:
        UsageError: They are of another number of images, have the wrong shapes or types, or a box
            is not inside its image.
    """
    views, count = params.flips.shape
    if count != len(sizes):
        raise UsageError(f"parameters of {count} images, but {len(sizes)} were given.")
    for name, (kind, more) in FIELDS.items():
        value: Tensor = getattr(params, name)
        if value.shape != (views, count, *more) or value.dtype not in kind or value.is_cuda:
            raise UsageError(
                f"the parameter {name} must be {kind[0]} of {(views, count, *more)} on the CPU, "
                f"not {value.dtype} of {tuple(value.shape)} on {value.device}."
            )
    if params.size < 1:
        raise UsageError(f"the size of the views is {params.size}: at least 1 pixel is needed.")
    sound = params.factors.isfinite().all() and ((params.order >= 0) & (params.order < 4)).all()
    if not sound or not ((params.sigmas >= 0) & (params.sigmas <= WIDEST)).all():
        raise UsageError(
            "the parameters hold factors that are not finite, an order other than 0 to 3, or "
            f"sigmas outside 0 to {WIDEST:.0f}."
        )
    begin, extent = params.boxes[..., :2], params.boxes[..., 2:]
    wrong = ((begin < 0) | (extent < 1) | (extent > sizes - begin)).any(-1)  # no sum overflows
    if bool(wrong.any()):
        view, image = wrong.nonzero()[0].tolist()
        check_box(params.boxes[view, image].tolist(), *sizes[image].tolist())


def check_images(images: RaggedBatch | Sequence[Tensor]) -> Tensor:
    """Width and height of N images, N x 2.

    Raises:
        UsageError: There are none, or they are no uint8 images of three channels.
    """
    if not len(images):
        raise UsageError("there are no images: give at least one.")
    if isinstance(images, RaggedBatch):
        images.check()
        if images.data.dtype != torch.uint8 or images.channels != 3:
            raise UsageError("the images must be uint8 with 3 channels.")
        return images.sizes
    for image in images:
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
            raise UsageError(
                f"images must be uint8, 3 x H x W, not {image.dtype} of {tuple(image.shape)}."
            )
    return torch.tensor([[image.shape[2], image.shape[1]] for image in images])


def check_target(target: Target, groups: Sequence[Params], device: torch.device) -> None:
    """Refuses room for results that they do not fit into.

    Args:
        target: How views are to be handed over.
        groups: Parameters of V x N views each.
        device: Where they are made.

    Raises:
        UsageError: With the room that is needed.
    """
    if target.threads < 1:
        raise UsageError(f"threads is {target.threads}: at least 1 is needed.")
    if target.out is None:
        return
    if device.type != "cpu" or len(target.out) != len(groups):
        raise UsageError(
            f"out holds {len(target.out)} tensors for {len(groups)} groups on {device}: give one "
            "for each, and only where views are made on the CPU."
        )
    for params, out in zip(groups, target.out, strict=True):
        shape = (*params.flips.shape, 3, params.size, params.size)
        stored = out.permute(0, 1, 3, 4, 2) if target.channels_last and out.ndim == 5 else out
        fits = out.shape == shape and stored.is_contiguous()
        if not fits or out.dtype != torch.float32 or out.device.type != "cpu":
            raise UsageError(
                f"out must hold float32 of {shape} as an earlier call with the same groups and "
                f"channels_last={target.channels_last} returned it, not {out.dtype} of "
                f"{tuple(out.shape)}."
            )
