"""Times this checkout against another one: loading, augmentation, evaluation, packing.

    python benchmarks/versions.py OTHER_CHECKOUT [--eth80 FOLDER] [--pairs 9] [--only loader ...]

Each task runs in a process of its own, alternately from the two checkouts; a process times the work
alone, after one round of warming up, so that neither imports nor compiling count. Printed are the
medians and the median of the ratios pair by pair: above 1, this checkout is the faster one.

Without --eth80 everything is made of the generated sample.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parents[1]


def imagenets(*words: object) -> None:
    """Runs a command in this process, as `python -m imagenets` does."""
    sys.argv = ["imagenets", *map(str, words)]
    try:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            runpy.run_module("imagenets", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"{words}: exit code {end.code}") from None


def loader(facts: dict[str, str]) -> Callable[[], None]:
    """An epoch of training crops, two workers."""
    from imagenets import ImageNetS, Loader, RandomCrop  # a name that every version has

    data = ImageNetS(facts["root"], "train", facts["tier"])
    batches = Loader(data, 64, crop=RandomCrop(224), workers=2, shuffle=True, drop_last=True)

    def work() -> None:
        for _ in range(3):
            for batch in batches:
                batch.images.sum()

    return work


def augmentation(facts: dict[str, str]) -> Callable[[], None]:
    """Views of PASS, 2 x 224 and 6 x 96, of 32 images on the CPU."""
    import torch

    from imagenets import ImageNetS, Loader
    from imagenets.data.augment import ViewGroup, apply_groups, draw_groups

    data = ImageNetS(facts["root"], "train", facts["tier"])
    batch = next(iter(Loader(data, 32, shuffle=True, drop_last=True)))
    groups = (ViewGroup(2, 224, (0.14, 1.0)), ViewGroup(6, 96, (0.05, 0.14)))
    device = torch.device("cpu")

    def work() -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(12):
            apply_groups(batch.whole, draw_groups(batch.sizes, groups, generator), device)

    return work


def evaluation(facts: dict[str, str]) -> Callable[[], None]:
    """Every metric of a folder of masks, by the command."""
    words = ["--pred", facts["pred"], "--gt", facts["gt"], "--split", facts["tier"]]

    def work() -> None:
        for _ in range(4):
            imagenets("evaluate", *words, "--workers", 1, "--json")

    return work


def packing(facts: dict[str, str]) -> Callable[[], None]:
    """Raw archives to shards, as a command of its own: starting and ending its workers counts."""

    def work() -> None:
        with tempfile.TemporaryDirectory(dir=facts["work"]) as folder:
            words = ["--imagenet", facts["raw"], "--index", facts["index"], "--restart"]
            words += ["--annotations", facts["archive"], "--root", folder, "--json"]
            call = [sys.executable, "-m", "imagenets", "prepare", "--split", facts["tier"], *words]
            subprocess.run(call, check=True, capture_output=True, cwd=folder)

    return work


TASKS = {
    "loader": loader,
    "augmentation": augmentation,
    "evaluation": evaluation,
    "packing": packing,
}


def run_task(name: str, facts: dict[str, str]) -> None:
    """Prints the seconds that a task takes in this process."""
    work = TASKS[name](facts)
    work()
    start = time.perf_counter()
    work()
    print(f"seconds {time.perf_counter() - start:.4f}")


def timed(checkout: Path, name: str, facts: dict[str, str]) -> float:
    """Runs a task in a process that imports this checkout."""
    call = [sys.executable, __file__, "--task", name, "--facts", json.dumps(facts)]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("seconds ")]
    if not lines:
        raise SystemExit(f"{checkout}: {name} failed\n{done.stderr}")
    return float(lines[-1].split()[1])


def predictions(gt: Path, folder: Path) -> Path:
    """Writes the ground truth without its ignored pixels, moved by a few, as predictions."""
    from imagenets import masks

    for path in gt.glob("*/*.png"):
        ids = masks.decode(path)
        ids[ids == masks.IGNORED] = 0
        target = folder / path.relative_to(gt)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(masks.encode(np.roll(ids, 9, axis=1)))
    return folder


def inputs(eth80: Path | None, work: Path) -> dict[str, str]:
    """Prepares the set that all tasks read, with this checkout."""
    root = work / "root"
    if eth80 is None:
        imagenets("prepare", "--sample", "--root", root, "--layout", "both")
        archives, tier = root / "sample-source", "6"
        raw, index = archives / "raw", archives / "index"
    else:
        raw, index, archives, tier = eth80, eth80 / "index", eth80, "8"
    (archive,) = archives.glob("ImageNetS*.zip")
    if eth80 is not None:
        words = ["--imagenet", raw, "--index", index, "--annotations", archive]
        imagenets("prepare", "--split", tier, *words, "--root", root, "--layout", "both")
    gt = root / f"ImageNetS{tier}" / "validation-segmentation"
    paths = {"root": root, "raw": raw, "index": index, "archive": archive, "work": work}
    paths |= {"gt": gt, "pred": predictions(gt, work / "pred")}
    return {name: str(path) for name, path in paths.items()} | {"tier": tier}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", type=Path, nargs="?", help="the checkout to compare with")
    parser.add_argument("--eth80", type=Path, help="ETH-80 as raw ImageNet, see eth80.py")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--only", nargs="+", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--task", choices=tuple(TASKS), help=argparse.SUPPRESS)
    parser.add_argument("--facts", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        run_task(arguments.task, arguments.facts)
        return
    if arguments.other is None:
        parser.error("name the other checkout")
    work = Path(tempfile.mkdtemp())
    try:
        facts = inputs(arguments.eth80, work)
        print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
        for name in arguments.only:
            pairs = [
                (timed(HERE, name, facts), timed(arguments.other.resolve(), name, facts))
                for _ in range(arguments.pairs)
            ]
            here, there = (median(column) for column in zip(*pairs, strict=True))
            ratio = median(b / a for a, b in pairs)
            print(f"{name:14} this {here:7.3f} s, other {there:7.3f} s, ratio {ratio:.3f}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
