"""The settings of a run, and the published ones as presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, ClassVar

from imagenets.data.augment import ViewGroup

PRETRAIN_STD = (0.228, 0.224, 0.225)
"""The published steps 1 and 2 divide by this; all others by the usual (0.229, 0.224, 0.225)."""

TRAINED = ("pretrain", "attention", "finetune")
"""The steps that have epochs."""

FEATURES = ("float32", "float16")
"""What the features for k-means can be kept in."""

INITS = ("random", "plusplus")
"""How k-means can start."""

ATTENTIONS = ("head", "backbone")
"""Where the attention can be from: the trained head of step 2, or the backbone's own."""


@dataclass(frozen=True, slots=True)
class Given:
    """Weights that a run is given: the SHA-256 of them by step; "": none.

    Attributes:
        pretrain: For step 1; of a backbone, or of all of its network.
        attention: For step 2.
        finetune: For step 5.
    """

    pretrain: str = ""
    attention: str = ""
    finetune: str = ""


LATER: Mapping[str, Any] = MappingProxyType(
    {
        "accumulate": 1,
        "features": "float32",
        "kmeans_init": "random",
        "recluster": 1.0,
        "keep": 1.0,
        "ema": 0.0,
        "grid": 0,
        "finetune_grid": 0,
        "label_grid": 0,
        "scales": (1.0,),
        "flip": False,
        "refine": 0,
        "refine_labels": 0,
        "foreground": "attention",
        "saliency_layer": 3,
        "regions": "",
        "regions_from": "",
        "attend": "head",
        "init": Given(),
        "start": Given(),
    }
)
"""Settings that the first runs did not have, and the values with which nothing changes."""

