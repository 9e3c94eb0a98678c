"""Step 4: label pixels by centroid and attention; choose the threshold on validation."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.core.distributed import (
    barrier,
    gather,
    is_first,
    on_first,
    own_items,
    rounds,
    world,
)
from imagenets.core.files import write_json
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader import Batch
from imagenets.evaluation.sweep import ThresholdSweep
from imagenets.methods.pass_.attending import OwnAttention
from imagenets.methods.pass_.attention_scores import NEAR, WEAK, attention_scores, margin
from imagenets.methods.pass_.foreground import foreground
from imagenets.methods.pass_.heads import AttentionNet
from imagenets.methods.pass_.label_files import THRESHOLD, key_of, label_path
from imagenets.methods.pass_.label_format import Label, is_of, write_labels
from imagenets.methods.pass_.mask_files import by_size, finish, masks_result
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.refinement import refined_labels
from imagenets.methods.pass_.sizes import whole
from imagenets.methods.pass_.trained import load_attention
from imagenets.training import checkpoints
from imagenets.training.run import Run
from imagenets.training.saving import SavePoints
from imagenets.training.stage import Stage

log = logging.getLogger(__name__)

SWEEP = "sweep.pt"
"""What an interrupted sweep keeps: how many batches it has seen, and their counts."""

_ADVICE = {
    "head": "Train the step 'attention' longer (--epochs attention=N)",
    "backbone": "Train PASS's head on this backbone (--set attend=head)",
    "saliency": "Take another layer (--set saliency_layer=N) or the attention (--set "
    "foreground=attention)",
}
"""What to try where the attention finds nothing, by where it is from."""

_NAMES = {"train": "training", "validation": "validation"}
"""Split -> what its progress is called."""

FILE = 8192
"""Images in a file of labels, to the end of their batch: some 70 MB (four times that with finer
labels), and lost by a kill."""


@dataclass(frozen=True)
class Labeller:
    """Labels images by the nearest centroid, pixel by pixel.

    Attributes:
        network: The trained network of step 2, or a backbone with an attention itself.
        centroids: K x F, L2-normalised.
        refinement: Steps that move labels towards the edges of their image.
        kind: What parts pixels from the background, one of `foreground.FOREGROUNDS`.
        layer: Whose features the saliency is of.
    """

    network: AttentionNet | OwnAttention
    centroids: Tensor
    refinement: int = 0
    kind: str = "attention"
    layer: int = 3

    @classmethod
    def of(cls, run: Run[Config]) -> Labeller:
        """Reads what steps 2 and 3 left."""
        path = run.out / "cluster" / "centroids.npy"
        centroids = torch.from_numpy(np.load(path, allow_pickle=False)).to(run.device)
        network = load_attention(run)
        network.refine_grid(run.config.label_grid)
        config, centroids = run.config, F.normalize(centroids)
        options = (config.refine_labels, config.foreground, config.saliency_layer)
        return cls(network, centroids, *options)

    @torch.inference_mode()
    def __call__(self, batch: Batch, data: ImageNetS) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Labels a batch of resized images at their own sizes.

        Args:
            batch: n x 3 x h x w uint8 images.
            data: Where they are from.

        Yields:
            For each image its name, ids (H x W int64, 1..K) and foreground (H x W float32,
            0..1: attention, or what is taken for it), on the device.
        """
        grid, levels = self._grids(batch)
        ids = grid.float()
        for positions, size in by_size(data.sizes_of(batch.indices.cpu().numpy())):
            whole = F.interpolate(ids[positions], size, mode="nearest").long()
            level = F.interpolate(levels[positions], size, mode="bilinear", align_corners=False)
            for row, position in enumerate(positions.tolist()):
                yield batch.names[position], whole[row, 0], level[row, 0].float()

    @torch.inference_mode()
    def stored(self, batch: Batch, data: ImageNetS) -> list[Label]:
        """Labels a batch of resized images on the grid, as files hold it."""
        grid, levels = self._grids(batch)
        ids = grid[:, 0].to(torch.int16).cpu().numpy().view(np.uint16)
        attention = levels[:, 0].float().cpu().numpy()
        indices = batch.indices.cpu().numpy()
        sizes = data.sizes_of(indices).tolist()
        facts = zip(data.rows[indices].tolist(), batch.names, sizes, strict=True)
        return [
            Label(row, name, (width, height), ids[i], attention[i])
            for i, (row, name, (width, height)) in enumerate(facts)
        ]

    def _grids(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Ids (n x 1 x h x w int64) and foreground (the same shape, float32)."""
        length = self.network.images_at_once(batch.crops.shape[2:])
        parts = [self._part(images) for images in batch.crops.split(length)]
        ids, levels = (torch.cat(part) for part in zip(*parts, strict=True))
        return ids, levels

    def _part(self, images: Tensor) -> tuple[Tensor, Tensor]:
        floats = self.network.backbone.normalized(images)
        shallow, normalised, attention = self.network.with_shallow(floats, self.layer)
        cosines = F.linear(normalised.permute(0, 2, 3, 1), self.centroids)
        ids = 1 + cosines.argmax(3)[:, None]
        level = foreground(self.kind, attention, shallow)
        return self._refined(images, ids, level) if self.refinement else (ids, level)

    def _refined(self, images: Tensor, ids: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        rows = zip(images, ids[:, 0], level[:, 0], strict=True)
        made = [refined_labels(*row, self.refinement) for row in rows]
        found, attention = (torch.stack(part)[:, None] for part in zip(*made, strict=True))
        return found, attention


def pseudo(run: Run[Config]) -> dict[str, float]:
    """Sweeps the threshold on validation, then labels the training set.

    Leaves `pseudo/threshold.json` and `pseudo/train-<number>.h5`; files that this stage wrote
    before it was interrupted stay. The validation images are labelled, too, so that the labels can
    be scored at any threshold: `pseudo/validation/`, which no later stage reads.
    """
    folder = run.folder("pseudo")
    labeller = Labeller.of(run)
    threshold = _sweep(run, labeller, folder / THRESHOLD)
    data = run.dataset("train")
    _label(run, labeller, data, folder)
    _label(run, labeller, run.dataset("validation"), folder / "validation")
    found = on_first(lambda: _measure_attention(run, folder))
    on_first(lambda: finish(folder, "train", len(data), threshold=threshold, **found))
    return {"threshold": threshold, "images": len(data), **found}


def _measure_attention(run: Run[Config], folder: Path) -> dict[str, float]:
    """Says how well the attention finds the objects of validation, and how narrow the threshold."""
    curve = json.loads((folder / THRESHOLD).read_text("utf-8"))
    wide = margin(curve["thresholds"], curve["mIoU"])
    data = run.dataset("validation", masks=True)
    found = attention_scores(data, folder / "validation", max(run.workers, 1))
    salient = run.config.foreground == "saliency"
    what = "saliency" if salient else "attention"
    if "attention_auc" in found:
        log.info(
            "pseudo: %s: AUC %.3f, %.3f on objects, %.3f around them; thresholds over a "
            "width of %.2f reach %.0f %% of the best mIoU",
            *(what, *found.values(), wide, 100 * NEAR),
        )
        if found["attention_auc"] < WEAK:
            log.warning(
                "pseudo: the %s hardly finds the objects (AUC %.2f; 0.5 is chance, below it "
                "the background is marked). %s, with another --out.",
                *(what, found["attention_auc"]),
                _ADVICE["saliency" if salient else run.config.attend],
            )
    return found | {"threshold_width": wide}


def _label(run: Run[Config], labeller: Labeller, data: ImageNetS, folder: Path) -> None:
    """Labels a split into files; ranks share them out, and those that are there stay."""
    on_first(lambda: folder.mkdir(exist_ok=True))
    key = on_first(lambda: key_of(run.out))
    crop, every = whole(labeller.network.backbone, run.config, data.sizes)
    files = _by_file(every)
    paths = [label_path(folder, data.split, number) for number in range(len(files))]
    left = on_first(lambda: [i for i, path in enumerate(paths) if not is_of(path, key)])
    own = [(paths[i], files[i]) for i in own_items(left)]
    batches = [batch for _, file in own for batch in file]
    what = f"pseudo: {_NAMES[data.split]} labels"
    coming = run.batches(data, batches, crop, what, shared=False)
    for path, file in own:
        parts = [labeller.stored(batch, data) for batch in islice(coming, len(file))]
        write_labels(path, [label for part in parts for label in part], key)
    barrier(what)


def _by_file(batches: Sequence[npt.NDArray[np.int64]]) -> list[list[npt.NDArray[np.int64]]]:
    """Which batches go into which file: as many as make `FILE` images, in their order."""
    files: list[list[npt.NDArray[np.int64]]] = []
    held = FILE
    for batch in batches:
        if held >= FILE:
            files.append([])
            held = 0
        files[-1].append(batch)
        held += len(batch)
    return files


def _sweep(run: Run[Config], labeller: Labeller, path: Path) -> float:
    """Scores every threshold on validation and returns the best."""
    found = on_first(lambda: path.read_text("utf-8") if path.is_file() else None)
    if found is not None:
        return float(json.loads(found)["best"])
    kept = path.with_name(SWEEP)
    sweep = _swept(run, labeller, kept)
    best = sweep.compute()
    content = {"thresholds": best.thresholds.tolist(), "mIoU": best.miou.tolist()}
    on_first(lambda: write_json(path, {"best": best.threshold, **content}))
    if is_first():
        kept.unlink(missing_ok=True)
    log.info(
        "pseudo: threshold %.2f, validation mIoU %.2f %%", best.threshold, best.miou[best.best]
    )
    return float(best.threshold)


def _swept(run: Run[Config], labeller: Labeller, kept: Path) -> ThresholdSweep:
    """Counts all validation images; those of an interrupted sweep are not looked at again.

    Ranks share the batches out. What is kept are the counts of all of them.
    """
    data = run.dataset("validation", masks=True)
    crop, batches = whole(labeller.network.backbone, run.config, data.sizes)
    sweep = ThresholdSweep(len(data.classes))
    found = on_first(lambda: checkpoints.partial(kept, torch.device("cpu"), "batches", "sums"))
    done: int = found["batches"] if found else 0
    if found and is_first():
        pixels, images = ((keys.numpy(), numbers.numpy()) for keys, numbers in found["sums"])
        sweep.replace([[pixels, images]])

    def save() -> None:
        every = ThresholdSweep(len(data.classes))
        every.replace(gather(sweep.sparse_sums()))
        sums = [tuple(map(torch.from_numpy, share)) for share in every.sparse_sums()]
        on_first(lambda: checkpoints.save(kept, {"batches": done, "sums": sums}))

    with SavePoints(run.save_every, save) as points:
        rows = run.batches(run.dataset("validation"), batches[done:], crop, "pseudo: threshold")
        steps = rounds(len(batches) - done)
        for batch, _ in points.waiting(zip_longest(rows, steps)):
            if batch is not None:  # else this rank has none left, and waits for the others
                for index, ids, level in _in_order(labeller, batch, data):
                    sweep.update(ids.cpu().numpy(), level.cpu().numpy(), data.mask(index))
            done = min(done + world(), len(batches))
            points.passed()
    sweep.replace(gather(sweep.sparse_sums()))
    return sweep


def _in_order(
    labeller: Labeller, batch: Batch, data: ImageNetS
) -> list[tuple[int, Tensor, Tensor]]:
    """What a labeller makes of a batch, in the order of the batch: index, ids, attention."""
    made = {name: (ids, level) for name, ids, level in labeller(batch, data)}
    indices = zip(batch.indices.tolist(), batch.names, strict=True)
    return [(index, *made[name]) for index, name in indices]


STAGE = Stage(
    name="pseudo",
    needs=lambda config: ("attention" if config.attend == "head" else "pretrain", "cluster"),
    settings=(
        "arch",
        "batch",
        "side",
        "label_grid",
        "refine_labels",
        "foreground",
        "saliency_layer",
        "attend",
    ),
    splits=lambda config: ("train", "validation"),
    version=2,
    run=pseudo,
    result=masks_result,
)
