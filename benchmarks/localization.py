"""How fast heat maps are measured: against reading them, and against NumPy and scikit-learn.

    python benchmarks/localization.py                    # a minute
    python benchmarks/localization.py --images 12419     # a whole 919 validation

Generated maps (float32) and targets (uint8) of 224 x 224 pixels as .npy files, read from the disk
cache; half of the maps are smooth, as upsampled activations are, half are noise with long tails, as
gradients are. Ratios are of one round, on the same files, with the same number of processes:

- floor: `numpy.load` of both files of each image, nothing else;
- ours: the same, and every measure, from `LocalizationEvaluator`, merged and computed;
- rival: the same measures written plainly (localization_rival.py), on a part of the images. It
  needs scikit-learn: where this Python has none, an environment of its own is made in --rivals.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
import numpy as np

from imagenets.core.pool import in_chunks
from imagenets.evaluation.localization import LocalizationEvaluator, LocalizationMetrics

SIDE = 224
RIVAL = Path(__file__).with_name("localization_rival.py")
Paths = tuple[Path, Path]


def smooth(rng: np.random.Generator) -> np.ndarray:
    """14 x 14 values, enlarged bilinearly."""
    coarse = rng.random((14, 14)) ** 2
    at = np.clip((np.arange(SIDE) + 0.5) * 14 / SIDE - 0.5, 0, 13)
    low = np.minimum(at.astype(int), 12)
    part = at - low
    rows = coarse[low] * (1 - part)[:, None] + coarse[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def target(rng: np.random.Generator) -> np.ndarray:
    """A wobbly object with an ignored rim."""
    y, x = np.mgrid[:SIDE, :SIDE]
    row, column = rng.uniform(50, SIDE - 50, 2)
    angle = np.arctan2(y - row, x - column)
    wobble = 1 + 0.2 * np.sin(3 * angle + rng.uniform(0, 6)) + 0.1 * np.sin(7 * angle)
    distance = np.hypot(y - row, x - column) / (rng.uniform(20, 100) * wobble)
    return np.select([abs(distance - 1) < 0.02, distance < 1], [255, 1], 0).astype(np.uint8)


def write(folder: Path, images: int) -> list[Paths]:
    """Writes all maps and targets."""
    found = []
    for number in range(images):
        rng = np.random.default_rng(number)
        truth = target(rng)
        heat = smooth(rng) if number % 2 else abs(rng.standard_normal((SIDE, SIDE))) ** 3
        paths = folder / f"map-{number}.npy", folder / f"target-{number}.npy"
        np.save(paths[0], (heat * (1 + (truth == 1))).astype(np.float32))
        np.save(paths[1], truth)
        found.append(paths)
    return found


def read(pairs: Sequence[Paths]) -> int:
    """The floor."""
    return sum(np.load(path).size for pair in pairs for path in pair)


def measured(pairs: Sequence[Paths]) -> LocalizationEvaluator:
    """Every measure of some images, in one process."""
    evaluator = LocalizationEvaluator(workers=1)
    for start in range(0, len(pairs), 8):
        some = pairs[start : start + 8]
        maps, targets = ([np.load(pair[k]) for pair in some] for k in (0, 1))
        evaluator.update(maps, targets, names=[pair[0].stem for pair in some])
    return evaluator


def ours(pairs: Sequence[Paths], workers: int) -> LocalizationMetrics:
    """Every measure of all images."""
    whole = LocalizationEvaluator()
    for part in in_chunks(measured, pairs, workers):
        whole.merge(part)
    return whole.compute()


def elapsed(work: Callable[[], object]) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def environment(folder: Path) -> Path:
    """A Python that has scikit-learn."""
    if find_spec("sklearn"):
        return Path(sys.executable)
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    has = subprocess.run([python, "-c", "import sklearn"], check=False, capture_output=True)
    if has.returncode:
        wanted = (f"numpy=={np.__version__}", "scikit-learn", "joblib")
        subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    return python


@contextmanager
def rival(python: Path, folder: Path, images: int, workers: int) -> Any:
    """Gives what asks the rival for a pass."""
    command = [python, RIVAL, folder, str(images), str(workers)]
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean
    ) as process:
        assert process.stdin
        assert process.stdout
        print("rival:", process.stdout.readline().strip().removeprefix("ready "))

        def ask() -> dict[str, Any]:
            print("pass", file=process.stdin, flush=True)
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        yield ask
        process.stdin.close()


def line(name: str, seconds: Sequence[float], images: int) -> str:
    """Microseconds an image, and the spread of the runs."""
    middle = statistics.median(seconds)
    spread = 100 * (max(seconds) - min(seconds)) / middle
    return (
        f"{name:<30}{middle:9.3f} s {1e6 * middle / images:10.0f} us/image   spread {spread:.0f} %"
    )


def speed(pairs: list[Paths], workers: int, runs: int, ask: Callable[[], Any], some: int) -> None:
    """All three in turns, so that other load on the machine meets all alike."""
    rounds = []
    for _ in range(runs):
        floor = elapsed(lambda: list(in_chunks(read, pairs, workers)))
        own = elapsed(lambda: ours(pairs, workers))
        rounds.append((floor, own, ask()["seconds"]))
    floors, owns, others = zip(*rounds, strict=True)
    print(line("floor: reading both files", floors, len(pairs)))
    print(line("ours: every measure", owns, len(pairs)))
    print(line("rival: NumPy, scikit-learn", others, some))
    ratio = statistics.median(own / floor for floor, own, _ in rounds)
    print(f"ours / floor: {ratio:.2f} (goal: at most 4)")
    ratio = statistics.median(other / some * len(pairs) / own for _, own, other in rounds)
    print(f"rival / ours: {ratio:.1f} (goal: at least 8)")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rivals", type=Path, default=RIVAL.with_name(".rivals"))
    arguments = parser.parse_args()
    python = environment(arguments.rivals)
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"{arguments.workers} processes; Python {platform.python_version()}, NumPy "
        f"{np.__version__}, Numba {numba.__version__}; median of {arguments.runs} rounds, "
        f"{arguments.images} maps of {SIDE} x {SIDE}, read from the disk cache"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = write(folder, arguments.images)
        some = min(len(pairs), 256)
        with rival(python, folder, some, arguments.workers) as ask:
            found, plain = ours(pairs[:some], 1).mean, ask()["means"]
            for measure, value in plain.items():
                assert abs(found[measure] - value) < 1e-4, (measure, found[measure], value)
            print(f"both agree on the {len(plain)} measures of {some} images")
            ours(pairs, arguments.workers)  # starts the workers, which load what they need
            speed(pairs, arguments.workers, arguments.runs, ask, some)


if __name__ == "__main__":
    main()
