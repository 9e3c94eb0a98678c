"""What each option of prediction and of labels costs, on the CPU, beside all of them off.

    python benchmarks/prediction.py                  # the sample's network, minutes
    python benchmarks/prediction.py --preset pass50 --batch 8
    python benchmarks/prediction.py --busy           # on a machine that others use

Prediction is what step 6 does from a full batch of decoded images to written masks, labelling what
step 4 does up to labels on the grid. Options and off come in turns, so that other load on the
machine meets all alike; the ratio is the median over the rounds. Networks are not trained and
images are generated, which changes no time but that of refining: it grows with the number of
classes that an image is predicted to hold, told beside it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from train import machine, prepared

from imagenets.data.loader import Batch
from imagenets.methods.pass_.inference import largest
from imagenets.methods.pass_.mask_files import write_mask
from imagenets.methods.pass_.predict import segment
from imagenets.methods.pass_.presets import PRESETS, TRAINED, Config
from imagenets.methods.pass_.pseudo import Labeller
from imagenets.methods.pass_.sizes import whole
from imagenets.methods.pass_.trained import load_segmentation
from imagenets.training.run import Run

ROUNDS = 5
SQUARE = 16
"""Side of the segments that vote, pixels."""

PREDICTION: Mapping[str, Mapping[str, Any]] = {
    "grid=16": {"grid": 16},
    "grid=8": {"grid": 8},
    "flip=true": {"flip": True},
    "scales=[0.75,1,1.25]": {"scales": (0.75, 1.0, 1.25)},
    "refine=10": {"refine": 10},
    "--regions": {"regions": "segments", "regions_from": "superpixels"},
}
LABELS: Mapping[str, Mapping[str, Any]] = {
    "label_grid=16": {"label_grid": 16},
    "label_grid=8": {"label_grid": 8},
    "refine_labels=10": {"refine_labels": 10},
}

Work = Callable[[], float]


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="sample", choices=PRESETS)
    parser.add_argument("--batch", type=int, help="images a batch (default: the preset's)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--busy", action="store_true", help="one thread, and processor time instead of the clock"
    )
    arguments = parser.parse_args()
    clock = time.process_time if arguments.busy else time.perf_counter
    if arguments.busy:
        torch.set_num_threads(1)
    print(machine() + (", processor time" if arguments.busy else ""))
    config = PRESETS[arguments.preset]
    config = replace(config, batch=arguments.batch or config.batch, restarts=1)
    none = {name: replace(getattr(config, name), epochs=0) for name in TRAINED}
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(Path(folder), replace(config, **none))
        print(f"{arguments.preset}, {config.arch}, batches of {config.batch} images")
        for what, options in ((predicting, PREDICTION), (labelling, LABELS)):
            made = {
                name: what(changed(run, given))
                for name, given in ({"off": {}} | dict(options)).items()
            }
            for line in table(made, config.batch, arguments.rounds, clock):
                print(line, flush=True)


def changed(run: Run[Config], given: Mapping[str, Any]) -> Run[Config]:
    """A run with other settings; segments are squares of the same side, made here."""
    if "regions" in given:
        folder = run.out / str(given["regions"])
        data = run.dataset("train")
        for name, (width, height) in zip(data.names, data.sizes.tolist(), strict=True):
            rows, columns = np.mgrid[:height, :width] // SQUARE
            path = folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((1 + rows * (width // SQUARE + 1) + columns).astype(np.uint16)).save(
                path
            )
        given = {**given, "regions": str(folder)}
    return replace(run, config=replace(run.config, **given))


def full_batch(run: Run[Config]) -> Batch:
    """Decoded images of the commonest shape, some of them twice if need be."""
    data = run.dataset("train")
    backbone = load_segmentation(run, len(data.classes)).backbone
    crop, batches = whole(backbone, run.config, data.sizes, largest(run.config))
    fullest = max(batches, key=len)
    return next(run.batches(data, [np.resize(fullest, run.config.batch)], crop, "")).clone()


def predicting(run: Run[Config]) -> Work:
    """Masks of a batch, written; gives the mean number of ids in one."""
    batch, data = full_batch(run), run.dataset("train")
    network = load_segmentation(run, len(data.classes))

    def work() -> float:
        found = []
        for number, (_, ids) in enumerate(segment(network, batch, data, run.config)):
            write_mask(run.out / "written" / f"{number}.png", ids)
            found.append(len(np.unique(ids)))
        return statistics.mean(found)

    return work


def labelling(run: Run[Config]) -> Work:
    """Labels of a batch; gives the mean number of ids in one."""
    batch, data, labeller = full_batch(run), run.dataset("train"), Labeller.of(run)
    return lambda: statistics.mean(len(np.unique(one.ids)) for one in labeller.stored(batch, data))


def table(
    made: Mapping[str, Work], images: int, rounds: int, clock: Callable[[], float]
) -> list[str]:
    """A line for each: images/s, times as slow as off, ids in an image."""
    taken: dict[str, list[float]] = {name: [] for name in made}
    held = {}
    for turn in range(rounds + 1):  # the first one warms up
        for name, work in made.items():
            start = clock()
            held[name] = work()
            if turn:
                taken[name].append(clock() - start)
    lines = [f"{'':22} {'images/s':>9} {'x off':>7} {'ids':>6}"]
    for name, seconds in taken.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, taken["off"], strict=True))
        rate = images / statistics.median(seconds)
        lines.append(f"{name:22} {rate:9.1f} {ratio:7.2f} {held[name]:6.1f}")
    return lines


if __name__ == "__main__":
    main()
