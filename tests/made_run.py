"""A scored run written in milliseconds, without training: for tests of what is made from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from imagenets import ImageNetS, masks
from imagenets.methods.pass_.label_format import Label, write_labels
from imagenets.methods.pass_.score import score_run

HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.example onerror=alert(2)>&amp;"
"""Text that would do harm on a page that took it for HTML."""


def make_run(root: Path, out: Path, *, shift: int = 1, text: str = "") -> Path:
    """A run of tier "3": masks are the ground truth, moved to the right, and its ids turned by one.

    Args:
        root: The prepared set.
        out: The folder to make.
        shift: Pixels by which the masks are wrong.
        text: Put wherever a run holds text that it was given.
    """
    data = ImageNetS(root, "validation", 3)
    labels = []
    for row, name in enumerate(data.names):
        truth = data.mask(row)
        height, width = truth.shape
        path = out / "predict" / "validation" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        turned = np.where((truth == 0) | (truth > 3), 0, truth % 3 + 1).astype(np.uint16)
        masks.save(path, np.roll(turned, shift, axis=1))
        level = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
        ids = np.full((3, 4), 1 + row % 3, np.uint16)
        labels.append(Label(row, name, (width, height), ids, level))
    (out / "pseudo" / "validation").mkdir(parents=True)
    write_labels(out / "pseudo" / "validation" / "validation-00000.h5", labels, {})
    sweep = {"best": 0.3, "thresholds": [0.0, 0.3, 0.6], "mIoU": [10.0, 30.0, 20.0]}
    write(out / "pseudo" / "threshold.json", sweep)
    train = ImageNetS(root, "train", 3, masks=False).names
    write(out / "cluster" / "nearest.json", {"1": list(train[16:24]), "2": list(train[4:12])})
    settings = {"tier": "3", "arch": f"resnet18{text}", "batch": 4, "pretrain_split": "train"}
    write(out / "config.json", settings | {"views": [{"views": 2, "scale": [0.1, 1.0]}]})
    for stage, losses in (("pretrain", ("i2i", "p2p")), ("finetune", (f"loss{text}",))):
        rows = [
            {"stage": stage, "epoch": epoch, "step": 3 * epoch, "rate": 0.1 / epoch}
            | dict.fromkeys(losses, 2.5 / epoch)
            | ({"ln_M": 2.0, "entropy": 1.9, "used": 1.0} if stage == "pretrain" else {})
            for epoch in range(1, 6)
        ]
        (out / stage).mkdir()
        (out / stage / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score_run(data, out, workers=1)
    change(out / "scores.json", warnings=[f"mind this {text}"])
    return out


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
