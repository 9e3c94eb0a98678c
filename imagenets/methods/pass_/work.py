"""How much there is to compute in each loop of a run: counted, so that time left can be told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from imagenets.data.augment import ViewGroup
from imagenets.methods.pass_.attending import OwnAttention
from imagenets.methods.pass_.cluster import ITERATIONS
from imagenets.methods.pass_.given import backbone_of, taken_over
from imagenets.methods.pass_.heads import AttentionNet, PretrainNet, SegmentationNet
from imagenets.methods.pass_.inference import averaged, largest
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.sizes import fitted, square
from imagenets.models.backbone import Backbone, OneMap
from imagenets.models.dilation import dilate
from imagenets.training.run import Run

_IMAGES = 2
"""Images with which operations are counted: batch norm needs more than one."""

_MEASURED = 1000.0
"""Operations a pixel as whose time sorting its attention counts, roughly."""

_SIDES = (3, 4)
"""Short and long side of a usual photograph."""

_TRAINED = 3
"""Operations of a step of training for one of the forward pass."""


class _StandIn(Backbone):
    """Gives maps without values in the shapes of another backbone, which cannot be without."""

    def __init__(self, backbone: OneMap) -> None:
        super().__init__()
        self.name, self.attends = backbone.name, backbone.attends
        self.channels, self.strides = backbone.channels, backbone.strides
        self.patch, self.size = backbone.patch, backbone.size

    def maps(self, images: Tensor, levels: Sequence[int] = (-1,)) -> list[Tensor]:
        """The one map."""
        shape = [ceil(side / self.strides[0]) for side in images.shape[2:]]
        return [images.new_empty(len(images), self.channels[0], *shape)]

    def attended(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The map and the attention."""
        found = self(images)
        return found, found[:, 0]


def work(run: Run[Config], stages: Sequence[str]) -> dict[str, float]:
    """Operations of each loop of some stages, in their order, as their progress calls them.

    Convolutions and matrix products are counted on networks without values; nothing is computed but
    one pass of a backbone from another library.

    Args:
        run: What is trained.
        stages: Names of stages.
    """
    config, given = run.config, taken_over(run.config)
    left = [stage for stage in stages if stage not in given]
    train, validation = run.dataset("train"), len(run.dataset("validation"))
    source = train if "pretrain" not in left else run.dataset(config.pretrain_split)
    # what a run draws does not depend on this; the first loop may begin without gradients
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        one = _operations(run, len(train.classes))
    images = {
        "pretrain": len(source) * config.pretrain.epochs,
        "attention": len(train) * config.attention.epochs,
        "cluster: features": len(train),
        "cluster: k-means": len(train) * config.restarts,
        "pseudo: threshold": validation,
        "pseudo: training labels": len(train),
        "pseudo: validation labels": validation,
        "pseudo: attention": validation,
        "finetune": len(train) * config.keep * config.finetune.epochs,
        "predict: validation": validation,
    }
    return {loop: count * one[loop] for loop, count in images.items() if loop.split(":")[0] in left}


def _operations(run: Run[Config], classes: int) -> dict[str, float]:
    """Operations of one image in one pass of each loop."""
    config, backbone = run.config, backbone_of(run)
    arch = _StandIn(backbone) if isinstance(backbone, OneMap) else config.arch
    each = _each_pixel(backbone, config) if isinstance(backbone, OneMap) else 0.0
    views = fitted(backbone, config.attention_views)
    side, short = square(backbone, config.crop), backbone.size or config.side
    long = short if backbone.size else short * _SIDES[1] // _SIDES[0]
    with torch.device("meta"):
        attending = AttentionNet(arch, config.hidden, config.prototypes)
        looking, labelling = (_looking(config, arch) for _ in range(2))
        segmenting, predicting = (SegmentationNet(arch, classes) for _ in range(2))
        crop = torch.empty(_IMAGES, 3, side, side)
        whole = torch.empty(_IMAGES, 3, short, long)
        scaled = [max(1, round(length * largest(config))) for length in (short, long)]
        large = torch.empty(_IMAGES, 3, *scaled)
    dilate(segmenting.backbone, config.finetune_grid)
    dilate(predicting.backbone, config.grid or config.finetune_grid)
    labelling.refine_grid(config.label_grid)
    for name, value in attending.named_parameters():
        value.requires_grad_(name.startswith(("fbg.", "prototypes.")))
    features = backbone.channels[-1]

    def label() -> None:
        maps, _, _ = labelling.gated(whole)
        torch.einsum("nfhw,kf->nkhw", maps, torch.empty(classes, features, device="meta"))

    labels = _count(torch.no_grad()(label)) + each * short * long
    seen = sum(group.views * group.size**2 for group in views)
    clusters = _count(torch.no_grad()(lambda: looking.cluster_features(crop)))
    predicts = _count(torch.no_grad()(lambda: averaged(predicting, large, config)))
    passes = sum(scale**2 for scale in config.scales) * (2 if config.flip else 1)
    return {
        "pretrain": 0.0 if config.init.pretrain else _pretraining(config, arch),
        "attention": _count(lambda: _backward(attending(_crops(views))[1])) + each * seen,
        "cluster: features": clusters + each * side**2,
        "cluster: k-means": 2.0 * ITERATIONS * classes * features,
        "pseudo: threshold": labels,
        "pseudo: training labels": labels,
        "pseudo: validation labels": labels,
        "pseudo: attention": _MEASURED * short * long,
        "finetune": _count(lambda: _backward(segmenting(crop))) + _TRAINED * each * side**2,
        "predict: validation": predicts + passes * each * short * long,
    }


def _looking(config: Config, arch: str | Backbone) -> AttentionNet | OwnAttention:
    if config.attend == "backbone":
        return OwnAttention(arch)
    return AttentionNet(arch, config.hidden, config.prototypes)


def _pretraining(config: Config, arch: str | Backbone) -> float:
    with torch.device("meta"):
        network = PretrainNet(arch, config.hidden, config.prototypes)
        grid = torch.empty(_IMAGES, 7, 7, 2)

    def pretrain() -> None:
        out = network(_crops(config.views), (grid, grid))
        parts = (out.scores, out.shallow_scores, out.projection, out.prediction)
        torch.stack([part.sum() for part in parts]).sum().backward()

    return _count(pretrain)


def _each_pixel(backbone: Backbone, config: Config) -> float:
    """Operations of a forward pass for each pixel, tried as it is."""
    side = square(backbone, config.crop)
    place = next(backbone.parameters(), torch.empty(0)).device
    images = torch.zeros(_IMAGES, 3, side, side, device=place)
    modes = {module: module.training for module in backbone.modules()}
    try:
        backbone.eval()
        return _count(torch.no_grad()(lambda: backbone(images))) / side**2
    finally:
        for module, training in modes.items():
            module.training = training


def _crops(groups: Sequence[ViewGroup]) -> list[Tensor]:
    sizes = [group.size for group in groups for _ in range(group.views)]
    return [torch.empty(_IMAGES, 3, size, size, device="meta") for size in sizes]


def _backward(values: Tensor) -> None:
    values.sum().backward()


def _count(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops()) / _IMAGES
