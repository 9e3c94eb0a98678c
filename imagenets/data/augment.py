"""Augmentation of whole batches: draw the parameters, then apply them, on any device.

`draw` makes the parameters of all views of a batch from one generator; `apply` is a function of
images and parameters alone, so crops can be stored, inspected and replayed. Recipe and numbers:
PASS (Gao et al., arXiv:2106.03149), which follows SwAV (Caron et al., arXiv:2006.09882).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
TRIES = 10
"""How often a crop is drawn before the central one is taken."""

# how the four colour operations are numbered in `Params.order` and `Params.factors`
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


@dataclass(frozen=True, slots=True)
class ViewGroup:
    """How the views of one size are drawn; the defaults are the recipe of PASS.

    Attributes:
        views: Number of views.
        size: Side of the square output, pixels.
        scale: Range of the crop's share of the image area.
        ratio: Range of width / height, uniform in the logarithm.
        flip: Probability of a horizontal flip.
        jitter: Largest change of brightness, contrast, saturation (factors) and hue (turns).
        jitter_probability: Of all four colour operations together.
        grey: Probability of greyscale.
        blur: Probability of a Gaussian blur.
        sigma: Range of its standard deviation, output pixels.
    """

    views: int = 2
    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    jitter_probability: float = 0.8
    grey: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of V views of N images; the first two dimensions are always V x N.

    Attributes:
        boxes: int64 x 4, crop as left, top, width, height in image pixels.
        flips: bool.
        jitters: bool, whether the colour operations are applied.
        factors: float32 x 4, brightness, contrast, saturation factor, hue shift in turns.
        order: int64 x 4, which operation comes first, second, ...
        greys: bool.
        sigmas: float32, 0 = no blur.
    """

    boxes: Tensor
    flips: Tensor
    jitters: Tensor
    factors: Tensor
    order: Tensor
    greys: Tensor
    sigmas: Tensor


def draw(sizes: Tensor, group: ViewGroup, generator: torch.Generator) -> Params:
    """Draws the parameters of all views of a batch.

    Args:
        sizes: N x 2 int64, width and height of each image.
        group: What to draw.
        generator: On the CPU; the same state gives the same parameters.

    Returns:
        Parameters of V x N views, on the CPU.
    """
    shape = (group.views, len(sizes))

    def uniform(*more: int) -> Tensor:
        return torch.rand(*shape, *more, generator=generator)

    spread = torch.tensor(group.jitter)
    centre = torch.tensor([1.0, 1.0, 1.0, 0.0])
    low = torch.where(centre > 0, (centre - spread).clamp(min=0), -spread)
    high = centre + spread
    low_sigma, high_sigma = group.sigma
    sigmas = low_sigma + (high_sigma - low_sigma) * uniform()
    return Params(
        boxes=draw_boxes(sizes, group, generator),
        flips=uniform() < group.flip,
        jitters=uniform() < group.jitter_probability,
        factors=low + (high - low) * uniform(4),
        order=uniform(4).argsort(-1),
        greys=uniform() < group.grey,
        sigmas=torch.where(uniform() < group.blur, sigmas, 0.0),
    )


