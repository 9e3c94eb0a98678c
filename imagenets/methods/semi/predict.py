"""Masks of the validation or test images at their own size."""

from __future__ import annotations

from functools import partial

from imagenets.core.distributed import barrier, on_first
from imagenets.methods.pass_.mask_files import (
    PREDICTS,
    finish,
    masks_result,
    unfinished,
    write_mask,
)
from imagenets.methods.semi.presets import Config
from imagenets.methods.semi.run import load_network
from imagenets.methods.semi.segment import segment, shared_out
from imagenets.training.run import Run
from imagenets.training.stage import Stage


def predict(split: str, run: Run[Config]) -> dict[str, float]:
    """Writes `predict/validation/<wnid>/<stem>.png`, ids are classes; ranks share the images."""
    folder = run.folder(PREDICTS[split])
    data = run.dataset(split)
    network = load_network(run, len(data.classes))
    paths = [folder / split / f"{name}.png" for name in data.names]
    crop, batches = shared_out(run, network, data.sizes)
    left = on_first(lambda: unfinished(batches, paths))  # the same list on all ranks
    for batch in run.batches(data, left, crop, f"predict: {split}"):
        for _, name, ids in segment(network, batch, data):
            write_mask(folder / split / f"{name}.png", ids)
    barrier("predicting")
    on_first(lambda: finish(folder, split, len(data)))
    return {"images": len(data)}


def _stage(split: str) -> Stage:
    return Stage(
        name=PREDICTS[split],
        needs=lambda config: ("train",),
        settings=("model", "side"),
        splits=lambda config: (split,),
        version=1,
        run=partial(predict, split),
        result=masks_result,
    )


STAGE = _stage("validation")
TEST_STAGE = _stage("test")
