"""Probes: what the frozen features of a backbone tell of classes and of their regions.

Nearest neighbours and a linear classifier on patches, nearest neighbours and k-means on images:
train-semi has the labels, validation is scored, and no weight of the backbone moves. What each
measure is, and its source: docs/protocols.md.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.files import as_folders
from imagenets.core.pool import available_cpus
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import UsageError
from imagenets.evaluation.metrics import Evaluator
from imagenets.masks import IGNORED
from imagenets.methods.frozen import Frozen, ids_on_grid
from imagenets.methods.linear import Features, Schedule, choose, fit
from imagenets.methods.neighbours import References, check, nearest_ids
from imagenets.methods.pass_.cluster import kmeans, matched_accuracy, mutual_information
from imagenets.methods.semi.segment import full_size
from imagenets.models.backbone import Backbone
from imagenets.pixels.grids import nearest_of_grid
from imagenets.training import checkpoints
from imagenets.training.run import seeded

LABELLED = "train-semi"

MEASURES = ("knn_mIoU", "linear_mIoU", "knn_accuracy", "cluster_accuracy", "cluster_NMI")
"""What is measured of a backbone, in percent."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers of the probes.

    Attributes:
        k: Neighbours that vote, of a patch and of an image.
        temperature: Of their votes, exp(cosine / temperature).
        bank: Labelled patches at most, the same share of each image.
        steps: Of each linear classifier.
        rate: Of the linear classifier at its start.
        restarts: Of k-means; the best is kept.
        side: Short side of the images, pixels; the backbone may round it.
        batch: Images at once; decides no number but for rounding.
        seed: Of which patches are kept, of the order in which they are learned, and of k-means.
    """

    k: int = 20
    temperature: float = 0.07
    bank: int = 200_000
    steps: int = 1000
    rate: float = 3e-3
    restarts: int = 10
    side: int = 256
    batch: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check(self.k, self.temperature, 1)
        for name in ("bank", "steps", "restarts", "side", "batch"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}: at least 1 is needed.")
        if not self.rate > 0:
            raise UsageError(f"the rate is {self.rate}: give a number above 0.")


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probes found of a backbone.

    Attributes:
        backbone: Its name.
        weights: Digest of its weights.
        patches: Labelled patches that were compared with.
        penalty: Of the linear classifier, chosen on train-semi.
        metrics: `MEASURES`, in percent.
    """

    backbone: str
    weights: str
    patches: int
    penalty: float
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Bank:
    """What is compared with, on the device: normalised features, and weights and biases."""

    patches: References
    images: References
    classifier: tuple[Tensor, Tensor]
    penalty: float