PREDICTION = ("grid", "scales", "flip", "refine", "regions", "regions_from")
"""Settings that prediction alone reads: those of a trained run can be changed."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How one step is trained.

    Attributes:
        epochs: Passes over the training set.
        base_rate: Learning rate at the start.
        final_rate: Learning rate at the end of the cosine.
        queue: Embeddings kept for the Sinkhorn assignment, 0 = none.
        queue_from: Epoch from which the queue exists.
        freeze: Iterations before the prototypes move.
        epsilon: Smoothing of the Sinkhorn assignment; smaller is sharper.
    """

    epochs: int
    base_rate: float
    final_rate: float = 0.0006
    queue: int = 0
    queue_from: int = 0
    freeze: int = 0
    epsilon: float = 0.05


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that decides the numbers of a run, data and device aside.

    Attributes:
        arch: Backbone, see `imagenets.models.registry`.
        hidden: Width of the heads.
        prototypes: Number M of prototypes.
        views: The crops of pretraining; the first group has the two aligned views.
        attention_views: The crops of the attention step.
        pretrain: Step 1.
        attention: Step 2.
        finetune: Step 5.
        batch: Images a step.
        side: Short side for clustering, labelling and inference, pixels.
        crop: Centre crop for clustering and random crop for fine-tuning, pixels.
        restarts: Runs of k-means, the best is kept.
        seed: Of everything random.
        pretrain_split: Where pretraining takes its images from.
        accumulate: Parts in which a step of fine-tuning is taken, to need less memory; batch norm
            then sees one part at a time. The other steps cannot be taken in parts: their
            assignments are made for the whole batch.
        features: What the features for k-means are kept in: float32, or float16 in half the space.
        kmeans_init: How k-means starts: from images drawn at `random`, or drawn apart, `plusplus`.
        recluster: Share of the images of each cluster that centroids are found anew from, those
            nearest to them.
        keep: Share of the images of each cluster that fine-tuning sees, those nearest to its
            centroid.
        ema: Share that the running average of the fine-tuned weights keeps at every step, such as
            0.999; predictions are the average's. 0: no average.
        grid: Pixels from one prediction to the next: 32, 16, 8 or 4 of a ResNet, by dilation; 0: as
            in fine-tuning.
        finetune_grid: The same in fine-tuning; 0: the stride of the backbone.
        label_grid: The same of the features that pixels are labelled by; 0: the stride of the
            backbone. Labels are kept at least as finely as before.
        scales: Of `side`, at which images are predicted; probabilities are averaged.
        flip: Whether mirror images are predicted, too; probabilities are averaged.
        refine: Steps that move predictions towards the edges of their image; 10 as published.
        refine_labels: The same of the pseudo labels, which are then kept for every 4 pixels.
        foreground: What parts pixels from the background in step 4, see `foreground.foreground`.
        saliency_layer: The layer, 1 to 4 of a ResNet, whose features `saliency` cuts.
        regions: Folder of segments, `<wnid>/<stem>.png` each: every segment of an image takes the
            id that most of its pixels are predicted as; empty: none.
        regions_from: What made them, one of `imagenets.protocols.REGIONS`.
        attend: Where the attention of clustering and labelling is from, see `ATTENTIONS`.
        init: Weights that take the place of what a step would train.
        start: Weights that a step starts from.
        changeable: Names of the settings that can be changed after training, `PREDICTION`.
    """

    arch: str
    hidden: int
    prototypes: int
    views: tuple[ViewGroup, ...]
    attention_views: tuple[ViewGroup, ...]
    pretrain: Schedule
    attention: Schedule
    finetune: Schedule
    batch: int = 256
    side: int = 256
    crop: int = 224
    restarts: int = 30
    seed: int = 10010
    pretrain_split: str = "train"
    accumulate: int = 1
    features: str = "float32"
    kmeans_init: str = "random"
    recluster: float = 1.0
    keep: float = 1.0
    ema: float = 0.0
    grid: int = 0
    finetune_grid: int = 0
    label_grid: int = 0
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    refine: int = 0
    refine_labels: int = 0
    foreground: str = "attention"
    saliency_layer: int = 3
    regions: str = ""
    regions_from: str = ""
    attend: str = "head"
    init: Given = Given()
    start: Given = Given()
    changeable: ClassVar[tuple[str, ...]] = PREDICTION

    def to_json(self) -> dict[str, Any]:
        """Turns the settings into plain numbers, strings, lists and dicts.

        Settings of `LATER` are left out where they change nothing, so that a run which was made
        before there were such settings goes on.

        Returns:
            Values by the names of the attributes; tuples stay tuples, which JSON writes as lists.
        """
        return {
            k: v for k, v in asdict(self).items() if k not in LATER or getattr(self, k) != LATER[k]
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Config:
        """What `to_json` gave, back from a file; settings that it lacks are the default ones.

        Args:
            content: The object that JSON holds, without the tier.

        Returns:
            The settings; whether they fit together is not checked here.

        Raises:
            KeyError: It lacks views or schedules.
            TypeError: It holds other settings than these, or lacks one that has no default.
        """
        values = {name: _tuples(value) for name, value in content.items()}
        for name in ("views", "attention_views"):
            values[name] = tuple(ViewGroup(**group) for group in values[name])
        for name in TRAINED:
            values[name] = Schedule(**values[name])
        for name in ("init", "start"):
            values[name] = Given(**values.get(name, {}))
        return cls(**values)


def _tuples(value: Any) -> Any:
    """Lists as tuples, at any depth, as JSON cannot tell them apart."""
    if isinstance(value, dict):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


FOREVER = 1_000_000_000
"""Iterations to freeze prototypes that never move."""
_WEAK = (0.4, 0.4, 0.2, 0.05)

_TIER_300 = Config(
    arch="resnet50",
    hidden=2048,
    prototypes=3000,
    views=(ViewGroup(2, 224, (0.08, 1.0)),),
    attention_views=(ViewGroup(2, 224, (0.08, 1.0)),),
    pretrain=Schedule(100, 0.6, queue=3840, queue_from=15, freeze=5005),
    attention=Schedule(20, 0.6, queue=3840),
    finetune=Schedule(20, 0.6),
)

_PUBLISHED: Mapping[str, Config] = MappingProxyType(
    {
        "pass50": Config(
            arch="resnet18",
            hidden=512,
            prototypes=500,
            views=(ViewGroup(2, 224, (0.14, 1.0)), ViewGroup(6, 96, (0.05, 0.14))),
            attention_views=(ViewGroup(2, 224, (0.08, 1.0)),),
            pretrain=Schedule(200, 0.6, queue=2048, queue_from=15, freeze=1001),
            attention=Schedule(20, 6.0, queue=3840),
            finetune=Schedule(20, 0.6),
        ),
        "pass300": _TIER_300,
        "pass919": replace(_TIER_300, pretrain_split="train-full"),
        # A small network and small crops: the whole road on two CPU cores in minutes. With so few
        # images a step, prototypes that move, or assignments as soft as the published ones, end in
        # every image sharing all prototypes alike (a loss of ln M): hence fixed prototypes and a
        # smaller epsilon. Colour says much about few classes, so it is changed less.
        "sample": Config(
            arch="resnet18w05",
            hidden=256,
            prototypes=30,
            views=(ViewGroup(2, 96, (0.2, 1.0), jitter=_WEAK, gray_probability=0.0),),
            attention_views=(ViewGroup(2, 96, (0.08, 1.0), jitter=_WEAK, gray_probability=0.0),),
            pretrain=Schedule(20, 1.0, freeze=FOREVER, epsilon=0.03),
            attention=Schedule(20, 6.0, freeze=FOREVER, epsilon=0.03),
            finetune=Schedule(4, 0.6),
            batch=32,
            side=128,
            crop=96,
            restarts=10,
        ),
    }
)

PLUS: Mapping[str, Any] = MappingProxyType(
    {"foreground": "saliency", "finetune_grid": 16, "refine": 10}
)
"""What the presets beyond the published baseline have on, by the ablation of docs/results.md."""

PRESETS: Mapping[str, Config] = MappingProxyType(
    {
        **_PUBLISHED,
        "plus50": replace(_PUBLISHED["pass50"], **PLUS),
        "plus300": replace(_PUBLISHED["pass300"], **PLUS),
        "plus919": replace(_PUBLISHED["pass919"], **PLUS),
        # Images are half as large, and so is the grid; the layer is that of plain backgrounds.
        "sample-plus": replace(
            _PUBLISHED["sample"], **{**PLUS, "saliency_layer": 1, "finetune_grid": 8}
        ),
    }
)


def preset_for(tier: str) -> str:
    """Finds the preset for a tier.

    Args:
        tier: Its name, such as "50".

    Returns:
        The published one, `pass<tier>`, or "sample" for a custom tier.
    """
    name = f"pass{tier}"
    return name if name in PRESETS else "sample"
