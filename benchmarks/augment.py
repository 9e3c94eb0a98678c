"""From JPEG bytes to normalised crops: this package, the published recipe in Pillow, kornia.

    python benchmarks/augment.py --photos FOLDER [--cores 2] [--rounds 5] [--rivals FOLDER]

Each round measures every arm once, one after the other; ratios are taken within a round. kornia
lives in an environment of its own under `--rivals`, made on first use. Where there is a GPU, a
second table compares the kernels with plain torch (also compiled), kornia, torchvision v2 looped
over the samples, and the floor set by the memory.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from as_json import Figures, told
from PIL import Image, ImageEnhance, ImageFilter
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

# name -> (views, size, least scale, greatest scale) of each group
RECIPES = {
    "2 x 224 + 6 x 96": ((2, 224, 0.14, 1.0), (6, 96, 0.05, 0.14)),
    "2 x 224": ((2, 224, 0.08, 1.0),),
}
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.228, 0.224, 0.225])[:, None, None]
BATCH = 32
Recipe = tuple[tuple[int, int, float, float], ...]


def read(folder: Path | None, count: int) -> list[bytes]:
    """The first JPEG files of a folder, or generated pictures."""
    if folder:
        paths = (p for p in sorted(folder.iterdir()) if p.suffix.lower() in (".jpg", ".jpeg"))
        return [path.read_bytes() for path in paths][:count]
    from imagenets.data.raw import synthetic_images as drawing

    files = []
    for seed in range(count):
        held = io.BytesIO()
        picture = drawing.draw(np.random.default_rng(seed), seed % len(drawing.CATEGORIES)).rgb
        Image.fromarray(picture).resize((500, 375)).save(held, "JPEG", quality=90)
        files.append(held.getvalue())
    return files


# --- the published recipe, one view at a time


def pillow_crop(image: Image.Image, size: int, low: float, high: float) -> Image.Image:
    """RandomResizedCrop: ten tries, then the central crop."""
    width, height = image.size
    for _ in range(10):
        area = width * height * random.uniform(low, high)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            break
    else:
        w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
        left, top = (width - w) // 2, (height - h) // 2
    crop = image.crop((left, top, left + w, top + h))
    return crop.resize((size, size), Image.Resampling.BILINEAR)


def pillow_hue(image: Image.Image, turns: float) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    shifted = np.array(hue, dtype=np.uint8)
    shifted += np.uint8(int(turns * 255) % 256)
    return Image.merge("HSV", (Image.fromarray(shifted), saturation, value)).convert("RGB")


def pillow_jitter(image: Image.Image) -> Image.Image:
    changes: list[Callable[[Image.Image], Image.Image]] = [
        lambda x: ImageEnhance.Brightness(x).enhance(random.uniform(0.2, 1.8)),
        lambda x: ImageEnhance.Contrast(x).enhance(random.uniform(0.2, 1.8)),
        lambda x: ImageEnhance.Color(x).enhance(random.uniform(0.2, 1.8)),
        lambda x: pillow_hue(x, random.uniform(-0.2, 0.2)),
    ]
    random.shuffle(changes)
    for change in changes:
        image = change(image)
    return image


def pillow_view(image: Image.Image, size: int, low: float, high: float) -> Tensor:
    view = pillow_crop(image, size, low, high)
    if random.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if random.random() < 0.8:
        view = pillow_jitter(view)
    if random.random() < 0.2:
        view = view.convert("L").convert("RGB")
    if random.random() < 0.5:
        view = view.filter(ImageFilter.GaussianBlur(random.uniform(0.1, 2.0)))
    x = torch.from_numpy(np.array(view)).permute(2, 0, 1).contiguous().float().div(255)
    return x.sub_(MEAN).div_(STD)


class PillowViews(Dataset[list[Tensor]]):
    """All views of one image, as the published loader makes them."""

    def __init__(self, files: list[bytes], recipe: Recipe) -> None:
        self.files, self.recipe = files, recipe

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> list[Tensor]:
        image = Image.open(io.BytesIO(self.files[index])).convert("RGB")
        return [
            pillow_view(image, size, low, high)
            for views, size, low, high in self.recipe
            for _ in range(views)
        ]


def pillow_arm(files: list[bytes], recipe: Recipe, cores: int) -> Callable[[], Any]:
    loader = DataLoader(
        PillowViews(files, recipe), BATCH, num_workers=cores, persistent_workers=True
    )
    return lambda: [None for _ in loader]


# --- this package


def decode(file: bytes, out: np.ndarray | None = None) -> np.ndarray:
    import simplejpeg

    return simplejpeg.decode_jpeg(file, "RGB", fastdct=True, fastupsample=True, buffer=out)


def batches(files: list[bytes], cores: int) -> Iterator[list[Tensor]]:
    """Decoded images, 3 x H x W, one by one: what kornia takes."""
    with ThreadPoolExecutor(cores) as pool:
        for start in range(0, len(files), BATCH):
            arrays = pool.map(decode, files[start : start + BATCH])
            yield [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]


def ragged(files: list[bytes], buffer: np.ndarray, pool: ThreadPoolExecutor) -> Callable[[], Any]:
    """Starts to decode a batch into one flat buffer that is used again, as a loader would."""
    import simplejpeg

    from imagenets.pixels.ragged import RaggedBatch

    shapes = [simplejpeg.decode_jpeg_header(file)[:2] for file in files]
    ends = np.cumsum([3 * height * width for height, width in shapes])
    starts = [0, *ends[:-1].tolist()]
    places = [buffer[a:b] for a, b in zip(starts, ends, strict=True)]
    running = pool.map(decode, files, places)
    sizes = torch.tensor([[width, height] for height, width in shapes])

    def wait() -> Any:
        list(running)
        return RaggedBatch(torch.from_numpy(buffer), torch.tensor(starts), sizes)

    return wait


def our_arm(files: list[bytes], recipe: Recipe, cores: int) -> Callable[[], Any]:
    from imagenets.data import augment

    groups = [augment.ViewGroup(v, size, (low, high)) for v, size, low, high in recipe]
    generator = torch.Generator().manual_seed(0)
    std = tuple(STD.flatten().tolist())
    held: dict[int, list[Tensor]] = {}
    buffers = [np.empty(BATCH * 3 << 20, np.uint8) for _ in range(2)]
    pool = ThreadPoolExecutor(cores)
    parts = [files[start : start + BATCH] for start in range(0, len(files), BATCH)]

    def run() -> None:
        coming = ragged(parts[0], buffers[0], pool)
        for number in range(len(parts)):
            images = coming()
            if number + 1 < len(parts):  # the next batch is decoded meanwhile
                coming = ragged(parts[number + 1], buffers[(number + 1) % 2], pool)
            drawn = augment.draw_groups(images.sizes, groups, generator)
            n = len(images)  # results are written over, as a loop that copies them away does
            held[n] = augment.apply_groups(images, drawn, std=std, threads=cores, out=held.get(n))

    return run


# --- kornia, in its own environment


def kornia_views(recipe: Recipe, device: str) -> Callable[[list[Tensor]], list[Tensor]]:
    """Crops image by image, for they differ in size, and all the rest batched."""
    import kornia.augmentation as K

    crops, rest = [], []
    for _, size, low, high in recipe:
        shape = (size, size)
        crops.append(
            K.RandomResizedCrop(shape, (low, high), cropping_mode="slice", same_on_batch=False)
        )
        rest.append(
            torch.nn.Sequential(
                K.RandomHorizontalFlip(0.5),
                K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
                K.RandomGrayscale(p=0.2),
                K.RandomGaussianBlur((13, 13), (0.1, 2.0), p=0.5),
                K.Normalize(MEAN.flatten(), STD.flatten()),
            ).to(device)
        )

    def run(images: list[Tensor]) -> list[Tensor]:
        out = []
        for (views, *_), crop, then in zip(recipe, crops, rest, strict=True):
            cut = [crop(x.float().div(255).expand(views, -1, -1, -1)) for x in images]
            out.append(then(torch.cat(cut)))
        return out

    return run


def kornia_arm(files: list[bytes], recipe: Recipe, cores: int) -> Callable[[], Any]:
    torch.set_num_threads(cores)
    views = kornia_views(recipe, "cpu")

    @torch.no_grad()
    def run() -> None:
        for images in batches(files, cores):
            views(images)

    return run


def environment(folder: Path) -> Path | None:
    """The Python of kornia's environment, made if it is not there; None if that fails."""
    python = folder / "bin" / "python"
    has = "import kornia, simplejpeg, PIL"
    if python.exists() and not subprocess.run([python, "-c", has], check=False).returncode:
        return python
    version = torch.__version__.split("+")[0]
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        wanted = (f"torch=={version}", "kornia", "numpy", "pillow", "simplejpeg")
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    except subprocess.CalledProcessError as error:
        print(f"kornia is left out: {error}", file=sys.stderr)
        return None
    return python