@dataclass(frozen=True)
class Probes:
    """Probes of one backbone on one prepared set.

    Attributes:
        backbone: With its weights; put on the device and into evaluation mode.
        root: The prepared set; may be given as text.
        tier: Its tier.
        settings: The numbers.
        device: Where all is worked out.
        workers: Processes that decode images.
    """

    backbone: Backbone
    root: Path
    tier: str | int
    settings: Settings = field(default_factory=Settings)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: int = 0

    def __post_init__(self) -> None:
        as_folders(self, "root")

    def run(self) -> Probed:
        """Takes all measures, in one pass over each split.

        Returns:
            The measures, in percent, with the digest of the weights that they are of.

        Raises:
            UsageError: There are fewer labelled images or patches than neighbours, or fewer
                validation images than classes.
            MissingError: A split is not prepared.
        """
        data = self._data("validation")
        if len(data) < len(data.classes):
            raise UsageError(
                f"{len(data)} validation images make no {len(data.classes)} clusters: prepare a "
                "tier with an image of each class, at least."
            )
        self.backbone.to(self.device).eval()
        bank = self._bank()
        metrics, images = self._of_patches(data, bank)
        metrics |= self._of_images(data, bank.images, images)
        digest = checkpoints.digest(self.backbone.state_dict())
        return Probed(self.backbone.name, digest, len(bank.patches.ids), bank.penalty, metrics)

    @property
    def _frozen(self) -> Frozen:
        numbers = self.settings
        return Frozen(self.backbone, numbers.side, numbers.batch, self.device, self.workers)

    def _data(self, split: str, masks: bool = False) -> ImageNetS:
        return ImageNetS(self.root, split, str(self.tier), masks=masks)

    def _bank(self) -> _Bank:
        """What the labelled images give, in the order of the data set."""
        data, truth = self._data(LABELLED), self._data(LABELLED, masks=True)
        share = max(1, self.settings.bank // len(data))
        images: dict[int, Tensor] = {}
        patches: dict[int, tuple[Tensor, Tensor]] = {}
        batches = self._frozen.batches(data)
        for batch, maps in self._frozen.maps(data, batches, f"probe: {LABELLED}"):
            for index, one in zip(batch.indices.tolist(), maps.float(), strict=True):
                images[index] = one.mean((1, 2))
                ids = ids_on_grid(truth, index, (one.shape[1], one.shape[2])).flatten().long()
                where = (ids != IGNORED).nonzero()[:, 0]
                draw = seeded(self.settings.seed, "patches", index)
                where = where[torch.randperm(len(where), generator=draw)[:share].sort().values]
                patches[index] = one.flatten(1).t()[where.to(self.device)], ids[where]
        vectors = torch.cat([patches[index][0] for index in sorted(patches)])
        ids = torch.cat([patches[index][1] for index in sorted(patches)]).to(self.device)
        numbers, outputs = self.settings, len(data.classes) + 1
        if len(ids) < numbers.k:
            raise UsageError(
                f"{len(ids)} labelled patches are fewer than k = {numbers.k}: choose a smaller k, "
                "a larger bank or a larger side."
            )
        features = Features(vectors, ids, outputs)
        schedule = Schedule(numbers.steps, numbers.rate, numbers.seed)
        lengths = torch.tensor([len(patches[index][1]) for index in sorted(patches)])
        owners = torch.arange(len(data)).repeat_interleave(lengths).to(self.device)
        penalty = choose(features, owners, schedule)
        classifier = fit(features, penalty, schedule)
        vectors /= vectors.norm(dim=1, keepdim=True).clamp(min=1e-12)  # in place: it is large
        class_ids = torch.from_numpy(data.class_ids.astype(np.int64)).to(self.device)
        pooled = F.normalize(torch.stack([images[index] for index in sorted(images)]))
        return _Bank(References(vectors, ids), References(pooled, class_ids), classifier, penalty)

    def _of_patches(self, data: ImageNetS, bank: _Bank) -> tuple[dict[str, float], Tensor]:
        """The measures of patches, and the pooled features of all images, N x F, normalised."""
        truth = self._data(data.split, masks=True)
        scores = {name: Evaluator(len(data.classes)) for name in ("knn_mIoU", "linear_mIoU")}
        images: dict[int, Tensor] = {}
        weight, bias = bank.classifier
        batches = self._frozen.batches(data)
        with ThreadPoolExecutor(available_cpus()) as pool:
            for batch, maps in self._frozen.maps(data, batches, f"probe: {data.split}"):
                indices = batch.indices.tolist()
                images |= zip(indices, maps.float().mean((2, 3)), strict=True)
                masks = [truth.mask(index) for index in indices]
                sizes = [(mask.shape[1], mask.shape[0]) for mask in masks]
                near = self._nearest(maps, bank.patches).cpu().numpy().astype(np.uint16)
                logits = F.conv2d(maps.float(), weight[..., None, None], bias).cpu()
                grids = logits.permute(0, 2, 3, 1).numpy()
                scores["knn_mIoU"].update(list(pool.map(nearest_of_grid, near, sizes)), masks)
                scores["linear_mIoU"].update(list(pool.map(full_size, grids, sizes)), masks)
        pooled = F.normalize(torch.stack([images[index] for index in sorted(images)]))
        return {name: evaluator.compute()["mIoU"] for name, evaluator in scores.items()}, pooled

    def _of_images(self, data: ImageNetS, bank: References, images: Tensor) -> dict[str, float]:
        """The measures of N x F pooled features, normalised."""
        class_ids = data.class_ids.astype(np.int64)
        near = self._nearest(images[..., None, None], bank).flatten().cpu().numpy()
        numbers = self.settings
        _, labels, _ = kmeans(images, len(data.classes), numbers.restarts, numbers.seed)
        clusters = labels.cpu().numpy()
        return {
            "knn_accuracy": 100 * float((near == class_ids).mean()),
            "cluster_accuracy": 100 * matched_accuracy(clusters, class_ids),
            "cluster_NMI": 100 * mutual_information(clusters, class_ids),
        }

    def _nearest(self, maps: Tensor, references: References) -> Tensor:
        """The ids that the nearest neighbours of each position vote for, N x h x w."""
        k, temperature = self.settings.k, self.settings.temperature
        return nearest_ids(maps.float(), references, k=k, temperature=temperature, factor=1)
