"""PASS on ETH-80 from a backbone that was trained on ImageNet, in the place of its pretraining.

    pip install 'imagenets[extras]'
    python benchmarks/eth80_pass.py --eth80 FOLDER --work FOLDER [--seeds 0 1 2] [--head]
        [--stages pretrain,cluster,pseudo]

The backbone is that of eth80_distance.py, a CNN. By default it looks where its last map is longest,
which needs no training; with --head it gets the attention head of PASS, trained on it, frozen. No
step sees a label but the choice of the threshold and the match, as published. Prints what clusters
and labels score, and the fine-tuned network where all steps are run. An interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from eth80 import prepare
from eth80_distance import make
from torch import Tensor, nn

from imagenets import ImageNetS
from imagenets.methods.pass_ import ALL_STAGES
from imagenets.methods.pass_.given import PassRun, stages_of, with_backbone
from imagenets.methods.pass_.presets import PRESETS
from imagenets.methods.pass_.score import score_run
from imagenets.models.backbone import Backbone, Wrapped
from imagenets.training.stage import Stages

TIER = "8"
COLUMNS = ("Acc", "mIoU", "mBIoU", "FMeasure", "MS", "ML")


class Looking(nn.Module):
    """A network that keeps its last map, so that its attention costs no second pass."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.inner = backbone
        self.kept = torch.empty(0)

    def forward(self, images: Tensor) -> Tensor:
        self.kept = self.inner(images)
        return self.kept

    def looks(self, images: Tensor) -> Tensor:
        """The length of the feature at each position of the images that came last."""
        return self.kept.norm(dim=1)


def run_of(root: Path, out: Path, seed: int, head: bool, workers: int) -> PassRun:
    """A run with the sizes of the published ones; the rest is of the preset for few images."""
    preset, backbone = PRESETS["sample"], make()
    if not head:
        network = Looking(backbone)
        backbone = Wrapped(network, attention=network.looks, name=f"{backbone.name}, its length")
    finetune = replace(preset.finetune, epochs=2)
    config = replace(preset, side=256, crop=224, seed=seed, finetune=finetune)
    config = with_backbone(config, backbone)
    device = torch.device("cpu")
    return PassRun(root, TIER, out, config, device, workers, backbone=backbone)


def figures(run: PassRun, stages: Sequence[str]) -> dict[str, float]:
    """Trains what is left of a run, and scores its steps, percent."""
    Stages(ALL_STAGES, run).run(stages)
    clusters = json.loads((run.out / "cluster" / "clusters.json").read_bytes())
    labels = json.loads((run.out / "pseudo" / "threshold.json").read_bytes())
    found = {name: float(clusters[name]) for name in ("NMI", "accuracy")}
    found |= {"mIoU of labels": max(labels["mIoU"]), "threshold": labels["best"]}
    if "predict" in stages:
        scores = score_run(ImageNetS(run.root, "validation", TIER), run.out)
        found |= {name: float(scores.metrics[name]) for name in COLUMNS}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--eth80", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--head", action="store_true")
    parser.add_argument("--stages")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    root = args.work / "root"
    prepare(args.eth80, root)
    for seed in args.seeds:
        out = args.work / f"{'head' if args.head else 'own'}-{seed}"
        run = run_of(root, out, seed, args.head, args.workers)
        stages = args.stages.split(",") if args.stages else stages_of(run.config)
        found = figures(run, stages)
        print(seed, {name: round(value, 2) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    main()