def timed(run: Callable[[], Any], count: int) -> float:
    """Images a second of one pass; a pass to warm up came before."""
    start = time.perf_counter()
    run()
    return count / (time.perf_counter() - start)


def serve(files: list[bytes], recipe: Recipe, cores: int) -> None:
    """The rival's process: a pass for each line that it is sent."""
    run = kornia_arm(files, recipe, cores)
    run()
    for _ in sys.stdin:
        print(json.dumps(timed(run, len(files))), flush=True)


def remote_arm(python: Path, words: list[str]) -> Callable[[], float]:
    process = subprocess.Popen(
        [python, __file__, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def measure() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        print(file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return measure


def compare(name: str, files: list[bytes], args: argparse.Namespace) -> Figures:
    """One recipe: a line for each arm, with its median, range and ratio to ours.

    Returns:
        Images a second by `<recipe>: <arm>`.
    """
    recipe = RECIPES[name]
    arms: dict[str, Callable[[], float]] = {}
    for arm, make in (("imagenets", our_arm), (f"Pillow, {args.cores} workers", pillow_arm)):
        run = make(files, recipe, args.cores)
        run()
        arms[arm] = lambda run=run: timed(run, len(files))
    python = environment(args.rivals) if args.rivals else None
    if python:
        words = ["--serve", name, "--cores", str(args.cores), "--images", str(len(files))]
        arms["kornia"] = remote_arm(python, words + photos_option(args))
        arms["kornia"]()
    rates: dict[str, list[float]] = {arm: [] for arm in arms}
    for turn in range(1 + args.rounds):
        for arm, measure in arms.items():
            rate = measure()
            if turn:  # the first round warms up
                rates[arm].append(rate)
    for arm, values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(rates["imagenets"], values, strict=True)]
        print(
            f"| {name} | {arm} | {statistics.median(values):.0f} "
            f"({min(values):.0f}-{max(values):.0f}) | {statistics.median(ratios):.1f} "
            f"({min(ratios):.1f}-{max(ratios):.1f}) |",
            flush=True,
        )
    return {f"{name}: {arm}": values for arm, values in rates.items()}


def resize_table(files: list[bytes], rounds: int) -> Figures:
    """One core: crops of decoded images resized to 224 and 96, antialiased bilinear."""
    found: dict[str, Sequence[float]] = {}
    torch.set_num_threads(1)
    arrays = [decode(file) for file in files[:64]]
    print("\n| resize, one core | microseconds a crop | imagenets is faster by |\n|---|---:|---:|")
    for size, scale in ((224, (0.08, 1.0)), (96, (0.05, 0.14))):
        found |= resize_rows(arrays, size, scale, rounds)
    return found


def resize_rows(
    arrays: list[np.ndarray], size: int, scale: tuple[float, float], rounds: int
) -> Figures:
    """One box of each image, resized to one size by each contender in turn."""
    from imagenets.data.augment import ViewGroup, draw_boxes
    from imagenets.pixels.resample import resize_crop_into

    sizes = torch.tensor([[array.shape[1], array.shape[0]] for array in arrays])
    boxes = draw_boxes(sizes, ViewGroup(1, size, scale), torch.Generator().manual_seed(0))[
        0
    ].tolist()
    out = np.empty((size, size, 3), np.uint8)
    planes = [torch.from_numpy(array).permute(2, 0, 1)[None] for array in arrays]
    pictures = [Image.fromarray(array) for array in arrays]
    options = {"mode": "bilinear", "antialias": True}

    def ours(i: int, x: int, y: int, w: int, h: int) -> None:
        resize_crop_into(arrays[i], (x, y, w, h), False, out)

    def by_torch(i: int, x: int, y: int, w: int, h: int) -> None:
        crop = planes[i][:, :, y : y + h, x : x + w]
        torch.nn.functional.interpolate(crop, (size, size), **options)

    def by_pillow(i: int, x: int, y: int, w: int, h: int) -> None:
        corners = (x, y, x + w, y + h)
        pictures[i].resize((size, size), Image.Resampling.BILINEAR, corners)

    times: dict[str, list[float]] = {"imagenets": [], "torch, uint8": [], "Pillow": []}
    for turn in range(1 + 3 * rounds):
        for name, call in zip(times, (ours, by_torch, by_pillow), strict=True):
            start = time.perf_counter()
            for i, box in enumerate(boxes):
                call(i, *box)
            if turn:
                times[name].append((time.perf_counter() - start) / len(boxes) * 1e6)
    for name, values in times.items():
        ratios = [them / us for them, us in zip(values, times["imagenets"], strict=True)]
        print(
            f"| to {size}: {name} | {statistics.median(values):.0f} "
            f"({min(values):.0f}-{max(values):.0f}) | {statistics.median(ratios):.1f} |"
        )
    return {f"to {size}: {name}": values for name, values in times.items()}


def photos_option(args: argparse.Namespace) -> list[str]:
    return ["--photos", str(args.photos)] if args.photos else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="JPEG files; generated ones by default")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", type=Path, help="where kornia's environment is made")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="the figures alone on stdout")
    args = parser.parse_args()
    files = read(args.photos, args.images)
    if args.serve:
        serve(files, RECIPES[args.serve], args.cores)
        return
    told(partial(run_all, files, args), args.json)


def run_all(files: list[bytes], args: argparse.Namespace) -> Figures:
    """Measures everything that can be measured here."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    torch.set_num_threads(args.cores)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, ", end="")
    print(f"{args.cores} cores, {len(files)} images, median of {args.rounds} rounds (range)\n")
    print("| crops | by | images/s | imagenets is faster by |\n|---|---|---:|---:|")
    found: dict[str, Sequence[float]] = {}
    for name in RECIPES:
        found |= compare(name, files, args)
    found |= resize_table(files, args.rounds)
    if torch.cuda.is_available():
        from augment_gpu import gpu_table

        gpu_table(files, RECIPES, kornia_views)
    return found


if __name__ == "__main__":
    main()
