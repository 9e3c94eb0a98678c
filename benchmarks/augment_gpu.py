"""The second table of `augment.py`, where there is a GPU: crops a second from decoded images."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import simplejpeg
import torch
from torch import Tensor

from imagenets.data import augment
from imagenets.data.augment.backends import Target, plain
from imagenets.pixels.ragged import RaggedBatch

ROUNDS, BATCHES = 5, (64, 128, 256)
STD = (0.228, 0.224, 0.225)


def timed(run: Callable[[], Any]) -> float:
    """Milliseconds of one call on the device, the mean of ten after two to warm up."""
    for _ in range(2):
        run()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(10):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 10


def bandwidth() -> float:
    """Bytes read and written a second by a copy on the device."""
    x = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    y = torch.empty_like(x)
    return 2 * x.numel() / timed(lambda: y.copy_(x)) * 1e3


def torchvision_arm(images: list[Tensor], recipe: Any) -> Callable[[], Any]:
    """One call of torchvision v2 for each view: in a batch it would draw one set of parameters."""
    from torchvision.transforms import v2

    chains = [
        v2.Compose(
            [
                v2.RandomResizedCrop(size, (low, high), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], 0.8),
                v2.RandomGrayscale(0.2),
                v2.RandomApply([v2.GaussianBlur(13, (0.1, 2.0))], 0.5),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(augment.MEAN, STD),
            ]
        )
        for _, size, low, high in recipe
    ]

    def run() -> None:
        for (views, *_), chain in zip(recipe, chains, strict=True):
            torch.stack([chain(image) for image in images for _ in range(views)])

    return run


def plain_arm(batch: RaggedBatch, drawn: Any, linear: Any, compiled: bool) -> Callable[[], Any]:
    """Plain torch; compiled, its colours and blur are what the compiler may fuse."""

    def run() -> None:
        eager = plain._turn_hue, plain._colour
        if compiled:
            plain._turn_hue, plain._colour = (torch.compile(f, dynamic=True) for f in eager)
        try:
            plain.views(batch, drawn, Target(*linear, torch.float16, True))
        finally:
            plain._turn_hue, plain._colour = eager

    return run


def gpu_table(files: list[bytes], recipes: Any, kornia_views: Any) -> None:
    """Prints crops a second, the floor of the memory, and the ratio to our kernels."""
    copied = bandwidth()
    print(f"\n{torch.cuda.get_device_name()}, copy {copied / 1e12:.2f} TB/s")
    print("\n| crops | by | batch | crops/s | kernels are faster by |\n|---|---|---:|---:|---:|")
    for name, recipe in recipes.items():
        results: dict[str, tuple[float, int, float]] = {}
        for size in BATCHES:
            for arm, run, floor in arms(files, size, recipe, kornia_views):
                crops = size * sum(views for views, *_ in recipe)
                rate = statistics.median(crops / timed(run) * 1e3 for _ in range(ROUNDS))
                held = rate, size, floor / copied * rate / crops
                results[arm] = max(results.get(arm, (0.0, 0, 0.0)), held)
        ours = results["kernels"]
        for arm, (rate, size, _) in results.items():
            print(f"| {name} | {arm} | {size} | {rate:.0f} | {ours[0] / rate:.1f} |")
        print(f"\n{name}: the kernels reach {100 * ours[2]:.0f} % of the memory's floor\n")


def arms(files: list[bytes], size: int, recipe: Any, kornia_views: Any) -> Any:
    """Name, call and least bytes of each way to make the views of one batch."""
    arrays = [simplejpeg.decode_jpeg(files[i % len(files)], "RGB") for i in range(size)]
    images = [torch.from_numpy(array).permute(2, 0, 1).cuda() for array in arrays]
    batch = RaggedBatch.from_images(images)
    groups = [augment.ViewGroup(v, side, (low, high)) for v, side, low, high in recipe]
    drawn = augment.draw_groups(batch.sizes, groups, torch.Generator().manual_seed(0))
    written = sum(v * size * 3 * side * side * 2 for v, side, *_ in recipe)
    options = {"std": STD, "dtype": torch.float16, "channels_last": True}
    std = torch.tensor(STD)
    linear = 1 / (255 * std), -torch.tensor(augment.MEAN) / std
    floor = batch.data.numel() + written
    yield "kernels", lambda: augment.apply_groups(batch, drawn, "cuda", **options), floor
    yield "plain torch", plain_arm(batch, drawn, linear, False), floor
    yield "plain torch, compiled colours", plain_arm(batch, drawn, linear, True), floor
    for name, make in (
        ("kornia", lambda: partial(kornia_views(recipe, "cuda"), images)),
        ("torchvision v2, looped", lambda: torchvision_arm(images, recipe)),
    ):
        try:
            yield name, make(), floor
        except ImportError as error:
            print(f"{name} is left out: {error}")
