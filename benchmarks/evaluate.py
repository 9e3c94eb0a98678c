"""How fast the figures are: against the published method and against reading the PNGs.

    python benchmarks/evaluate.py            # a minute
    python benchmarks/evaluate.py --full     # and a whole 919 validation: 12,419 images, memory

Generated masks of 500 x 375 pixels, 919 classes, 1 to 4 objects an image, read from the disk cache;
written by Pillow with its defaults (adaptive row filters, level 6), as most masks in the world are,
or with --form encode by `imagenets.masks.encode`.
All ratios are of one run, on the same files, with the same number of processes:

- floor: reading and decoding both PNGs of each image, nothing else, with the fastest decoder that
  we know, which is the library's own;
- ours: all figures, from `count_masks`;
- rival: the published method written plainly: each class mask of an image is eroded by itself, and
  areas are added up in float32 histograms, for all images and again for each of the four sizes;
  PNGs are read with Pillow, as the published code reads them.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import scipy
from as_json import Figures, told
from PIL import Image, ImageDraw
from scipy import ndimage

from imagenets import masks
from imagenets.core.pool import in_chunks
from imagenets.evaluation.counts import concatenate, count
from imagenets.evaluation.mask_folders import Mask, count_masks
from imagenets.evaluation.matching import CoOccurrence, match
from imagenets.evaluation.metrics import Evaluator
from imagenets.evaluation.sweep import ThresholdSweep

K, WIDTH, HEIGHT, FILES, FULL = 919, 500, 375, 128, 12_419


def draw(rng: np.random.Generator) -> np.ndarray:
    """A mask of 1 to 4 wobbly blobs, and a rim of ignored pixels around one of them."""
    image = Image.new("I", (WIDTH, HEIGHT), masks.OTHER)
    pen = ImageDraw.Draw(image)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    for number in range(rng.integers(1, 5)):
        centre = rng.uniform(60, 440), rng.uniform(50, 325)
        wobble = sum(rng.normal(0, 0.12) * np.sin(k * angle + rng.uniform(0, 7)) for k in (2, 3, 5))
        radius = rng.uniform(20, 150) * (1 + wobble)
        points = np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)])
        outline = masks.IGNORED if number == 0 and rng.random() < 0.3 else None
        pen.polygon(list(map(tuple, points.T)), int(rng.integers(1, K + 1)), outline, 3)
    return np.asarray(image).astype(np.uint16)


def by_pillow(ids: np.ndarray) -> bytes:
    """A mask PNG as Pillow writes it."""
    buffer = io.BytesIO()
    Image.fromarray(masks.to_rgb(ids)).save(buffer, "PNG")
    return buffer.getvalue()


def with_pillow(path: Path) -> np.ndarray:
    """Reads a mask PNG as the published code does."""
    rgb = np.array(Image.open(path)).astype(np.int64)
    return rgb[..., 1] * 256 + rgb[..., 0]


def write(folder: Path, encode: Callable[[np.ndarray], bytes]) -> list[tuple[Path, Path]]:
    """Writes FILES pairs of (prediction, truth); predictions are shifted, some classes wrong."""
    rng = np.random.default_rng(0)
    pairs = []
    for i in range(FILES):
        gt = draw(rng)
        pred = np.roll(gt, rng.integers(-9, 10, 2), axis=(0, 1))
        pred[pred == masks.IGNORED] = masks.OTHER
        if rng.random() < 0.4:
            pred = np.where(pred == pred.max(), rng.integers(1, K + 1), pred)
        paths = folder / f"pred-{i}.png", folder / f"gt-{i}.png"
        for path, ids in zip(paths, (pred, gt), strict=True):
            path.write_bytes(encode(ids))
        pairs.append(paths)
    return pairs


FORMS = {"pillow": by_pillow, "encode": masks.encode}


def decode_only(pairs: Sequence[tuple[Path, Path]]) -> int:
    """The floor."""
    return sum(masks.decode(path).size for pair in pairs for path in pair)


def decode_with_pillow(pairs: Sequence[tuple[Path, Path]]) -> int:
    """The same as the published code does it."""
    return sum(with_pillow(path).size for pair in pairs for path in pair)


def eroded(ids: np.ndarray) -> np.ndarray:
    """Boundary map, class by class: id + 1 on the boundary, 0 elsewhere."""
    steps = max(1, round(0.03 * math.hypot(*ids.shape)))
    result = np.zeros(ids.shape, np.int64)
    for value in np.unique(ids):
        mask = ids == value
        inner = ndimage.binary_erosion(mask, np.ones((3, 3)), steps, border_value=0)
        result[mask & ~inner] = value + 1
    return result


def areas(pred: np.ndarray, gt: np.ndarray, low: int) -> np.ndarray:
    """Float32 histograms of prediction, truth and both, over the ids from `low`."""
    both = pred[pred == gt]
    histograms = [
        np.bincount(ids[(ids >= low) & (ids <= K + low)] - low, minlength=K + 1)
        for ids in (pred, gt, both)
    ]
    return np.stack(histograms).astype(np.float32)


def rival(pairs: Sequence[tuple[Path, Path]]) -> np.ndarray:
    """The published method on some images: float32 totals, 5 x 2 x 3 x (K + 1)."""
    totals = np.zeros((5, 2, 3, K + 1), np.float32)
    for paths in pairs:
        pred, gt = map(with_pillow, paths)
        pred_edge, gt_edge = eroded(pred), eroded(gt)
        kept = gt != masks.IGNORED
        sizes = {int(c): math.ceil(100 * (gt == c).sum() / kept.sum()) for c in np.unique(gt[kept])}
        for bucket, (low, high) in enumerate([(-1, 100), (0, 5), (5, 25), (25, 50), (50, 100)]):
            own = [c for c, size in sizes.items() if c and low < size <= high]
            if not own and bucket:
                continue
            inside = kept & np.isin(gt, [0, *own]) if bucket else kept
            totals[bucket, 0] += areas(pred[inside], gt[inside], 0)
            totals[bucket, 1] += areas(pred_edge[inside], gt_edge[inside], 1)
    return totals


def ours(pairs: Sequence[tuple[Path, Path]], workers: int) -> Evaluator:
    """All figures."""
    preds: dict[str, Mask] = {f"{i:06}": pred for i, (pred, _) in enumerate(pairs)}
    truths: dict[str, Mask] = {f"{i:06}": gt for i, (_, gt) in enumerate(pairs)}
    evaluator = Evaluator(K)
    evaluator.add(count_masks(preds, truths, K, workers=workers).counts)
    evaluator.compute()
    return evaluator


def elapsed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one run."""
    start = clock()
    work()
    return clock() - start


