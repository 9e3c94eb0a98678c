"""The pseudo labels as PNGs, for those who want to look at them or use them elsewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from imagenets.core.distributed import barrier, on_first, own_items
from imagenets.core.pool import Pool
from imagenets.methods.pass_.label_files import best_threshold, open_labels
from imagenets.methods.pass_.label_format import labels_in
from imagenets.methods.pass_.mask_files import finish, masks_result, write_mask
from imagenets.methods.pass_.presets import Config
from imagenets.training.run import Run
from imagenets.training.stage import Stage


def write_pngs(run: Run[Config]) -> dict[str, float]:
    """Writes `pseudo-png/train/<wnid>/<stem>.png`; those that are there stay."""
    folder = run.folder("pseudo-png")
    threshold, images = best_threshold(run.out), run.dataset("train")
    labels = open_labels(run.out, images)
    work = partial(_write, folder / "train", threshold)
    pool = Pool(max(1, run.workers))
    for _ in pool.map(work, own_items(labels.paths), "pseudo labels as PNGs"):
        pass
    barrier("pseudo labels as PNGs")
    on_first(lambda: finish(folder, "train", len(images), threshold=threshold))
    return {"threshold": threshold, "images": len(images)}


def _write(target: Path, threshold: float, path: Path) -> None:
    for name, ids in labels_in(path, threshold):
        mask = target / f"{name}.png"
        if not mask.is_file():
            write_mask(mask, ids)


STAGE = Stage(
    name="pseudo-png",
    needs=lambda config: ("pseudo",),
    settings=(),
    splits=lambda config: ("train",),
    version=1,
    run=write_pngs,
    result=masks_result,
)
