"""Step 4: label pixels by centroid and attention; choose the threshold on validation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets import masks
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import MissingError
from imagenets.evaluation.sweep import ThresholdSweep
from imagenets.methods.pass_.heads import AttentionNet
from imagenets.methods.pass_.inference import by_shape, load_attention, write_mask
from imagenets.training.run import Run, progress, say, write_json


@dataclass(frozen=True)
class Labeller:
    """Labels images by the nearest centroid, pixel by pixel.

    Attributes:
        network: The trained network of step 2.
        centroids: K x F, L2-normalised.
        side: Short side of the network's input, pixels.
        device: Where it runs.
    """

    network: AttentionNet
    centroids: Tensor
    side: int
    device: torch.device

    @classmethod
    def of(cls, run: Run) -> Labeller:
        """Reads what steps 2 and 3 left."""
        path = run.out / "cluster" / "centroids.npy"
        if not path.is_file():
            raise MissingError(f"{path}: not there. Run the step 'cluster' first (--stages).")
        centroids = torch.from_numpy(np.load(path, allow_pickle=False)).to(run.device)
        return cls(load_attention(run), F.normalize(centroids), run.config.side, run.device)

    @torch.inference_mode()
    def __call__(self, images: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Labels uint8 3 x H x W images.

        Returns:
            For each image ids (H x W, 1..K) and foreground attention (H x W float32, 0..1).
        """
        labelled: list[tuple[Tensor, Tensor] | None] = [None] * len(images)
        for positions, batch in by_shape(images, self.side, self.device):
            features, _, attention = self.network.gated(batch)
            foreground = attention.mean(1, keepdim=True)
            scores = torch.einsum("nfhw,kf->nkhw", F.normalize(features), self.centroids)
            ids = 1 + scores.argmax(1, keepdim=True)
            for row, position in enumerate(positions):
                size = tuple(images[position].shape[1:])
                whole = F.interpolate(ids[row, None].float(), size, mode="nearest")
                level = F.interpolate(
                    foreground[row, None], size, mode="bilinear", align_corners=False
                )
                labelled[position] = (whole[0, 0].to(torch.int64), level[0, 0].float())
        return [pair for pair in labelled if pair is not None]


def pseudo(run: Run) -> None:
    """Sweeps the threshold on validation, then labels the training set.

    Leaves `pseudo/threshold.json` and `pseudo/train/<wnid>/<stem>.png`; labels that a run before
    wrote at the same threshold stay.
    """
    folder = run.folder("pseudo")
    if (folder / "done.json").is_file():
        say("pseudo: done")
        return
    labeller = Labeller.of(run)
    threshold = _sweep(run, labeller, folder / "threshold.json")
    data = run.dataset("train")
    paths = [folder / "train" / f"{name}.png" for name in data.names]
    loader = run.loader(data.subset(_unfinished(paths, run.config.batch)))
    for batch in progress(loader, "pseudo: training labels", len(loader)):
        for name, (ids, level) in zip(batch.names, labeller(batch.whole), strict=True):
            labels = torch.where(level >= threshold, ids, masks.OTHER)
            write_mask(folder / "train" / f"{name}.png", labels.cpu().numpy())
    write_json(folder / "done.json", {"threshold": threshold, "images": len(data)})


def _unfinished(paths: Sequence[Path], size: int) -> list[int]:
    """Indices of the batches that lack a label: whole ones, so that each is computed as before."""
    starts = range(0, len(paths), size)
    batches = [range(start, min(start + size, len(paths))) for start in starts]
    return [i for batch in batches if not all(paths[i].is_file() for i in batch) for i in batch]


def _sweep(run: Run, labeller: Labeller, path: Path) -> float:
    """Scores every threshold on validation and returns the best."""
    if path.is_file():
        return float(json.loads(path.read_text("utf-8"))["best"])
    data = run.dataset("validation", masks=True)
    sweep = ThresholdSweep(len(data.classes))
    for ids, level, truth in _labelled(run, labeller, data):
        sweep.update(ids, level, truth)
    best = sweep.compute()
    write_json(
        path,
        {
            "best": best.threshold,
            "thresholds": best.thresholds.tolist(),
            "mIoU": best.miou.tolist(),
        },
    )
    say(f"pseudo: threshold {best.threshold:.2f}, validation mIoU {best.miou[best.best]:.2f} %")
    return float(best.threshold)


def _labelled(
    run: Run, labeller: Labeller, data: ImageNetS
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    loader = run.loader(data)
    for batch in progress(loader, "pseudo: threshold", len(loader)):
        assert batch.masks is not None
        for (ids, level), truth in zip(labeller(batch.whole), batch.masks, strict=True):
            yield ids.cpu().numpy(), level.cpu().numpy(), truth.numpy()