def line(name: str, seconds: Sequence[float], images: int) -> str:
    """Images a second, and the spread of the runs."""
    middle = statistics.median(seconds)
    spread = 100 * (max(seconds) - min(seconds)) / middle
    rate = images / middle
    return f"{name:<34}{middle:9.3f} s {rate:10.1f} images/s   spread {spread:.0f} %"


def speed(pairs: list[tuple[Path, Path]], workers: int, runs: int) -> Figures:
    """Floor, ours and rival, in turns, so that other load on the machine meets all alike."""
    many, some = pairs * 32, pairs * 2  # enough tasks for every worker
    works: dict[str, tuple[Callable[[], object], int]] = {
        "floor: decode both PNGs": (
            lambda: list(in_chunks(decode_only, many, workers)),
            len(many),
        ),
        "the same with Pillow": (
            lambda: list(in_chunks(decode_with_pillow, some, workers, chunk=16)),
            len(some),
        ),
        "ours: all figures": (lambda: ours(many, workers), len(many)),
        "rival: the published method": (
            lambda: list(in_chunks(rival, some, workers, chunk=16)),
            len(some),
        ),
    }
    ours(many, workers)  # starts the workers, which load what they need
    rounds = [[elapsed(work) for work, _ in works.values()] for _ in range(runs)]
    for (name, (_, images)), seconds in zip(works.items(), zip(*rounds, strict=True), strict=True):
        print(line(name, seconds, images))
    found = {
        "ours / floor": [own / floor for floor, _, own, _ in rounds],
        "decoding with Pillow / ours": [16 * pillow / own for _, pillow, own, _ in rounds],
        "rival / ours": [16 * plain / own for _, _, own, plain in rounds],
    }
    goals = {"ours / floor": "at most 2", "rival / ours": "at least 25"}
    for name, ratios in found.items():
        print(f"{name}: {statistics.median(ratios):.2f} (goal: {goals.get(name, 'none')})")
    return found


def agreement(pairs: list[tuple[Path, Path]]) -> None:
    """The two methods count the same."""
    evaluator = ours(pairs[:32], 1)
    assert np.array_equal(evaluator.pixels, rival(pairs[:32]).astype(np.int64))
    print("both count the same pixels")


