"""Distance matching at the size of tier 919, extrapolated from a tenth of it.

    python benchmarks/distance.py [--share 0.1] [--device cpu] [--threads 1]

Feature maps are generated, as large as a resnet50's for images of 256 x 341 pixels: 2048 channels
on 8 x 11 positions. 9,190 labelled images give three reference vectors each; 12,419 validation
images are compared with all of them. Times are of the process (all its threads), so that other work
on the machine hardly counts, and of the clock; memory is the most that was ever resident.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from imagenets.methods.neighbours import References, nearest_ids, reference_vectors, upsampled
from imagenets.models.registry import make_backbone

IMAGES, LABELLED, CLASSES = 12_419, 9_190, 919
CHANNELS, GRID, BATCH = 2048, (8, 11), 16
IDS = 3
"""In one mask: background and two classes, more than most have."""


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of the process and of the clock."""
    start = time.process_time(), time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.process_time() - start[0], time.perf_counter() - start[1]


def collect(images: int, device: torch.device) -> References:
    """The reference vectors of so many images, with maps and masks generated."""
    vectors, ids = [], []
    for number in range(images):
        maps = torch.rand(1, CHANNELS, *GRID, device=device)
        mask = torch.zeros(4 * GRID[0], 4 * GRID[1], device=device)
        mask[8:24, 8:30] = 1 + number % CLASSES
        mask[26:, 30:] = 1 + (number * 7) % CLASSES
        found, own = reference_vectors(upsampled(maps, 4)[0], mask)
        vectors.append(found)
        ids.append(own)
    return References(F.normalize(torch.cat(vectors)), torch.cat(ids))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.1, help="of the images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device = torch.device(args.device)
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {device}, ", end="")
    print(f"{args.threads} threads of {os.cpu_count()} cores; share {args.share}")

    labelled, images = round(LABELLED * args.share), round(IMAGES * args.share)
    report("references", timed(lambda: collect(labelled, device), device), labelled, LABELLED)
    references = References(
        F.normalize(torch.rand(IDS * LABELLED, CHANNELS, device=device)),
        torch.randint(0, CLASSES + 1, (IDS * LABELLED,), device=device),
    )
    with torch.inference_mode():
        maps = torch.rand(BATCH, CHANNELS, *GRID, device=device)
        steps = -(-images // BATCH)

        def match() -> None:
            for _ in range(steps):
                nearest_ids(maps, references)

        report(
            f"matching, {IDS * LABELLED} references", timed(match, device), steps * BATCH, IMAGES
        )
        backbone = make_backbone("resnet50").to(device).eval()
        batch = torch.rand(BATCH, 3, 256, 341, device=device).to(memory_format=torch.channels_last)
        backbone(batch)
        report("forward of resnet50", timed(lambda: backbone(batch), device), BATCH, IMAGES)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    gpu = (
        f", on the GPU {torch.cuda.max_memory_allocated() / 2**20:.0f}"
        if args.device != "cpu"
        else ""
    )
    print(f"resident at most: {peak:.0f} MiB{gpu}")


def report(what: str, seconds: tuple[float, float], measured: int, whole: int) -> None:
    process, clock = (1000 * value / measured for value in seconds)
    print(
        f"{what}: {measured} images, {process:.1f} ms an image of the process, {clock:.1f} of the "
        f"clock; {whole:,} images: {process * whole / 3.6e6:.2f} and {clock * whole / 3.6e6:.2f} h",
        flush=True,
    )


if __name__ == "__main__":
    main()
