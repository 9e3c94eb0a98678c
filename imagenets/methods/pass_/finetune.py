"""Step 5: fine-tune the pretrained backbone with a 1x1 classifier on the pseudo labels."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from imagenets.core.distributed import on_first
from imagenets.data.loader import Batch
from imagenets.methods.pass_.given import backbone_of, begin, seed_noise, take_over
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.kept_images import read_kept
from imagenets.methods.pass_.label_files import open_labels
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.sizes import random_crop
from imagenets.methods.pass_.trained import load_trained, lower_rate, schedule, trained_result
from imagenets.models.dilation import dilate
from imagenets.training.average import Average
from imagenets.training.loop import Training, train
from imagenets.training.optimizers import LarcSGD
from imagenets.training.run import Run
from imagenets.training.stage import Stage
from imagenets.training.upsampled import upsampled_cross_entropy

log = logging.getLogger(__name__)


def finetune(run: Run[Config]) -> dict[str, float]:
    """Trains the segmentation network, or takes a given one; leaves `finetune/checkpoint.pt`."""
    config = run.config
    images = run.dataset("train")
    torch.manual_seed(config.seed)
    network = run.place(SegmentationNet(backbone_of(run), len(images.classes)))
    if config.init.finetune:
        return take_over(run, "finetune", network)
    if config.keep < 1:
        kept = on_first(lambda: read_kept(run.out / "cluster", len(images)))
        images = images.subset(kept)
    data = images.with_masks(open_labels(run.out, images))
    load_trained(run, "pretrain", network)
    begin(run, "finetune", network)
    dilate(network.backbone, config.finetune_grid)
    network.requires_grad_(True).train()
    if config.accumulate > 1:
        log.info(
            "finetune: a step of %d images is taken in %d parts: their gradients sum exactly, but "
            "batch norm sees %d images at a time.",
            config.batch,
            config.accumulate,
            config.batch // config.accumulate,
        )

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        seed_noise(generator)
        return {"loss": backward(run, network, batch)}

    training = Training(
        name="finetune",
        epochs=config.finetune.epochs,
        loader=run.training_loader(data, random_crop(network.backbone, config)),
        network=network,
        optimizer=LarcSGD(network.parameters(), config.finetune.base_rate),
        schedule=schedule(config.finetune),
        step=step,
        advice=lower_rate("finetune", config),
        average=Average(network, config.ema) if config.ema else None,
    )
    return train(run, training)


def backward(run: Run[Config], network: SegmentationNet, batch: Batch) -> Tensor:
    """Adds the gradients of a batch to those of the network, part by part.

    Args:
        run: Its settings say in how many parts.
        network: Being trained.
        batch: Images and pseudo labels, in equal parts.

    Returns:
        The mean cross entropy over all pixels, detached.
    """
    length = len(batch) // run.config.accumulate
    pairs = zip(batch.crops.split(length), batch.crop_masks.split(length), strict=True)
    losses = []
    for crops, ids in pairs:
        labels = ids[:, ::2, ::2].to(torch.int64)  # half the size, nearest
        with run.autocast():
            logits = network(network.backbone.normalized(crops))
        loss = upsampled_cross_entropy(logits, labels) / run.config.accumulate
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


STAGE = Stage(
    name="finetune",
    needs=lambda config: () if config.init.finetune else ("pretrain", "pseudo"),
    settings=(
        *("arch", "finetune", "batch", "accumulate", "crop", "seed", "finetune_grid", "keep"),
        *("init", "start", "ema"),
    ),
    splits=lambda config: () if config.init.finetune else ("train",),
    version=1,
    run=finetune,
    result=trained_result,
)