def draw_boxes(sizes: Tensor, group: ViewGroup, generator: torch.Generator) -> Tensor:
    """Draws RandomResizedCrop boxes, all tries at once; the first that fits counts.

    Args:
        sizes: N x 2 int64, width and height.
        group: Gives views, scale and ratio.
        generator: On the CPU.

    Returns:
        V x N x 4 int64: left, top, width, height.
    """
    shape = (group.views, len(sizes), TRIES)
    whole = sizes.double()
    area = (whole[:, 0] * whole[:, 1])[:, None]
    share = torch.empty(shape, dtype=torch.float64).uniform_(*group.scale, generator=generator)
    low, high = (math.log(r) for r in group.ratio)
    ratio = torch.empty(shape, dtype=torch.float64).uniform_(low, high, generator=generator).exp()
    width = (area * share * ratio).sqrt().round()
    height = (area * share / ratio).sqrt().round()
    fits = (width > 0) & (height > 0) & (width <= whole[:, :1]) & (height <= whole[:, 1:])
    first = fits.to(torch.uint8).argmax(-1, keepdim=True)
    drawn = torch.cat([width.gather(-1, first), height.gather(-1, first)], -1)
    size = torch.where(fits.any(-1, keepdim=True), drawn, _central(whole, group.ratio))
    room = whole - size
    place = torch.rand(*shape[:2], 2, generator=generator, dtype=torch.float64)
    corner = torch.where(fits.any(-1, keepdim=True), (place * (room + 1)).floor(), room // 2)
    return torch.cat([corner, size], -1).long()


def _central(whole: Tensor, ratio: tuple[float, float]) -> Tensor:
    """The largest width and height of an allowed ratio, N x 2."""
    width, height = whole.unbind(-1)
    narrow = torch.minimum(width, (height * ratio[1]).round())
    low = torch.minimum(height, (width / ratio[0]).round())
    return torch.stack([narrow, low], -1)


def apply(
    images: Sequence[Tensor],
    params: Params,
    size: int,
    device: torch.device | str = "cpu",
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
) -> Tensor:
    """Cuts and changes all views of a batch: a deterministic function of its arguments.

    Args:
        images: N uint8 tensors 3 x H x W.
        params: Of V x N views.
        size: Side of the output, pixels.
        device: Where the views are made.
        mean: Subtracted from each channel after scaling to [0, 1].
        std: Divided by.

    Returns:
        V x N x 3 x size x size float32, normalised.
    """
    crops = [
        resize_crop(image.to(device, non_blocking=True), box, size)
        for boxes in params.boxes.tolist()
        for image, box in zip(images, boxes, strict=True)
    ]
    x = torch.stack(crops).float().div_(255)

    def flat(values: Tensor) -> Tensor:
        return values.flatten(0, 1).to(device)

    flips = flat(params.flips)[:, None, None, None]
    x = torch.where(flips, x.flip(-1), x)
    x = jitter(x, flat(params.jitters), flat(params.factors), flat(params.order))
    x = torch.where(flat(params.greys)[:, None, None, None], _luma(x), x)
    x = blur(x, flat(params.sigmas))
    views: Tensor = normalise(x, mean, std).unflatten(0, params.flips.shape)
    return views


def resize_crop(image: Tensor, box: Sequence[int], size: int) -> Tensor:
    """Cuts left, top, width, height out of a uint8 image and resizes it, antialiased bilinear."""
    left, top, width, height = box
    crop = image[None, :, top : top + height, left : left + width]
    return F.interpolate(crop, (size, size), mode="bilinear", antialias=True)[0]


def label_crop(labels: Tensor, box: Sequence[int], flip: bool, size: int) -> Tensor:
    """Cuts the same box out of an H x W label map and resizes it, nearest pixel centre."""
    left, top, width, height = box
    crop = labels[None, None, top : top + height, left : left + width]
    resized = F.interpolate(crop.double(), (size, size), mode="nearest-exact")[0, 0]
    resized = resized.to(labels.dtype)
    return resized.flip(-1) if flip else resized


def normalise(
    x: Tensor, mean: tuple[float, float, float] = MEAN, std: tuple[float, float, float] = STD
) -> Tensor:
    """Subtracts the mean and divides by the deviation of each channel of B x 3 x H x W."""
    centre = torch.tensor(mean, device=x.device)[:, None, None]
    return (x - centre) / torch.tensor(std, device=x.device)[:, None, None]


def short_side(image: Tensor, side: int) -> Tensor:
    """Resizes a uint8 3 x H x W image so that its short side has `side` pixels, antialiased."""
    height, width = image.shape[1:]
    short = min(height, width)
    target = (max(1, height * side // short), max(1, width * side // short))
    if target == (height, width):
        return image
    return F.interpolate(image[None], target, mode="bilinear", antialias=True)[0]


def centre_crop(image: Tensor, size: int) -> Tensor:
    """Cuts the middle size x size pixels out of a 3 x H x W image at least as large."""
    top, left = ((side - size + 1) // 2 for side in image.shape[1:])
    return image[:, top : top + size, left : left + size]


def _luma(x: Tensor) -> Tensor:
    """Grey of B x 3 x H x W images, as three equal channels (ITU-R 601, as Pillow's `L`)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device)[:, None, None]
    return (x * weights).sum(1, keepdim=True).expand_as(x)


def jitter(x: Tensor, on: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Changes brightness, contrast, saturation and hue of each image in its own order.

    Args:
        x: B x 3 x H x W in 0..1.
        on: B bool, which images to change.
        factors: B x 4, see `Params`.
        order: B x 4, see `Params`.
    """
    x = x.clone()
    for step in range(4):
        for operation in range(4):
            rows = (on & (order[:, step] == operation)).nonzero()[:, 0]
            if len(rows):
                x[rows] = _colour(x[rows], operation, factors[rows, operation])
    return x


def _colour(x: Tensor, operation: int, factor: Tensor) -> Tensor:
    factor = factor[:, None, None, None]
    if operation == HUE:
        return _shift_hue(x, factor[:, 0])
    if operation == BRIGHTNESS:
        return (x * factor).clamp_(0, 1)
    grey = _luma(x)
    if operation == CONTRAST:
        grey = grey.mean((1, 2, 3), keepdim=True)
    return torch.lerp(grey, x, factor).clamp_(0, 1)


def _shift_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Turns the hue of B x 3 x H x W images by B x 1 x 1 turns, value and saturation kept."""
    value, low = x.amax(1), x.amin(1)
    chroma = value - low
    red, green, blue = x.unbind(1)
    safe = chroma.clamp(min=1e-12)
    hue = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue + 6 * turns
    # each channel is a trapezoid of the hue (Smith 1978): value - chroma * clamp(...)
    channels = []
    for offset in (5, 3, 1):
        k = (offset + hue) % 6
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(channels, 1)


def blur(x: Tensor, sigmas: Tensor) -> Tensor:
    """Blurs each image with its own Gaussian, borders replicated.

    Args:
        x: B x 3 x H x W.
        sigmas: B, pixels; 0 leaves an image as it is.
    """
    rows = (sigmas > 0).nonzero()[:, 0]
    if not len(rows):
        return x
    picked, sigma = x[rows], sigmas[rows]
    radius = math.ceil(3 * float(sigma.max()))
    radius = min(radius, min(picked.shape[2:]) - 1)
    offsets = torch.arange(-radius, radius + 1, device=x.device, dtype=x.dtype)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma[:, None] ** 2), 1)
    kernel = kernel.repeat_interleave(3, 0)[:, None, None]  # one for each image and channel
    planes = picked.flatten(0, 1)[None]
    planes = F.pad(planes, (radius,) * 4, mode="replicate")
    planes = F.conv2d(planes, kernel, groups=len(kernel))
    planes = F.conv2d(planes, kernel.transpose(2, 3), groups=len(kernel))
    out = x.clone()
    out[rows] = planes[0].unflatten(0, (len(rows), 3))
    return out


def grids(params: Params, size: int = 7, views: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor]:
    """Makes the sampling grids of two views: the same image points, seen from each crop.

    Args:
        params: Of V x N views.
        size: Points a side, G.
        views: Which two views.

    Returns:
        q and k, each N x G x G x 2 (x, y) float32 in [-1, 1]; -2 where the crops do not overlap.
    """
    a, b = views
    return overlap_grids(params.boxes[a], params.flips[a], params.boxes[b], params.flips[b], size)


def overlap_grids(
    boxes_q: Tensor, flips_q: Tensor, boxes_k: Tensor, flips_k: Tensor, size: int = 7
) -> tuple[Tensor, Tensor]:
    """Makes the grids of `grids` from N x 4 boxes (left, top, width, height) and N flips."""
    start = torch.maximum(boxes_q[:, :2], boxes_k[:, :2]).float()
    end = torch.minimum(boxes_q[:, :2] + boxes_q[:, 2:], boxes_k[:, :2] + boxes_k[:, 2:]).float()
    steps = torch.linspace(0, 1, size)
    points = start[:, None] + (end - start)[:, None] * steps[:, None]  # N x G x (x, y)
    empty = (end <= start).any(1)
    return _frame(points, boxes_q, flips_q, empty), _frame(points, boxes_k, flips_k, empty)


def _frame(points: Tensor, boxes: Tensor, flips: Tensor, empty: Tensor) -> Tensor:
    """Turns N x G x 2 image coordinates into a crop's own [-1, 1] grid, N x G x G x 2."""
    own = (points - boxes[:, None, :2]) / boxes[:, None, 2:]
    x, y = own.unbind(-1)
    x = torch.where(flips[:, None], 1 - x, x)
    rows, columns = y[:, :, None], x[:, None, :]
    grid = torch.stack(torch.broadcast_tensors(columns, rows), -1) * 2 - 1
    return torch.where(empty[:, None, None, None], -2.0, grid)
