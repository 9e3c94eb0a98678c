"""Step 6: masks of the validation or test images at their own size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.inference import by_shape, write_mask
from imagenets.training.run import Run, progress, say, weights, write_json

LARGE = 1_000_000
"""Pixels above which logits are not brought to the full size: K + 1 maps of it would not fit."""

LARGE_HEIGHT = 1000


def predict(run: Run, split: str = "validation") -> None:
    """Writes `predict/<split>/<wnid>/<stem>.png`; ids are generated categories, unmatched."""
    folder = run.folder("predict")
    done = folder / f"{split}.json"
    if done.is_file():
        say(f"predict: {split} is done")
        return
    data = run.dataset(split)
    network: SegmentationNet = run.place(SegmentationNet(run.config.arch, len(data.classes)))
    network.load_state_dict(weights(run, "finetune"))
    network.eval()
    loader = run.loader(data)
    for batch in progress(loader, f"predict: {split}", len(loader)):
        ids = segment(network, batch.whole, run.config.side, run.device)
        for name, mask in zip(batch.names, ids, strict=True):
            write_mask(folder / split / f"{name}.png", mask.cpu().numpy())
    write_json(done, {"images": len(data)})


@torch.inference_mode()
def segment(
    network: SegmentationNet, images: Sequence[Tensor], side: int, device: torch.device
) -> list[Tensor]:
    """Segments uint8 3 x H x W images: for each H x W int64 ids 0..K."""
    found: list[Tensor] = [torch.empty(0)] * len(images)
    for positions, batch in by_shape(images, side, device):
        logits = network(batch)
        for row, position in enumerate(positions):
            height, width = images[position].shape[1:]
            found[position] = _full_size(logits[row, None], height, width)
    return found


def _full_size(logits: Tensor, height: int, width: int) -> Tensor:
    """Turns 1 x (K + 1) x h x w logits into H x W ids."""
    large = height * width > LARGE
    size = (LARGE_HEIGHT, round(width * LARGE_HEIGHT / height)) if large else (height, width)
    scaled = F.interpolate(logits, size, mode="bilinear", align_corners=False)
    ids = scaled.argmax(1)
    if large:
        ids = F.interpolate(ids[None].float(), (height, width), mode="nearest")[0].long()
    return ids[0]
