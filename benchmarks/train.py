"""Each step of PASS on the CPU against the bare network in its fastest layout.

    python benchmarks/train.py                       # the sample's network, minutes
    python benchmarks/train.py --preset pass50 --batch 16
    python benchmarks/train.py --memory              # of a fine-tuning step of pass919, an image

A step is what the stage itself does with a batch of decoded images: views, network, losses,
assignments, optimiser; the bare one is forward and backward of the same network on the same crops.
Inference is what a stage does from a full batch of decoded images to features, labels or written
masks; the bare one is the forward pass of the same network. Both in turns, so that other load on
the machine meets both alike; the ratio is the median over the pairs. Decoding is measured by
benchmarks/loader.py. The images are generated.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from as_json import Figures, told
from torch import Tensor, nn

from imagenets.core.pool import available_cpus
from imagenets.data.augment import center_crop, draw_groups, grids, normalize
from imagenets.data.loader import Batch, by_shape
from imagenets.data.loader.crops import ShortSide
from imagenets.methods.pass_ import STAGES, attention, features, finetune, predict, pretrain
from imagenets.methods.pass_.given import backbone_of
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.mask_files import write_mask
from imagenets.methods.pass_.presets import PRESETS, TRAINED, Config
from imagenets.methods.pass_.pseudo import Labeller
from imagenets.methods.pass_.trained import load_attention, load_segmentation, make_views
from imagenets.training.loop import Training
from imagenets.training.optimizers import LarcSGD
from imagenets.training.run import Run, seeded
from imagenets.training.stage import Stages
from imagenets.training.upsampled import upsampled_cross_entropy

TIER = "6"
PAIRS = 9
FAR = 10**6
"""A step at which the queue is used and no prototypes are frozen (but those of `sample`)."""

MEMORY_BATCHES = (4, 16)
GOALS = {"training": 1.10, "inference": 1.15}

Work = Callable[[], object]
Bare = Callable[[torch.memory_format], Work]


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="sample", choices=PRESETS)
    parser.add_argument("--batch", type=int, help="images a step (default: the preset's)")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="pretrain, attention, ...")
    parser.add_argument(
        "--busy",
        action="store_true",
        help="one thread, and processor time instead of the clock: on a machine that others use",
    )
    parser.add_argument("--memory", action="store_true", help="of fine-tuning 919 classes instead")
    parser.add_argument("--json", action="store_true", help="the ratios alone on stdout")
    arguments = parser.parse_args()
    told(partial(run_all, arguments), arguments.json)


def run_all(arguments: argparse.Namespace) -> Figures:
    """Compares every stage that is asked for; returns its ratios."""
    clock = time.process_time if arguments.busy else time.perf_counter
    if arguments.busy:
        torch.set_num_threads(1)
    print(machine() + (", processor time" if arguments.busy else ""))
    if arguments.memory:
        memory()
        return {}
    config = PRESETS[arguments.preset]
    config = replace(config, batch=arguments.batch or config.batch, restarts=1)
    epochs = {name: replace(getattr(config, name), epochs=0) for name in TRAINED}
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(Path(folder), replace(config, **epochs))
        print(f"{arguments.preset}, {config.arch}, batches of {config.batch} images")
        return {
            name: compare(name, GOALS[kind], ours, bare, arguments.pairs, clock)
            for name, (kind, ours, bare) in works(run).items()
            if not arguments.only or name in arguments.only
        }


def machine() -> str:
    """What the numbers were taken on."""
    return (
        f"{platform.processor() or platform.machine()}, {available_cpus()} of {os.cpu_count()} "
        f"cores, {torch.get_num_threads()} threads; Python {platform.python_version()}, torch "
        f"{torch.__version__}"
    )


def prepared(folder: Path, config: Config) -> Run[Config]:
    """A run on generated images whose networks are those of the start: none is trained."""
    root = folder / "root"
    call = [sys.executable, "-m", "imagenets", "sample", "--root", str(root)]
    subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
    config = replace(config, pretrain_split="train")
    run = Run(root, TIER, folder / "run", config, torch.device("cpu"))
    Stages(STAGES, run).run(["pretrain", "attention", "cluster", "pseudo", "finetune"])
    return run


def works(run: Run[Config]) -> dict[str, tuple[str, Work, Bare]]:
    """What is compared: name -> kind, the stage's own work, the bare network in a layout."""
    steps: dict[str, tuple[Any, Any]] = {
        "pretrain": (pretrain, pretrain.pretrain),
        "attention": (attention, attention.attention),
        "finetune": (finetune, finetune.finetune),
    }
    trained = {name: ("training", *training(run, *step)) for name, step in steps.items()}
    return trained | {name: ("inference", *pair) for name, pair in inference(run).items()}


def training(
    run: Run[Config], module: Any, stage: Callable[[Run[Config]], object]
) -> tuple[Work, Bare]:
    """A step of a stage, as the loop takes it; and its network alone, forward and backward."""
    held: list[Training] = []
    with mock.patch.object(module, "train", lambda _, given: held.append(given) or {}):
        stage(run)
    (given,) = held
    for group in given.optimizer.param_groups:
        group["lr"] = 0.0  # the same work, on the same weights: one batch is soon learnt by heart
    batch = next(iter(given.loader)).clone()
    inputs = network_inputs(run, given.name, batch)

    def step() -> None:
        given.optimizer.zero_grad()
        given.step(batch, seeded(0), FAR)
        given.optimizer.step()

    def bare(layout: torch.memory_format) -> Work:
        network, held = lay_out(given.network, layout), lay_out(inputs, layout)

        def work() -> None:
            network.zero_grad()
            out = network(*held)
            values = vars(out).values() if hasattr(out, "projection") else out
            found = [out] if isinstance(out, Tensor) else [v for v in values if v.requires_grad]
            torch.autograd.backward(found, [torch.ones_like(value) for value in found])

        return work

    return step, bare


