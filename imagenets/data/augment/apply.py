"""Making the views that were drawn: a deterministic function of images and parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imagenets.core.pool import available_cpus
from imagenets.data.augment import backends
from imagenets.data.augment.backends import Target
from imagenets.data.augment.evaluation import MEAN, STD
from imagenets.data.augment.params import Params
from imagenets.errors import UsageError
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import check_box, nearest_crop_into

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

Color = tuple[float, float, float]
"""A number for each of R, G, B."""

Images = RaggedBatch | Sequence[Tensor] | Tensor
"""A ragged batch, N tensors 3 x H x W, or one tensor N x 3 x H x W; uint8."""


def apply(
    images: Images,
    params: Params,
    device: torch.device | str = "cpu",
    mean: Color = MEAN,
    std: Color = STD,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    threads: int | None = None,
) -> Tensor:
    """Makes the views of one group; see `apply_groups` for the arguments.

    Returns:
        V x N x 3 x S x S, normalised.
    """
    groups = apply_groups(images, [params], device, mean, std, dtype, channels_last, threads)
    return groups[0]


def apply_groups(
    images: Images,
    groups: Sequence[Params],
    device: torch.device | str = "cpu",
    mean: Color = MEAN,
    std: Color = STD,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    threads: int | None = None,
    out: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Makes the views of several groups of one batch.

    Between any two operations values are bytes, as in the recipe that works on Pillow images:
    crop, flip, colours, grey, solarise, blur, and only then [0, 1] and normalising. On the CPU
    all but the blur equal Pillow bit by bit; a device is within 1 of 255 of that, and waits for
    nothing: neither this call nor what it starts asks the device for a number.

    Args:
        images: N images of one batch; on the CPU, or already on the device.
        groups: Parameters of V x N views each.
        device: Where the views are made.
        mean: Subtracted from each channel after scaling to [0, 1].
        std: Divided by.
        dtype: Of the result.
        channels_last: Whether a view lies in memory as S x S x 3.
        threads: Of the CPU; by default as many as it may use.
        out: float32 results of an earlier call on the CPU with as many images and the same
            groups and format, to be written over: fresh memory costs as much as resampling.

    Returns:
        For each group V x N x 3 x S x S, normalised.

    Raises:
        UsageError: Images or parameters have other shapes or types, or a box is not inside its
            image.
    """
    device = torch.device(device)
    if isinstance(images, Tensor):
        images = list(images)
    sizes = _check_images(images)
    for params in groups:
        check_params(params, sizes)
    target = Target(*_linear(mean, std), dtype, channels_last, threads or available_cpus(), out)
    if device.type != "cpu":
        images = _ragged(images).to(device, non_blocking=True)
    return backends.load(backends.choose(device))(images, groups, target)


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


def _check_images(images: RaggedBatch | Sequence[Tensor]) -> Tensor:
    """Width and height of N images, N x 2.

    Raises:
        UsageError: They are no uint8 images of three channels.
    """
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
    return torch.tensor([[image.shape[2], image.shape[1]] for image in images]).reshape(-1, 2)


def _linear(mean: Color, std: Color) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel that turn bytes into normalised floats."""
    scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
    bias = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
    return scale.float(), bias.float()


def _ragged(images: RaggedBatch | Sequence[Tensor]) -> RaggedBatch:
    return images if isinstance(images, RaggedBatch) else RaggedBatch.from_images(list(images))


def apply_labels(masks: RaggedBatch | Sequence[Tensor], params: Params) -> Tensor:
    """Cuts the boxes of the views out of label maps, nearest pixel centre, on the CPU.

    Args:
        masks: N maps H x W, int16 or int64.
        params: Of V x N views of the images that the maps belong to.

    Returns:
        V x N x S x S of the same type, equal to Pillow's nearest.
    """
    sizes = torch.tensor([[m.shape[1], m.shape[0]] for m in masks], dtype=torch.int64)
    check_params(params, sizes)
    maps = [
        masks.image(i) if isinstance(masks, RaggedBatch) else masks[i] for i in range(len(masks))
    ]
    out = torch.empty(*params.flips.shape, params.size, params.size, dtype=maps[0].dtype)
    for view, (boxes, flips) in enumerate(
        zip(params.boxes.tolist(), params.flips.tolist(), strict=True)
    ):
        for index, (labels, box, flip) in enumerate(zip(maps, boxes, flips, strict=True)):
            nearest_crop_into(labels.numpy(), tuple(box), flip, out[view, index].numpy())
    return out
