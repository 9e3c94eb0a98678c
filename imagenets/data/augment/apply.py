"""Making the views that were drawn: a deterministic function of images and parameters."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from imagenets.core.pool import available_cpus
from imagenets.data.augment import backends
from imagenets.data.augment.backends import Target
from imagenets.data.augment.checks import check_images, check_params, check_target
from imagenets.data.augment.evaluation import MEAN, STD
from imagenets.data.augment.params import Params
from imagenets.errors import UsageError
from imagenets.pixels.ragged import RaggedBatch
from imagenets.pixels.resample import nearest_crop_into

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
        UsageError: Images, parameters or `out` have other shapes or types, or a box is not inside
            its image.
    """
    device = torch.device(device)
    if isinstance(images, Tensor):
        images = list(images)
    sizes = check_images(images)
    for params in groups:
        check_params(params, sizes)
    threads = threads or available_cpus()
    target = Target(*_linear(mean, std), dtype, channels_last, threads, out)
    check_target(target, groups, device)
    if device.type != "cpu":
        images = _ragged(images).to(device, non_blocking=True)
    return backends.load(backends.choose(device))(images, groups, target)


def _linear(mean: Color, std: Color) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel that turn bytes into normalised floats."""
    if len(mean) != 3 or len(std) != 3 or 0 in std:
        raise UsageError(f"mean {mean} and std {std} must be 3 numbers, those of std not 0.")
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

    Raises:
        UsageError: Maps or parameters have other shapes or types, or a box is not inside its map.
    """
    if isinstance(masks, RaggedBatch):
        masks.check()
    maps = list(masks)
    if not maps or any(labels.ndim != 2 for labels in maps):
        raise UsageError("give at least one label map, each H x W.")
    check_params(params, torch.tensor([[m.shape[1], m.shape[0]] for m in maps]))
    out = torch.empty(*params.flips.shape, params.size, params.size, dtype=maps[0].dtype)
    for view, (boxes, flips) in enumerate(
        zip(params.boxes.tolist(), params.flips.tolist(), strict=True)
    ):
        for index, (labels, box, flip) in enumerate(zip(maps, boxes, flips, strict=True)):
            nearest_crop_into(labels.numpy(), tuple(box), flip, out[view, index].numpy())
    return out