def matching() -> Figures:
    """Co-occurrence and match of 12,419 images."""
    rng = np.random.default_rng(0)
    hidden = rng.permutation(K)
    parts = []
    for _ in range(FULL):
        gt = rng.integers(0, K, rng.integers(1, 5))
        pred = np.where(rng.random(len(gt)) < 0.6, hidden[gt], rng.integers(0, K, len(gt)))
        parts.append(count(pred[None] + 1, gt[None] + 1, K, boundaries=False))
    counts = concatenate(parts, K)

    def work() -> None:
        seen = CoOccurrence(K)
        seen.add(counts)
        match(seen.matrix)

    seconds = [elapsed(work) for _ in range(5)]
    print(line("matching 919 x 919, 12,419 images", seconds, FULL) + "   (goal: under 0.5 s)")
    return {"matching, s": seconds}


def sweep(pairs: list[tuple[Path, Path]], runs: int) -> Figures:
    """81 thresholds against one evaluation, of a whole validation; processor time."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.random((12, 16), np.float32))
    attention = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))

    def once() -> None:
        evaluator = Evaluator(K)
        for start in range(0, len(many), 64):
            batch = many[start : start + 64]
            preds, truths = zip(*(map(masks.decode, pair) for pair in batch), strict=True)
            evaluator.update(preds, truths)
        evaluator.compute()

    def all_thresholds() -> None:
        found = ThresholdSweep(K)
        for pred, gt in many:
            found.update(masks.decode(pred), attention, masks.decode(gt))
        found.compute()

    many, whole = pairs[:2], (pairs * (FULL // FILES + 1))[:FULL]
    for work in (once, all_thresholds):  # loads what is compiled
        work()
    many = whole
    rounds = [
        [elapsed(work, time.process_time) for work in (once, all_thresholds)] for _ in range(runs)
    ]
    one, swept = zip(*rounds, strict=True)
    print(line("one evaluation, one process", one, len(many)))
    print(line("sweep of 81 thresholds", swept, len(many)))
    ratios = [b / a for a, b in rounds]
    print(f"sweep / evaluation: {statistics.median(ratios):.2f} (goal: at most 1.5)")
    return {"sweep / evaluation": ratios}


def memory() -> float:
    """MiB that this process and its children hold; what they share counts once (Linux)."""
    total = 0
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    for process in ("self", *children):
        with suppress(OSError):  # it has just ended
            words = Path(f"/proc/{process}/smaps_rollup").read_text().split()
            total += int(words[words.index("Pss:") + 1])
    return total / 1024


def full(pairs: list[tuple[Path, Path]], workers: int) -> Figures:
    """A whole 919 validation, in a process that finds everything compiled."""
    compiling = get_context("spawn").Process(target=ours, args=(pairs, workers))
    compiling.start()
    compiling.join()
    many = (pairs * (FULL // FILES + 1))[:FULL]
    peak, done = memory(), threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            peak = max(peak, memory())

    watching = threading.Thread(target=watch)
    watching.start()
    seconds = elapsed(partial(ours, many, workers))
    done.set()
    watching.join()
    print(line("a whole 919 validation", [seconds], FULL))
    print(f"peak memory: {peak:.0f} MiB, {workers} workers included (goal: under 477, 500 MB)")
    return {"a whole 919 validation, s": [seconds], "its memory, MiB": [peak]}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--form", choices=FORMS, default="pillow", help="who writes the PNGs")
    parser.add_argument("--full", action="store_true", help="also a whole 919 validation")
    parser.add_argument("--json", action="store_true", help="the figures alone on stdout")
    arguments = parser.parse_args()
    told(partial(run_all, arguments), arguments.json)


def run_all(arguments: argparse.Namespace) -> Figures:
    """Measures everything that is asked for."""
    found: dict[str, Sequence[float]] = {}
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{arguments.workers} processes; Python {platform.python_version()}, NumPy "
        f"{np.__version__}, SciPy {scipy.__version__}; median of {arguments.runs} rounds, "
        f"masks written by {arguments.form}"
    )
    with tempfile.TemporaryDirectory() as folder:
        pairs = write(Path(folder), FORMS[arguments.form])
        if arguments.full:  # first, so that the peak is its own
            found |= full(pairs, arguments.workers)
        agreement(pairs)
        found |= speed(pairs, arguments.workers, arguments.runs)
        found |= sweep(pairs, max(1, arguments.runs // 3))
    return found | matching()


if __name__ == "__main__":
    main()
