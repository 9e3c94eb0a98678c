"""Distance matching with files: references from train-semi, masks of validation or test.

    torchrun --nproc-per-node 2 -m imagenets distance --backbone resnet18 --weights FILE

One folder holds `distance.json` (what it was made from), `references.pt`, masks as
`<subset>/<wnid>/<stem>.png`, and `scores.json` or `submission.zip`.
"""

from __future__ import annotations

import json
import logging
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core import distributed, lock
from imagenets.core.files import as_folders, write_json
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.evaluation.score import Scores, score
from imagenets.methods.frozen import Frozen, ids_on_grid
from imagenets.methods.neighbours import (
    References,
    check,
    nearest_ids,
    reference_vectors,
    upsampled,
)
from imagenets.methods.pass_.mask_files import unfinished, write_mask
from imagenets.models.backbone import Backbone
from imagenets.protocols import REFERENCES, Pretraining, Used
from imagenets.training import checkpoints
from imagenets.training.ledger import changes
from imagenets.training.machine import read_object
from imagenets.training.provenance import declare, declared

log = logging.getLogger(__name__)

LABELLED = "train-semi"
"""The split whose masks give the references."""

MADE_FROM, VECTORS, SCORES = "distance.json", "references.pt", "scores.json"


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers of distance matching; the defaults are the published ones.

    Attributes:
        k: References that vote for a pixel.
        temperature: Of their votes, exp(cosine / temperature).
        factor: How many times feature maps are enlarged.
        side: Short side of the images, pixels; the backbone may round it, see `Backbone.crop`.
        batch: Images a step; decides no mask but for rounding.
    """

    k: int = 10
    temperature: float = 0.07
    factor: int = 4
    side: int = 256
    batch: int = 16

    def __post_init__(self) -> None:
        check(self.k, self.temperature, self.factor)
        for name, value in (("side", self.side), ("batch", self.batch)):
            if value < 1:
                raise UsageError(f"{name} is {value}: at least 1 is needed.")


@dataclass(frozen=True)
class Matching:
    """Distance matching of one backbone on one prepared set.

    Attributes:
        backbone: With its weights; put on the device and into evaluation mode.
        root: The prepared set; may be given as text.
        tier: Its tier.
        out: The folder that all files go to; may be given as text.
        settings: The numbers.
        device: Where the backbone runs.
        workers: Processes that decode images.
        pretraining: What the weights were pretrained with, kept in the folder; None: what was said
            of it before stays.
    """

    backbone: Backbone
    root: Path
    tier: str | int
    out: Path
    settings: Settings = field(default_factory=Settings)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    workers: int = 0
    pretraining: Pretraining | None = None

    def __post_init__(self) -> None:
        as_folders(self, "root", "out")

    def predict(self, subset: str = "validation") -> Path:
        """Writes the masks of a split; those that are there already stay.

        Several ranks share the images out.

        Args:
            subset: "validation" or "test".

        Returns:
            The folder of the masks.

        Raises:
            UsageError: The folder holds what was made with other weights, data or settings, or
                there are too few references.
            MissingError: A split is not prepared.
            BusyError: Another run is at work in the folder.
        """
        self.out.mkdir(parents=True, exist_ok=True)
        held = lock.hold(self.out / ".lock", self.out) if distributed.is_first() else nullcontext()
        with held:
            data = self._data(subset)
            self.backbone.to(self.device).eval()
            made_from = self._made_from()
            distributed.on_first(lambda: _settle(self.out, made_from, self.pretraining))
            references = self.references()
            self._write(data, references, self.out / subset)
            distributed.barrier("the masks of all ranks")
        return self.out / subset

    def references(self) -> References:
        """The reference vectors, on the device; from `references.pt` where that is there.

        Returns:
            R x F float32 vectors, L2-normalised, and R int64 ids, 0 background.

        Raises:
            CorruptError: The file is damaged.
            MissingError: train-semi is not prepared.
        """
        path = self.out / VECTORS
        if not distributed.on_first(path.is_file):
            found = self._collect()
            distributed.on_first(lambda: checkpoints.save(path, found))
        else:
            found = checkpoints.load(path, torch.device("cpu"), "distance")
        return References(found["vectors"].to(self.device), found["ids"].to(self.device))

    def score(self, workers: int | None = None) -> Scores:
        """Scores the validation masks without a match; leaves `scores.json`.

        Args:
            workers: Processes that read masks; None: one for each available core.

        Returns:
            The scores, in percent.

        Raises:
            MissingError: There are no masks, or validation is not prepared.
            UsageError: The validation split has no masks.
            BadMasksError: Some are missing or cannot be scored.
        """
        data = self._data("validation", masks=True)
        pred, record = self.out / "validation", self.out / MADE_FROM
        for path in (pred, record):
            if not path.exists():
                raise MissingError(f"{path}: not there. Predict the validation images first.")
        scores = score(pred, data.mask_files(), len(data.classes), workers=workers)
        made_from = json.loads(record.read_bytes())
        notes = {"distance": made_from} | used_by(self.out).document()
        write_json(self.out / SCORES, scores.document(data.classes) | notes)
        return scores

    def _data(self, split: str, masks: bool = False) -> ImageNetS:
        return ImageNetS(self.root, split, str(self.tier), masks=masks)

    def _made_from(self) -> dict[str, Any]:
        """What decides the masks: settings, weights, labelled images."""
        numbers = asdict(self.settings)
        del numbers["batch"]
        return {
            "backbone": self.backbone.name,
            "weights": checkpoints.digest(self.backbone.state_dict()),
            "tier": str(self.tier),
            LABELLED: self._data(LABELLED, masks=True).digest,
            **numbers,
        }

    @property
    def _frozen(self) -> Frozen:
        numbers = self.settings
        return Frozen(self.backbone, numbers.side, numbers.batch, self.device, self.workers)

    @torch.inference_mode()
    def _collect(self) -> dict[str, Tensor]:
        """The reference vectors of all labelled images, in the order of the data set."""
        data, truth = self._data(LABELLED), self._data(LABELLED, masks=True)
        factor = self.settings.factor
        mine: dict[int, tuple[Tensor, Tensor]] = {}
        own = self._frozen.batches(data)[distributed.rank() :: distributed.world()]
        for batch, maps in self._frozen.maps(data, own, "distance: references"):
            for index, features in zip(
                batch.indices.tolist(), upsampled(maps, factor), strict=True
            ):
                small = ids_on_grid(truth, index, (features.shape[1], features.shape[2]))
                vectors, found = reference_vectors(features, small.to(self.device))
                mine[index] = vectors.float().cpu(), found.cpu()
        parts = {index: part for share in distributed.gather(mine) for index, part in share.items()}
        rows = [parts[index] for index in sorted(parts)]
        vectors = torch.cat([vectors for vectors, _ in rows])
        return {"vectors": F.normalize(vectors), "ids": torch.cat([ids for _, ids in rows])}

    def _write(self, data: ImageNetS, references: References, folder: Path) -> None:
        numbers = self.settings
        paths = [folder / f"{name}.png" for name in data.names]
        every = self._frozen.batches(data)
        left = distributed.on_first(lambda: unfinished(every, paths))  # the same on all ranks
        own = left[distributed.rank() :: distributed.world()]
        for batch, maps in self._frozen.maps(data, own, f"distance: {data.split}"):
            ids = nearest_ids(
                maps,
                references,
                k=numbers.k,
                temperature=numbers.temperature,
                factor=numbers.factor,
            )
            sizes = data.sizes_of(batch.indices.cpu().numpy()).tolist()
            small = ids.float().cpu()
            for name, size, one in zip(batch.names, sizes, small, strict=True):
                whole = F.interpolate(one[None, None], (size[1], size[0]), mode="nearest")
                write_mask(folder / f"{name}.png", whole[0, 0].short().numpy())


def used_by(out: Path) -> Used:
    """Says what the masks of a folder were made with, as its files tell.

    Args:
        out: The folder of a `Matching`.

    Returns:
        Its tier, weights and their pretraining; the masks of train-semi gave the references.

    Raises:
        MissingError: There is no distance matching in the folder.
        CorruptError: One of the files cannot be read.
    """
    made_from = read_object(out / MADE_FROM)
    if not made_from:
        raise MissingError(f"{out / MADE_FROM}: not there. Predict masks first.")
    return Used(
        str(made_from.get("tier", "")),
        declared(out),
        REFERENCES,
        str(made_from.get("weights", "")),
    )


def _settle(out: Path, made_from: dict[str, Any], pretraining: Pretraining | None) -> None:
    """Keeps what a folder is made from; refuses to mix it with anything else."""
    path = out / MADE_FROM
    if path.is_file():
        try:
            then = json.loads(path.read_bytes())
        except ValueError as error:
            raise CorruptError(
                f"{path}: not readable ({error}). Delete the folder, or give another --out."
            ) from error
        if other := changes(then, made_from):
            raise UsageError(
                f"{out}: what it holds was made with another {', '.join(other)}. Give the same to "
                "continue it, or another --out."
            )
    write_json(path, made_from)
    if pretraining is not None:
        declare(out, pretraining)
