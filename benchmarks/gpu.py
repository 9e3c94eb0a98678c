"""What this package does on one GPU: one table, one JSON, in under nine minutes on an H100.

    python benchmarks/gpu.py --images FOLDER            # photographs (JPEG), some hundred will do
    python benchmarks/gpu.py --images FOLDER --only kmeans finetune
    python benchmarks/gpu.py --images FOLDER --small    # on the CPU, tiny: shows that it works

Parts:

- tests: every test that needs CUDA;
- augment: the views of PASS against kornia and torchvision v2 where they are installed, and the
  share of the memory's bandwidth (goals 8, 8, 50 %);
- pretrain: steps of tier 50 and 919, batch 256: images a second from device memory, fed by the
  loader, and what the loader alone decodes (goal: 0.95 of the smaller of the two);
- finetune: a step of 919 (920 maps of 112 x 112 for 256 images): time, peak memory (goal 30 GB);
- kmeans: 1.2 million points of 2,048 numbers into 919 clusters, 20 iterations, in float32 and TF32:
  share of the matrix product alone (goal 50 %), and the time of 30 restarts;
- label: images a second through the labeller of step 4, on the device.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from augment import RECIPES, kornia_views
from augment_gpu import gpu_table
from loader import write_set

from imagenets import ImageNetS
from imagenets.core.pool import available_cpus
from imagenets.data.loader import on_device
from imagenets.methods.pass_ import cluster, finetune, pretrain
from imagenets.methods.pass_.heads import AttentionNet, SegmentationNet
from imagenets.methods.pass_.presets import PRESETS, Config
from imagenets.training.loop import Training
from imagenets.training.optimizers import LarcSGD
from imagenets.training.run import Run, seeded

TESTS = ("tests/data/augment", "tests/data/loader", "tests/methods", "tests/models")


class Sizes:
    """How much of everything; the small ones run on a CPU in a minute."""

    def __init__(self, small: bool) -> None:
        self.small = small
        self.batch = 8 if small else 256
        self.classes = 20 if small else 919
        self.side = 64 if small else 224
        self.points, self.features = (4_000, 32) if small else (1_200_000, 2048)
        self.steps = 2 if small else 10
        self.photos = 32 if small else 1024

    def config(self, preset: str) -> Config:
        """A preset, or a small one that takes the same way."""
        config = replace(PRESETS["sample" if self.small else preset], batch=self.batch)
        return replace(config, pretrain_split="train")


def main() -> None:
    """Prints one table; with --json, writes the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder of JPEGs")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a CPU")
    parser.add_argument("--workers", type=int, default=available_cpus())
    parser.add_argument("--json", type=Path, help="where the numbers go")
    arguments = parser.parse_args()
    if not arguments.small and not torch.cuda.is_available():
        parser.error("there is no GPU: --small shows on a CPU that this works")
    device = torch.device("cpu" if arguments.small else "cuda")
    sizes = Sizes(arguments.small)
    found: dict[str, Any] = {"machine": machine(device)}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            start = time.perf_counter()
            try:
                found[name] = PARTS[name](sizes, device, arguments, Path(folder))
            except Exception as error:  # noqa: BLE001 - told, and the exit code is 1; minutes of a
                # GPU are dear, and the other parts do not depend on this one
                traceback.print_exc()
                found[name] = {"failed": f"{type(error).__name__}: {error}"}
            found[name]["seconds of this part"] = round(time.perf_counter() - start, 1)
            print(lines_of(name, found[name]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if any("failed" in numbers or numbers.get("rc") for numbers in found.values()):
        raise SystemExit(1)


def machine(device: torch.device) -> dict[str, str]:
    """What was measured on, and with what."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.machine()
    found = {"device": name, "python": platform.python_version()}
    return found | {package: version(package) for package in ("torch", "numpy", "numba")}


def lines_of(name: str, numbers: dict[str, Any]) -> str:
    """One part of the table."""
    rows = [f"{name}"]
    rows += [f"  {key:<52}{value}" for key, value in numbers.items()]
    return "\n".join(rows)


def seconds(work: Callable[[], Any], device: torch.device, rounds: int) -> float:
    """Seconds of one call, the median of some after one to warm up."""
    taken = []
    for number in range(rounds + 1):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        if number:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def wait(device: torch.device) -> None:
    """Lets the device finish."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def peak(device: torch.device, work: Callable[[], Any]) -> float | None:
    """Most gigabytes that were taken on the device; None on a CPU, which does not count them."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    work()
    wait(device)
    return round(torch.cuda.max_memory_allocated() / 1e9, 2)


def tests(sizes: Sizes, device: torch.device, given: Any, folder: Path) -> dict[str, Any]:
    """Runs the tests; those of CUDA are skipped by themselves where there is none."""
    top = Path(__file__).parents[1]
    words = [sys.executable, "-m", "pytest", "-q", "-m", "not extras and not slow"]
    words += ["-k", "gpu or cuda or kernel or device"]
    done = subprocess.run([*words, *TESTS], cwd=top, capture_output=True, text=True, check=False)
    return {"pytest": (done.stdout.strip().splitlines() or ["nothing"])[-1], "rc": done.returncode}


def augment(sizes: Sizes, device: torch.device, given: Any, folder: Path) -> dict[str, Any]:
    """Prints the table of augment_gpu.py."""
    if sizes.small:
        return {"left out": "the kernels need a GPU; benchmarks/augment.py measures the CPU"}
    files = [path.read_bytes() for path in photographs(given.images)[:256]]
    gpu_table(files, RECIPES, kornia_views)
    return {"table": "above"}


def photographs(folder: Path) -> list[Path]:
    """The JPEGs of a folder."""
    found = sorted(folder.rglob("*.JPEG")) or sorted(folder.rglob("*.jpg"))
    if not found:
        raise SystemExit(f"{folder}: no JPEGs")
    return found


def stored(sizes: Sizes, given: Any, folder: Path) -> Path:
    """A packed set of the photographs, written once."""
    root = folder / "set"
    if not root.is_dir():
        paths = photographs(given.images)
        write_set(root, [paths[i % len(paths)] for i in range(sizes.photos)], "restart")
    return root


def captured(stage: Any, run: Run[Config]) -> Training:
    """What a stage hands to the training loop."""
    made: list[Training] = []

    def keep(_: Run[Any], training: Training) -> dict[str, float]:
        made.append(training)
        return {}

    with mock.patch.object(stage, "train", keep):
        getattr(stage, stage.STAGE.name)(run)
    return made[0]


def pretraining(sizes: Sizes, device: torch.device, given: Any, folder: Path) -> dict[str, Any]:
    """Steps of pretraining, from device memory and fed."""
    root, found = stored(sizes, given, folder), {}
    for preset in ("pass50", "pass919"):
        config = sizes.config(preset)
        tier = ImageNetS(root, "train").tier
        run = Run(root, tier, folder / preset, config, device, given.workers)
        training = captured(pretrain, run)
        batch = next(iter(on_device(training.loader, device)))

        step = partial(take, training, config.seed)
        held = config.batch / seconds(partial(step, batch), device, sizes.steps)
        decoded = rate(training, lambda _: None, device, config.batch)
        whole = rate(training, step, device, config.batch)
        training.loader.close()
        found |= {
            f"{preset}: images/s from device memory": round(held),
            f"{preset}: images/s that the loader decodes": round(decoded),
            f"{preset}: images/s fed by the loader": round(whole),
            f"{preset}: of the smaller of the two (goal 0.95)": round(
                whole / min(held, decoded), 3
            ),
            f"{preset}: peak memory, GB": peak(device, step),
        }
    return found


def take(training: Training, seed: int, batch: Any) -> None:
    """One step of training."""
    training.optimizer.zero_grad()
    training.step(batch, seeded(seed, training.name, 0), 0)
    training.optimizer.step()


def rate(
    training: Training, work: Callable[[Any], None], device: torch.device, batch: int
) -> float:
    """Images a second over an epoch, from the second batch on."""
    count, start = 0, 0.0
    for number, one in enumerate(on_device(training.loader, device)):
        if number == 1:
            wait(device)
            start = time.perf_counter()
        work(one)
        count += number > 0
    wait(device)
    return max(count, 1) * batch / (time.perf_counter() - start)


@dataclass
class Held:
    """A batch that lies on the device already."""

    crops: torch.Tensor
    crop_masks: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.crops)


def finetuning(sizes: Sizes, device: torch.device, given: Any, folder: Path) -> dict[str, Any]:
    """A step of fine-tuning, of images and labels that lie on the device."""
    config = sizes.config("pass919")
    run = Run(folder, "919", folder / "finetune", config, device)
    network = run.place(SegmentationNet(config.arch, sizes.classes)).train()
    optimizer = LarcSGD(network.parameters(), 0.6)
    shape = (config.batch, 3, sizes.side, sizes.side)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    labels = torch.randint(0, sizes.classes + 1, (shape[0], *shape[2:]), device=device)
    batch: Any = Held(images, labels)

    def step() -> None:
        optimizer.zero_grad()
        finetune.backward(run, network, batch)
        optimizer.step()

    taken = seconds(step, device, sizes.steps)
    return {
        "milliseconds a step": round(1e3 * taken, 1),
        "images/s": round(config.batch / taken),
        "peak memory, GB (goal 30)": peak(device, step),
    }


def clustering(sizes: Sizes, device: torch.device, given: Any, folder: Path) -> dict[str, Any]:
    """One restart of k-means against the bare matrix products of it."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (sizes.points, sizes.features)
    points = F.normalize(torch.randn(shape, generator=generator, device=device))
    centroids = points[: sizes.classes].clone()
    found = {}
    for name, precision in (("float32", "highest"), ("TF32", "high")):
        torch.set_float32_matmul_precision(precision)

        def products() -> None:
            for chunk in points.split(cluster.CHUNK):
                chunk @ centroids.t()

        bare = seconds(products, device, 2) * (cluster.ITERATIONS + 2)  # the last ones: the labels
        taken = seconds(lambda: cluster.kmeans(points, sizes.classes, 1, 0), device, 1)
        found |= {
            f"{name}: seconds of one restart": round(taken, 2),
            f"{name}: seconds of 30": round(30 * taken, 1),
            f"{name}: matrix products alone / k-means (goal 0.5)": round(bare / taken, 2),
        }
    torch.set_float32_matmul_precision("highest")
    return found


def labelling(sizes: Sizes, device: torch.device, given: Any, folder: Path) -> dict[str, Any]:
    """The grids of labels and attention of a batch that lies on the device."""
    from imagenets.methods.pass_.pseudo import Labeller

    config = sizes.config("pass919")
    run = Run(folder, "919", folder / "label", config, device)
    network = run.place(AttentionNet(config.arch, config.hidden, config.prototypes)).eval()
    centroids = torch.randn(sizes.classes, network.backbone.channels[-1], device=device)
    labeller = Labeller(network, F.normalize(centroids))
    shape = (config.batch, 3, config.side, config.side * 4 // 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    batch: Any = Held(images)

    def work() -> None:
        with torch.inference_mode():
            labeller._grids(batch)

    return {"images/s": round(config.batch / seconds(work, device, sizes.steps))}


Part = Callable[[Sizes, torch.device, Any, Path], dict[str, Any]]

PARTS: dict[str, Part] = {
    "tests": tests,
    "augment": augment,
    "pretrain": pretraining,
    "finetune": finetuning,
    "kmeans": clustering,
    "label": labelling,
}


if __name__ == "__main__":
    main()
