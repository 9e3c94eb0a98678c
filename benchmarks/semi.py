"""A step of `imagenets semi` beside the bare forward and backward pass of the same network.

    python benchmarks/semi.py [--model resnet18] [--batch 16] [--crop 224] [--classes 50]

A step holds what a pass has, colours and blur, the loss over logits at twice their size, and AdamW.
Prints the ratio of each of nine pairs, taken in turn, and their median.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from as_json import Figures, told

from imagenets.data.augment import apply, draw_groups
from imagenets.methods.semi.presets import Config, make_config
from imagenets.methods.semi.run import SemiRun
from imagenets.methods.semi.train import backward, parameter_groups, starting_network
from imagenets.training.optimizers import ScaledAdamW
from imagenets.training.run import pick_device, seeded

PAIRS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="the ratios alone on stdout")
    words = parser.parse_args()
    told(partial(run_all, words), words.json)


def run_all(words: argparse.Namespace) -> Figures:
    """Compares steps; returns the ratios."""
    config = make_config(words.model, "few", batch=words.batch, crop=words.crop)
    device = pick_device(words.device)
    with tempfile.TemporaryDirectory() as folder:
        run = SemiRun(Path(folder), "3", Path(folder), config, device)
        ratios = measure(run, config, words.classes)
    print(
        f"{words.model}, {words.batch} images of {words.crop}, {words.classes} classes, torch "
        f"{torch.__version__}, {torch.get_num_threads()} threads, {device}, {platform.machine()}"
    )
    print("step / (forward + backward):", " ".join(f"{ratio:.3f}" for ratio in ratios))
    print(f"median {statistics.median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}")
    return {"step / bare": ratios}


def measure(run: SemiRun, config: Config, classes: int) -> list[float]:
    """The ratio of each pair."""
    network = starting_network(run, classes).train()
    optimizer = ScaledAdamW(parameter_groups(network, config), config.rate, config.weight_decay)
    generator = torch.Generator().manual_seed(0)
    shape = (config.batch, config.crop, config.crop)
    crops = torch.randint(0, 256, (*shape, 3), generator=generator, dtype=torch.uint8)
    crops = crops.permute(0, 3, 1, 2).to(run.device)
    masks = torch.randint(0, classes + 1, shape, generator=generator, dtype=torch.int16)
    masks = masks.to(run.device)
    sizes = torch.tensor([[config.crop, config.crop]]).expand(config.batch, 2)
    images = network.backbone.normalized(crops).to(run.image_dtype)
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        params = draw_groups(sizes, [config.colors], seeded(0, number))[0]
        views = apply(crops, params, run.device, dtype=run.image_dtype, channels_last=True)[0]
        optimizer.zero_grad()
        backward(run, network, views, masks)
        optimizer.step()

    def bare() -> None:
        network.zero_grad()
        with run.autocast():
            logits = network(images)
        logits.float().sum().backward()

    for work in (step, bare):
        seconds(work, run.device)
    return [seconds(step, run.device) / seconds(bare, run.device) for _ in range(PAIRS)]


def seconds(work: Callable[[], None], device: torch.device) -> float:
    """How long two calls take."""
    start = time.perf_counter()
    work()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
