"""How much there is to compute in each loop of a run: counted, so that time left can be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from imagenets.data.augment import ViewGroup
from imagenets.methods.pass_.cluster import ITERATIONS
from imagenets.methods.pass_.heads import AttentionNet, PretrainNet, SegmentationNet
from imagenets.methods.pass_.inference import averaged, crop_of
from imagenets.methods.pass_.presets import Config
from imagenets.models.dilation import dilate
from imagenets.training.run import Run

_IMAGES = 2
"""Images with which operations are counted: batch norm needs more than one."""

_SIDES = (3, 4)
"""Short and long side of a usual photograph."""


def work(run: Run[Config], stages: Sequence[str]) -> dict[str, float]:
    """Operations of each loop of some stages, in their order, as their progress calls them.

    Convolutions and matrix products are counted on networks without values; nothing is computed.

    Args:
        run: What is trained.
        stages: Names of stages.
    """
    config = run.config
    train, validation = run.dataset("train"), len(run.dataset("validation"))
    source = train if config.pretrain_split == "train" else run.dataset(config.pretrain_split)
    # what a run draws does not depend on this; the first loop may begin without gradients
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        one = _operations(config, len(train.classes))
    images = {
        "pretrain": len(source) * config.pretrain.epochs,
        "attention": len(train) * config.attention.epochs,
        "cluster: features": len(train),
        "cluster: k-means": len(train) * config.restarts,
        "pseudo: threshold": validation,
        "pseudo: training labels": len(train),
        "pseudo: validation labels": validation,
        "finetune": len(train) * config.keep * config.finetune.epochs,
        "predict: validation": validation,
    }
    return {
        loop: count * one[loop] for loop, count in images.items() if loop.split(":")[0] in stages
    }


def _operations(config: Config, classes: int) -> dict[str, float]:
    """Operations of one image in one pass of each loop."""
    with torch.device("meta"):
        pretraining = PretrainNet(config.arch, config.hidden, config.prototypes)
        attending = AttentionNet(config.arch, config.hidden, config.prototypes)
        segmenting = SegmentationNet(config.arch, classes)
        predicting = SegmentationNet(config.arch, classes)
        labelling = AttentionNet(config.arch, config.hidden, config.prototypes)
        grid = torch.empty(_IMAGES, 7, 7, 2)
        crop = torch.empty(_IMAGES, 3, config.crop, config.crop)
        whole = torch.empty(_IMAGES, 3, config.side, config.side * _SIDES[1] // _SIDES[0])
        side = crop_of(config).side
        large = torch.empty(_IMAGES, 3, side, side * _SIDES[1] // _SIDES[0])
    dilate(segmenting.backbone, config.finetune_grid)
    dilate(predicting.backbone, config.grid or config.finetune_grid)
    labelling.refine_grid(config.label_grid)
    for name, value in attending.named_parameters():
        value.requires_grad_(name.startswith(("fbg.", "prototypes.")))
    features = attending.backbone.channels[-1]

    def pretrain() -> None:
        out = pretraining(_crops(config.views), (grid, grid))
        parts = (out.scores, out.shallow_scores, out.projection, out.prediction)
        torch.stack([part.sum() for part in parts]).sum().backward()

    def label() -> None:
        maps, _, _ = labelling.gated(whole)
        torch.einsum("nfhw,kf->nkhw", maps, torch.empty(classes, features, device="meta"))

    return {
        "pretrain": _count(pretrain),
        "attention": _count(lambda: _backward(attending(_crops(config.attention_views))[1])),
        "cluster: features": _count(torch.no_grad()(lambda: attending.cluster_features(crop))),
        "cluster: k-means": 2.0 * ITERATIONS * classes * features,
        "pseudo: threshold": _count(torch.no_grad()(label)),
        "pseudo: training labels": _count(torch.no_grad()(label)),
        "pseudo: validation labels": _count(torch.no_grad()(label)),
        "finetune": _count(lambda: _backward(segmenting(crop))),
        "predict: validation": _count(torch.no_grad()(lambda: averaged(predicting, large, config))),
    }


def _crops(groups: Sequence[ViewGroup]) -> list[Tensor]:
    sizes = [group.size for group in groups for _ in range(group.views)]
    return [torch.empty(_IMAGES, 3, size, size, device="meta") for size in sizes]


def _backward(values: Tensor) -> None:
    values.sum().backward()


def _count(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / _IMAGES
