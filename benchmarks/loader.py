"""Loading: RandomResizedCrop(224) + flip from JPEG, ours against others, in one interleaved run.

    python benchmarks/loader.py --images DIR [--count 1000] [--rounds 5] [--rivals]

1.0 is torch's DataLoader with Pillow on the same processors: crop, antialiased resize, flip,
normalised float32. Ours reads shards of the same photographs, stored in four ways; `floor` is the
same decoding and resizing in bare loops, one process a processor, no loader. Whole images with
masks, and evaluation views with targets, are measured against DataLoader and Pillow on the same;
`--only views` measures the latter alone, `--only crops` neither. With `--rivals`,
WebDataset, MosaicML Streaming, LitData, DALI and FFCV (or those that are named) are installed into
an environment of their own (.rivals beside this file) and run in the same rounds; one that does not
install is named and left out. FFCV is built there: it needs a C++ compiler, pkg-config and the
headers of OpenCV and TurboJPEG (Debian: g++, pkg-config, libopencv-dev, libturbojpeg0-dev).
`--scale` measures what a set of 1,281,167 samples costs to open and to shuffle instead.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from imagenets import CenterCrop, ImageNetS, Loader, RandomResizedCrop, ResizeCrop, masks
from imagenets.classes import ilsvrc_classes
from imagenets.core.pool import available_cpus
from imagenets.data.augment import MEAN, STD
from imagenets.data.loader.crops import Crop
from imagenets.data.loader.layout import lay_out
from imagenets.data.loader.order import Share
from imagenets.data.loader.task import Decoder
from imagenets.data.shards import ShardSample, write_shard
from imagenets.data.shards.manifest import Manifest, ShardInfo, SplitInfo
from imagenets.pixels.jpeg import transcode

WNID = "n01440764"
SIDE = 224
BATCH = 64
WORKERS = available_cpus()
STORED = ("original", "restart", "500 px q90", "256 q90")
VIEWS = {
    "antialiased, float": RandomResizedCrop(SIDE, output="float32"),
    "plain, float": RandomResizedCrop(SIDE, output="float32", antialias=False),
    "antialiased, uint8": RandomResizedCrop(SIDE),
    "plain, uint8": RandomResizedCrop(SIDE, antialias=False),
}
VIEW = ResizeCrop(256, SIDE)
EVALUATED: dict[str, Crop] = {
    "view and target, float": CenterCrop(SIDE, VIEW.side, output="float32"),
    "view and target, uint8": VIEW,
}
WHOLE = "whole images and masks"
PILLOWS = "DataLoader + Pillow"
RIVALS = Path(__file__).with_name("loader_rivals.py")
PACKAGES = {
    "webdataset": "webdataset",
    "streaming": "mosaicml-streaming",
    "litdata": "litdata",
    "dali": "nvidia-dali-cuda120",
    "ffcv": "ffcv",
    "ffcv_recipe": "ffcv",
}
"""What can be measured beside ours, and what it is called on PyPI."""

Epoch = Callable[[], float]


def main() -> None:
    """Prints one table; with --json, its numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, help="folder of JPEGs")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", nargs="*", choices=PACKAGES, help="these, or all of them")
    parser.add_argument("--stored", nargs="+", default=STORED, choices=STORED)
    parser.add_argument("--only", choices=["views", "crops"], help="measure these alone")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.scale:
            print(json.dumps(scale(Path(folder)), indent=1))
            return
        if arguments.images is None:
            parser.error("--images DIR is needed: a folder of photographs")
        found = compare(arguments, Path(folder))
    print(json.dumps(found, indent=1) if arguments.json else table(found))


