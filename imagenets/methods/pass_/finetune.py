"""Step 5: fine-tune the pretrained backbone with a 1x1 classifier on the pseudo labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.data.augment import ViewGroup, draw_boxes, label_crop, normalise, resize_crop
from imagenets.data.loader import Batch
from imagenets.errors import MissingError
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.training.run import Run, fit, weights


def finetune(run: Run) -> None:
    """Trains the segmentation network; leaves `finetune/checkpoint.pt`."""
    config = run.config
    data = run.dataset("train")
    torch.manual_seed(config.seed)
    network: SegmentationNet = run.place(SegmentationNet(config.arch, len(data.classes)))
    pretrained, own = weights(run, "pretrain"), network.state_dict()
    network.load_state_dict({name: pretrained.get(name, own[name]) for name in own})
    network.train()
    labels = run.out / "pseudo"
    if not (labels / "done.json").is_file():
        raise MissingError(f"{labels}: not finished. Run the step 'pseudo' first (--stages).")
    group = ViewGroup(1, config.crop, (0.08, 1.0))
    loader = run.loader(data.with_masks(labels / "train"), train=True)

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        images, labels = _crops(batch, group, generator, run.device)
        with run.autocast():
            logits = network(images)
        logits = F.interpolate(
            logits.float(), labels.shape[1:], mode="bilinear", align_corners=False
        )
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        return {"loss": loss}

    fit(run, "finetune", loader, network, network.parameters(), step)


def _crops(
    batch: Batch, group: ViewGroup, generator: torch.Generator, device: torch.device
) -> tuple[Tensor, Tensor]:
    """One crop of each image, N x 3 x s x s, and its labels at half the size, N x s/2 x s/2."""
    assert batch.masks is not None
    boxes = draw_boxes(batch.sizes, group, generator)[0].tolist()
    flips = (torch.rand(len(boxes), generator=generator) < group.flip).tolist()
    images, labels = [], []
    for image, mask, box, flip in zip(batch.whole, batch.masks, boxes, flips, strict=True):
        crop = resize_crop(image.to(device), box, group.size)
        images.append(crop.flip(-1) if flip else crop)
        labels.append(label_crop(mask, box, flip, group.size)[::2, ::2])
    return normalise(torch.stack(images).float() / 255), torch.stack(labels).to(device, torch.int64)
