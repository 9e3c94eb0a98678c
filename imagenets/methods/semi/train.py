"""Fine-tuning on train-semi: AdamW with rates that differ by layer, warm-up and cosine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imagenets.core.distributed import add_up, rank, world
from imagenets.data.augment import apply, draw_groups
from imagenets.data.loader import Batch
from imagenets.data.loader.crops import RandomResizedCrop
from imagenets.errors import UsageError
from imagenets.masks import IGNORED
from imagenets.methods.semi.networks import SegNet, layers, make_network
from imagenets.methods.semi.presets import PRETRAINED, Config
from imagenets.methods.semi.run import SemiRun
from imagenets.methods.semi.segment import evaluate
from imagenets.methods.semi.start import start
from imagenets.models.checkpoints import plain_name
from imagenets.models.layers import set_drop_path
from imagenets.models.rfnext import RFConvNeXt
from imagenets.training import checkpoints
from imagenets.training.loop import Training
from imagenets.training.loop import train as train_loop
from imagenets.training.optimizers import ScaledAdamW, warm_cosine_rate
from imagenets.training.run import Run
from imagenets.training.stage import Stage
from imagenets.training.upsampled import upsampled_cross_entropy

log = logging.getLogger(__name__)

SPLIT = "train-semi"


def train(run: Run[Config]) -> dict[str, float]:
    """Trains the network; leaves `train/checkpoint.pt`."""
    assert isinstance(run, SemiRun)
    config = run.config
    data = run.dataset(SPLIT, masks=True)
    network = starting_network(run, len(data.classes)).train()
    backbone = network.backbone
    loader = run.training_loader(data, RandomResizedCrop(config.crop, config.scale))
    if isinstance(backbone, RFConvNeXt):
        backbone.set_interval(config.search_epochs * len(loader) * config.accumulate)

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        params = draw_groups(batch.sizes, [config.colors], generator, rank(), world())[0]
        images = apply(
            batch.crops, params, run.device, backbone.mean, backbone.std, run.image_dtype, True
        )[0]
        torch.manual_seed(generator.initial_seed())  # of drop path, whatever ran before
        return {"loss": backward(run, network, images, batch.crop_masks)}

    def after_epoch(epoch: int) -> Mapping[str, float]:
        if not run.evaluate_every or epoch % run.evaluate_every:
            return {}
        found = evaluate(run, network)
        network.train()
        return found

    training = Training(
        name="train",
        epochs=config.epochs,
        loader=loader,
        network=network,
        optimizer=ScaledAdamW(parameter_groups(network, config), config.rate, config.weight_decay),
        schedule=partial(
            warm_cosine_rate,
            base=config.rate,
            final=config.final_rate,
            warmup=config.warmup / config.epochs,
        ),
        step=step,
        after_epoch=after_epoch,
    )
    return train_loop(run, training)


def starting_network(run: SemiRun, num_classes: int) -> SegNet:
    """Makes the network that training starts from, on the run's device.

    Raises:
        UsageError: The weights do not fit, or the backbone takes no crops of this size.
    """
    config = run.config
    torch.manual_seed(config.seed)
    pretrained = config.weights == PRETRAINED
    network = make_network(config.model, num_classes, pretrained=pretrained)
    backbone = network.backbone
    if config.crop % backbone.patch or backbone.size not in (None, config.crop):
        fits = backbone.size or f"a multiple of {backbone.patch}"
        raise UsageError(f"--crop {config.crop}: {config.model} takes {fits} pixels.")
    start(network, run.weights, run.search, partial=config.partial)
    if not set_drop_path(network, config.drop_path) and config.drop_path:
        log.info("note: %s has no drop path that could be set", config.model)
    return run.place(network)


def backward(run: Run[Config], network: SegNet, images: Tensor, masks: Tensor) -> Tensor:
    """Adds the gradients of a batch to those of the network, part by part.

    Args:
        run: Its settings say in how many parts.
        network: Being trained.
        images: N x 3 x S x S, normalised.
        masks: N x S x S ids, 1000 where ignored.

    Returns:
        The mean cross entropy over the pixels that count, of logits brought to twice their size
        and labels reduced to that, detached. Of several ranks: what has the mean over the pixels
        of all as its mean over the ranks.
    """
    length = len(images) // run.config.accumulate
    labels, total, losses = None, None, []
    for i, part in enumerate(images.split(length)):
        with run.autocast():
            logits = network(part)
        if labels is None:
            labels = reduced(masks, 2 * logits.shape[2], 2 * logits.shape[3])
            counted = add_up((labels != IGNORED).sum().float()).clamp_(min=1)
            total = counted / world()  # the loop averages the gradients of the ranks
        loss = upsampled_cross_entropy(
            logits, labels[i * length : (i + 1) * length], ignore_index=IGNORED, total=total
        )
        loss.backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum()


def reduced(masks: Tensor, height: int, width: int) -> Tensor:
    """Takes the nearest label for each position of a smaller grid.

    Args:
        masks: N x H x W ids of any integer type.
        height: Of the grid.
        width: Of the grid.

    Returns:
        N x height x width int64.
    """
    rows = torch.arange(height, device=masks.device) * masks.shape[1] // height
    columns = torch.arange(width, device=masks.device) * masks.shape[2] // width
    return masks[:, rows[:, None], columns].to(torch.int64)


def parameter_groups(network: SegNet, config: Config) -> list[dict[str, Any]]:
    """What is trained, in groups of one rate and one weight decay.

    Args:
        network: Parameters that are frozen are left out.
        config: Gives a decay and a multiplier for each layer group; the last ones count for
            groups beyond.

    Returns:
        Groups for `ScaledAdamW`: `params`, `scale`, `weight_decay`.
    """
    places, count = layers(network)
    groups: dict[tuple[int, int, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        group, layer = places[plain_name(name)]
        decays = parameter.ndim > 1
        factor = config.decays[min(group, len(config.decays) - 1)] ** (count - layer)
        scale = factor * config.multipliers[min(group, len(config.multipliers) - 1)]
        made = {"params": [], "scale": scale, "weight_decay": config.weight_decay * decays}
        groups.setdefault((group, layer, decays), made)["params"].append(parameter)
    return list(groups.values())


def _result(folder: Path) -> str | None:
    path = folder / checkpoints.NAME
    if not path.is_file():
        return None
    state = checkpoints.load(path, torch.device("cpu"), folder.name)["state_dict"]
    return checkpoints.digest(state)


STAGE = Stage(
    name="train",
    needs=lambda config: (),
    settings=tuple(field.name for field in fields(Config) if field.name != "side"),
    splits=lambda config: (SPLIT,),
    version=1,
    run=train,
    result=_result,
)