def compare(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Images per second of every contender, one list a contender, one entry a round."""
    files = sorted(arguments.images.rglob("*.JPEG")) or sorted(arguments.images.rglob("*.jpg"))
    paths = [files[i % len(files)] for i in range(arguments.count)]
    with ExitStack() as stack:
        contenders: dict[str, Epoch] = {}
        sizes = {}
        if arguments.only != "views":
            contenders[PILLOWS] = dataloader(Photos(paths), BATCH)
        for stored in arguments.stored:
            root = folder / stored.replace(" ", "-")
            sizes[stored] = write_set(root, paths, stored)
            if arguments.only != "views":
                contenders |= crops(stack, stored, root)
            if arguments.only == "crops":
                continue
            validation = ImageNetS(root, "validation", target="label")
            for view, crop in EVALUATED.items():
                rival = Viewed(validation, crop.output == "float32")
                contenders[f"{stored}: {view}: {PILLOWS}"] = dataloader(rival, BATCH)
                contenders[f"{stored}: {view}"] = ours(validation, crop)
        if arguments.only is None:
            whole = ImageNetS(folder / arguments.stored[0].replace(" ", "-"), "validation")
            contenders[f"{WHOLE}: {PILLOWS}"] = dataloader(Whole(whole), BATCH)
            contenders[WHOLE] = ours(whole, None)
        if arguments.rivals is not None:
            contenders |= rivals(stack, folder, paths, arguments.rivals or [*PACKAGES])
        for epoch in contenders.values():
            epoch()  # starts workers, compiles, warms the page cache
        speeds: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(arguments.rounds):
            for name, epoch in contenders.items():
                speeds[name].append(len(paths) / epoch())
    return {"machine": machine(), "bytes an image": sizes, "images a second": speeds}


def crops(stack: ExitStack, stored: str, root: Path) -> dict[str, Epoch]:
    """Random crops of a stored set, through the loader and in bare loops."""
    data = ImageNetS(root, "train", masks=False)
    found = {f"{stored}: {view}": ours(data, crop) for view, crop in VIEWS.items()}
    for view in ("antialiased, float", "plain, uint8"):
        pool = stack.enter_context(processes())
        found[f"{stored}: floor, {view}"] = floor(pool, data, VIEWS[view])
    return found


def table(found: dict[str, Any]) -> str:
    """The medians, and their ratio to the first."""
    lines = [f"{key}: {value}" for key, value in found["machine"].items()]
    lines += [
        f"{key}: {value / 1000:.0f} KB an image" for key, value in found["bytes an image"].items()
    ]
    speeds = found["images a second"]
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    first = next(iter(medians.values()))
    lines.append(f"\n{'':72}{'images/s':>10}{'ratio':>8}{'range':>16}")
    for name, values in speeds.items():
        unit = medians.get(f"{name}: {PILLOWS}", first)
        spread = f"{min(values):.0f}-{max(values):.0f}"
        lines.append(f"{name:72}{medians[name]:>10.0f}{medians[name] / unit:>8.2f}{spread:>16}")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """What was measured on, and with what."""
    names = ("torch", "pillow", "numpy", "numba", "simplejpeg")
    return {
        "processor": f"{platform.processor() or platform.machine()}, {WORKERS} in use",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def ours(data: ImageNetS, crop: Crop | None) -> Epoch:
    """An epoch of this library's loader, with targets where the data set has them."""
    loader = Loader(data, BATCH, crop=crop, workers=WORKERS, drop_last=False)
    if data.target is None:
        return timed(lambda: consume(loader))
    return timed(lambda: consume(batch.targets for batch in loader))


def dataloader(dataset: Dataset[Any], batch: int) -> Epoch:
    """An epoch of torch's loader."""
    loader: DataLoader[Any] = DataLoader(
        dataset,
        batch,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        collate_fn=list if isinstance(dataset, Whole) and not isinstance(dataset, Viewed) else None,
    )
    return timed(lambda: consume(loader))


def consume(batches: Any) -> None:
    """Takes each batch and lets it go."""
    for _ in batches:
        pass


def timed(work: Callable[[], Any]) -> Epoch:
    """Seconds of a piece of work."""

    def epoch() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return epoch


class Photos(Dataset[torch.Tensor]):
    """What people write: open, crop, resize, flip, to float, normalize."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        with Image.open(self.paths[index]) as opened:
            image = opened.convert("RGB")
        left, top, width, height = draw_box(*image.size)
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.float().div(255).sub_(self.mean).div_(self.std)


def draw_box(width: int, height: int) -> tuple[int, int, int, int]:
    """RandomResizedCrop's box for one image, as people write it."""
    for _ in range(10):
        area = width * height * float(torch.empty(()).uniform_(0.08, 1))
        ratio = float(torch.empty(()).uniform_(np.log(3 / 4), np.log(4 / 3)).exp())
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            left = int(torch.randint(0, width - w + 1, ()))
            return left, int(torch.randint(0, height - h + 1, ())), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


class Whole(Dataset[Any]):
    """Whole images and masks with Pillow alone, from the files as they were published."""

    def __init__(self, data: ImageNetS) -> None:
        self.images = [bytes(data.encoded(i).image) for i in range(len(data))]
        self.masks = []
        for i in range(len(data)):
            buffer = io.BytesIO()
            ids = masks.decode(data.encoded(i).mask or b"")
            Image.fromarray(masks.to_rgb(ids)).save(buffer, "PNG")  # filtered, as published
            self.masks.append(buffer.getvalue())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        image = np.array(Image.open(io.BytesIO(self.images[index])).convert("RGB"))
        rgb = np.array(Image.open(io.BytesIO(self.masks[index]))).astype(np.int64)
        return torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(
            rgb[..., 0] + 256 * rgb[..., 1]
        )


class Viewed(Whole):
    """The evaluation view and the target of the label, as people write it with Pillow."""

    def __init__(self, data: ImageNetS, floats: bool) -> None:
        super().__init__(data)
        self.target_ids, self.floats = data.target_ids.tolist(), floats
        self.mean, self.std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))

    def __getitem__(self, index: int) -> Any:
        image = Image.open(io.BytesIO(self.images[index])).convert("RGB")
        mask = Image.open(io.BytesIO(self.masks[index]))
        short = min(image.size)
        full = (VIEW.side * image.width // short, VIEW.side * image.height // short)
        left, top = round((full[0] - SIDE) / 2), round((full[1] - SIDE) / 2)
        box = (left, top, left + SIDE, top + SIDE)
        pixels = np.array(image.resize(full, Image.Resampling.BILINEAR).crop(box))
        rgb = np.array(mask.resize(full, Image.Resampling.NEAREST).crop(box)).astype(np.int64)
        ids = rgb[..., 0] + 256 * rgb[..., 1]
        target = (ids == self.target_ids[index]).astype(np.uint8)
        target[ids == 1000] = 255
        planes = torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
        if self.floats:
            planes = planes.float().div(255).sub_(self.mean).div_(self.std)
        return planes, torch.from_numpy(target)


@contextmanager
def processes() -> Iterator[Any]:
    """Bare worker processes."""
    with get_context("fork").Pool(WORKERS) as pool:
        yield pool


def floor(pool: Any, data: ImageNetS, crop: RandomResizedCrop) -> Epoch:
    """The same decoding and resizing into private memory, without a loader."""
    parts = np.array_split(np.random.default_rng(0).permutation(len(data)), WORKERS)
    return timed(lambda: pool.starmap(bare_loop, [(data, crop, part) for part in parts]))


def bare_loop(data: ImageNetS, crop: RandomResizedCrop, rows: Any) -> None:
    """Reads, decodes and resizes samples one after the other."""
    decoder = Decoder(data, crop)
    layout = lay_out(data, crop, Share.whole(0, rows), (0,))
    memory = np.empty(12 * SIDE * SIDE, np.uint8)
    used = memory if crop.output == "float32" else memory[: 3 * SIDE * SIDE]
    for i, row in enumerate(rows.tolist()):
        decoder._crop(data.encoded(row), layout, i, used)


def write_set(root: Path, paths: list[Path], stored: str) -> float:
    """Writes photographs as a prepared set, as `train` and, with masks, as `validation`."""
    folder = root / "ImageNetS919.shards"
    folder.mkdir(parents=True)
    samples = []
    total = 0
    for number, path in enumerate(paths):
        data, size = encoded(path.read_bytes(), stored)
        marked = None if stored == "original" else transcode(data)
        content = data if marked is None else marked.data
        segments = None if marked is None else marked.lengths.astype("<u2").tobytes()
        total += len(content) + len(segments or b"")
        mask = masks.encode(blobs(size, number))
        facts = (f"{WNID}_{number:08d}", WNID, 1, 0, *size)
        samples.append(ShardSample(*facts, content, mask, segments))
    shards = []
    for split in ("train", "validation"):
        path = folder / f"{split}-00000.h5"
        write_shard(path, samples, {})
        shards.append(ShardInfo(path.name, split, len(samples), path.stat().st_size, ""))
    splits = {info.group: SplitInfo([info.group], len(samples), True) for info in shards}
    classes = list(ilsvrc_classes())
    Manifest("919", classes[:919], classes, splits, shards).save(folder)
    return total / len(paths)


def encoded(data: bytes, stored: str) -> tuple[bytes, tuple[int, int]]:
    """A photograph as it is stored, and its size."""
    with Image.open(io.BytesIO(data)) as opened:
        if stored in ("original", "restart"):
            return data, opened.size
        image = opened.convert("RGB")
    side = max(image.size) if stored.startswith("500") else min(image.size)
    factor = min(1.0, int(stored.partition(" ")[0]) / side)
    size = (round(image.width * factor), round(image.height * factor))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
    return buffer.getvalue(), size


def blobs(size: tuple[int, int], seed: int) -> Any:
    """A mask with one object and an ignored outline."""
    y, x = np.mgrid[: size[1], : size[0]]
    distance = np.hypot((x / size[0] - 0.5) * 2, (y / size[1] - 0.5) * 2)
    return np.select([abs(distance - 0.7) < 0.02, distance < 0.7], [1000, 1 + seed % 919], 0)


def rivals(stack: ExitStack, folder: Path, paths: list[Path], names: list[str]) -> dict[str, Epoch]:
    """Other people's loaders, each in a process of their own environment."""
    python = environment(names)
    listing = folder / "paths.json"
    listing.write_text(json.dumps([str(path) for path in paths]))
    found: dict[str, Epoch] = {}
    for name in names:
        process = stack.enter_context(
            subprocess.Popen(
                [python, RIVALS, name, listing, folder / name, str(BATCH), str(WORKERS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(process.kill)
        assert process.stdout
        ready = process.stdout.readline().strip()
        if ready.startswith("ready"):
            found[ready.removeprefix("ready ")] = asked(process)
        else:
            print(f"{name}: left out ({ready or 'it does not start here'})", file=sys.stderr)
    return found


def asked(process: subprocess.Popen[str]) -> Epoch:
    """An epoch of a rival, which says itself how long it took."""

    def epoch() -> float:
        assert process.stdin
        assert process.stdout
        print("epoch", file=process.stdin, flush=True)
        return float(process.stdout.readline())

    return epoch


def environment(names: list[str]) -> Path:
    """The rivals' Python, with what of them can be installed."""
    home = Path(__file__).parent / ".rivals"
    python = home / "bin" / "python"
    torch_here = f"torch=={version('torch').partition('+')[0]}"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", torch_here]
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([*pip, "pillow"], check=True)
    for package in dict.fromkeys(PACKAGES[name] for name in names):
        if subprocess.run([*pip, package], capture_output=True).returncode:
            print(f"{package}: does not install here", file=sys.stderr)
    return python


def scale(root: Path) -> dict[str, Any]:
    """What 1,281,167 samples cost: opening, memory, shuffling. The images are a byte each."""
    folder = root / "ImageNetS919.shards"
    folder.mkdir(parents=True)
    total, size = 1_281_167, 2048
    shards = []
    for number, first in enumerate(range(0, total, size)):
        path = folder / f"train-{number:05d}.h5"
        names = range(first, min(first + size, total))
        samples = [ShardSample(f"{WNID}_{n:07d}", WNID, 1, 0, 500, 375, b"x") for n in names]
        write_shard(path, samples, {})
        shards.append(ShardInfo(path.name, "train", len(samples), path.stat().st_size, ""))
    classes = list(ilsvrc_classes())
    splits = {"train": SplitInfo(["train"], total, False)}
    Manifest("919", classes[:919], classes, splits, shards).save(folder)
    code = (
        "import json, resource, sys, time\n"
        "from imagenets import ImageNetS, Loader\n"
        "usage = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "import imagenets.data.loader\n"
        "before, start = usage(), time.perf_counter()\n"
        "data = ImageNetS(sys.argv[1], 'train')\n"
        "opened, memory = time.perf_counter() - start, usage() - before\n"
        "loader = Loader(data, 256)\n"
        "start = time.perf_counter()\n"
        "loader.order.of(3)\n"
        "print(json.dumps({'open, s': opened, 'memory, MB': memory,"
        " 'shuffle, s': time.perf_counter() - start}))\n"
    )
    runs = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code, root], check=True, capture_output=True
            ).stdout
        )
        for _ in range(5)
    ]
    return {key: round(statistics.median(run[key] for run in runs), 3) for key in runs[0]}


if __name__ == "__main__":
    main()
