"""Decoding only the crop: restart-marked JPEG files against whole ones, on one core.

    python benchmarks/jpeg.py FOLDER [--crops 4] [--runs 5] [--images 160] [--intervals 2 3 4]

FOLDER holds JPEG files. For the files as they are, and re-encoded at 500 pixels (long side) and at
256 (short side) with each chroma sampling, at quality 90: the cost of the markers and what decoding
random crops takes (scale 0.08 to 1, ratio 3/4 to 4/3). All ways are interleaved; times are medians
of the runs, with the smallest and largest; ratios are of medians.
"""

from __future__ import annotations

import argparse
import io
import math
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image

from imagenets.pixels import jpeg


def random_crop(rng: np.random.Generator, width: int, height: int) -> jpeg.Box:
    """The box that RandomResizedCrop draws."""
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = rng.integers(0, width - wide + 1), rng.integers(0, height - high + 1)
            return int(left), int(top), wide, high
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def median(times: list[float]) -> str:
    middle = statistics.median(times)
    return f"{middle * 1e3:.3f} ms ({min(times) * 1e3:.3f} to {max(times) * 1e3:.3f})"


def measure(title: str, files: list[bytes], interval: int | None, crops: int, runs: int) -> None:
    """Prints the figures of one way of encoding."""
    made = [jpeg.transcode(file, interval) for file in files]
    pairs = [(file, it) for file, it in zip(files, made, strict=True) if it is not None]
    rng = np.random.default_rng(0)
    work = []
    for file, it in pairs:
        image = jpeg.layout(np.frombuffer(file, np.uint8))
        work += [(file, it, random_crop(rng, image.width, image.height)) for _ in range(crops)]
    scratch = jpeg.Scratch()
    share = [len(jpeg.cut(it.data, it.lengths, box, scratch=scratch)[0]) for _, it, box in work]

    def by_pillow(file: bytes) -> object:
        return np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))

    def whole(file: bytes) -> object:
        return simplejpeg.decode_jpeg(file, "RGB", fastdct=True, fastupsample=True, strict=False)

    ways: dict[str, Callable[[bytes, jpeg.Restarted, jpeg.Box], object]] = {
        "Pillow, whole": lambda file, it, box: by_pillow(file),
        "simplejpeg, whole": lambda file, it, box: whole(file),
        "rows above the crop's end": lambda file, it, box: jpeg.decode_crop(
            file, None, box, scratch=scratch
        ),
        "segments of the crop": lambda file, it, box: jpeg.decode_crop(
            it.data, it.lengths, box, scratch=scratch
        ),
        "the same, exact": lambda file, it, box: jpeg.decode_crop(
            it.data, it.lengths, box, exact=True, scratch=scratch
        ),
        "cutting alone": lambda file, it, box: jpeg.cut(it.data, it.lengths, box, scratch=scratch),
    }
    times: dict[str, list[float]] = {name: [] for name in [*ways, "transcode"]}
    for _ in range(runs):
        for name, way in ways.items():
            start = time.perf_counter()
            for file, it, box in work:
                way(file, it, box)
            times[name].append((time.perf_counter() - start) / len(work))
        start = time.perf_counter()
        for file in files:
            jpeg.transcode(file, interval)
        times["transcode"].append((time.perf_counter() - start) / len(files))

    before = sum(len(file) for file, _ in pairs)
    after = sum(len(it.data) for _, it in pairs)
    index = sum(it.lengths.nbytes for _, it in pairs)
    speed = sum(map(len, files)) / len(files) / statistics.median(times["transcode"]) / 1e6
    print(f"\n{title}, interval {interval or 'chosen'}: {len(pairs)} of {len(files)} files")
    print(
        f"  {before / len(pairs) / 1e3:.1f} KB -> {after / before - 1:+.1%}, index "
        f"{index / before:.1%}; a crop is {sum(share) / crops / before:.0%} of the bytes; "
        f"transcoding {speed:.0f} MB/s"
    )
    reference = statistics.median(times["simplejpeg, whole"])
    for name, taken in times.items():
        print(f"  {name:26} {median(taken)}   x {statistics.median(taken) / reference:.2f}")


def encode(file: bytes, side: int, short: bool, sampling: int) -> bytes:
    """Smaller, at quality 90."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    factor = side / (min if short else max)(image.size)
    if factor < 1:
        size = (round(image.width * factor), round(image.height * factor))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, subsampling=sampling)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--crops", type=int, default=4)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--intervals", type=int, nargs="*", default=[], help="others to try")
    parser.add_argument("--only", choices=("native", "500", "256"))
    options = parser.parse_args()
    paths = sorted(
        path for path in options.folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg")
    )
    files = [path.read_bytes() for path in paths[:: max(1, len(paths) // options.images)]]
    packages = ", ".join(f"{it} {version(it)}" for it in ("simplejpeg", "pillow", "numba"))
    print(f"{platform.machine()}, Python {platform.python_version()}, {packages}")
    if options.only in (None, "native"):
        measure("as they are", files, None, options.crops, options.runs)
    for side, short in ((500, False), (256, True)):
        if options.only not in (None, str(side)):
            continue
        for sampling, name in ((2, "4:2:0"), (0, "4:4:4")):
            small = [encode(file, side, short, sampling) for file in files]
            for interval in (None, *options.intervals):
                where = "short" if short else "long"
                title = f"{where} side {side}, quality 90, {name}"
                measure(title, small, interval, options.crops, options.runs)


if __name__ == "__main__":
    main()