def network_inputs(run: Run[Config], name: str, batch: Batch) -> list[Any]:
    """What the network of a stage is called with."""
    if name == "finetune":
        return [normalize(batch.crops)]
    groups = run.config.views if name == "pretrain" else run.config.attention_views
    params = draw_groups(batch.sizes, groups, seeded(1))
    crops = [group.flatten(0, 1) for group in make_views(run, batch, params, backbone_of(run))]
    return [crops, list(grids(params[0]))] if name == "pretrain" else [crops]


def lay_out(value: Any, layout: torch.memory_format) -> Any:
    """A copy of a network or of tensors in a layout."""
    if isinstance(value, nn.Module):
        # torch's types lack this call
        return copy.deepcopy(value).to(memory_format=layout)  # type: ignore[call-overload]
    if isinstance(value, list):
        return [lay_out(one, layout) for one in value]
    return value.contiguous(memory_format=layout)


def inference(run: Run[Config]) -> dict[str, tuple[Work, Bare]]:
    """What the stages without training make of a full batch, and their networks alone."""
    data = run.dataset("train")
    crop = ShortSide(run.config.side)
    fullest = max(by_shape(crop.shapes(data.sizes), run.config.batch), key=len)
    full = np.resize(fullest, run.config.batch)  # some of them twice, if need be
    batch = next(run.batches(data, [full], crop, "")).clone()
    network, labeller = load_attention(run), Labeller.of(run)
    segmentation = load_segmentation(run, len(data.classes))
    square = center_crop(batch.crops, run.config.crop)

    rounds = count()

    def written() -> None:
        folder = run.out / "masks" / str(next(rounds))  # a file that is replaced costs more
        for name, ids in predict.segment(segmentation, batch, data, run.config):
            write_mask(folder / f"{name}.png", ids)

    def alone(module: nn.Module, call: str, pixels: Tensor) -> Bare:
        images = normalize(pixels)

        def bare(layout: torch.memory_format) -> Work:
            held, given = lay_out(module, layout), lay_out(images, layout)
            return torch.inference_mode()(lambda: getattr(held, call)(given))

        return bare

    features_made = torch.inference_mode()(lambda: features.features_of(network, square))
    return {
        "features": (features_made, alone(network, "cluster_features", square)),
        "labels": (lambda: labeller.stored(batch, data), alone(network, "gated", batch.crops)),
        "masks": (written, alone(segmentation, "forward", batch.crops)),
    }


def compare(
    name: str, goal: float, ours: Work, bare: Bare, pairs: int, clock: Callable[[], float]
) -> list[float]:
    """Prints and returns the stage's work over the bare network's, in the faster of its layouts."""

    def elapsed(work: Work) -> float:
        start = clock()
        work()
        return clock() - start

    layouts = {layout: bare(layout) for layout in (torch.contiguous_format, torch.channels_last)}
    ours()
    tried = {layout: min(elapsed(work) for _ in range(3)) for layout, work in layouts.items()}
    fastest = min(tried, key=lambda layout: tried[layout])
    rows = [(elapsed(ours), elapsed(layouts[fastest])) for _ in range(pairs)]
    ratios = sorted(own / alone for own, alone in rows)
    own, alone = (1000 * statistics.median(column) for column in zip(*rows, strict=True))
    gain = tried[torch.contiguous_format] / tried[torch.channels_last]
    print(
        f"{name:<10} {statistics.median(ratios):5.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}), goal "
        f"{goal:.2f}   ours {own:8.1f} ms, bare {alone:8.1f} ms ({str(fastest)[6:]}); "
        f"channels-last is {gain:.2f} times as fast",
        flush=True,
    )
    return ratios


def memory() -> None:
    """Peak memory of a fine-tuning step of pass919, by the image: from children of two sizes."""
    for kind in ("float32", "bfloat16"):
        peaks = {count: peak(count, kind) for count in MEMORY_BATCHES}
        small, large = MEMORY_BATCHES
        image = (peaks[large] - peaks[small]) / (large - small)
        whole = peaks[small] + (256 - small) * image
        print(
            f"pass919, fine-tuning, {kind}: {image / 1e6:.1f} MB an image (batches of {small} and "
            f"{large}), so {whole / 1e9:.1f} GB for 256 images (goal: under 30)"
        )


def peak(count: int, kind: str) -> float:
    """Bytes that a child process had at most while it took two steps."""
    call = [sys.executable, __file__, "--step", str(count), kind]
    return float(subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True).stdout)


def one_step(count: int, kind: str) -> None:
    """Prints the peak of this process over two steps of `count` images."""
    torch.manual_seed(0)
    network = SegmentationNet("resnet50", 919)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
    optimizer = LarcSGD(network.parameters(), 0.6)
    images = torch.randn(count, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 920, (count, 112, 112))
    for _ in range(2):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
            logits = network(images)
        upsampled_cross_entropy(logits, labels).backward()
        optimizer.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        one_step(int(sys.argv[2]), sys.argv[3])
    else:
        main()
