"""Step 2: only the attention head and the prototypes learn, from the SwAV loss alone."""

from __future__ import annotations

import torch
from torch import Tensor

from imagenets.core.distributed import rank, world
from imagenets.data.augment import draw_groups
from imagenets.data.loader import Batch
from imagenets.errors import UsageError
from imagenets.methods.pass_.given import backbone_of, begin, seed_noise, take_over, without_noise
from imagenets.methods.pass_.heads import AttentionNet
from imagenets.methods.pass_.losses import ASSIGNED, Queue, assign, nearest_counts, swapped
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.sizes import fitted
from imagenets.methods.pass_.trained import (
    load_trained,
    lower_rate,
    make_views,
    schedule,
    swav,
    trained_result,
)
from imagenets.training.loop import Training, train
from imagenets.training.optimizers import LarcSGD
from imagenets.training.run import Run
from imagenets.training.stage import Stage
from imagenets.training.watch import COUNTS

TRAINABLE = ("fbg.", "prototypes.")


def attention(run: Run[Config]) -> dict[str, float]:
    """Trains the pixel attention on the frozen backbone, or takes a given one.

    Leaves `attention/checkpoint.pt`.
    """
    config = run.config
    if config.attend != "head":
        raise UsageError(
            f"attention: {config.arch} has an attention itself, which clustering and labelling "
            "take. Leave this step out, or begin a run with --set attend=head."
        )
    network = _build(run)
    if config.init.attention:
        return take_over(run, "attention", network)
    _start(run, network)
    backbone = network.backbone
    views_of = fitted(backbone, config.attention_views)
    loader = run.training_loader(run.dataset("train"))
    queue = Queue.of(config.attention.queue, config.batch, run.device)
    first = config.attention.queue_from * len(loader)

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        seed_noise(generator)
        params = draw_groups(batch.sizes, views_of, generator, rank(), world())
        views = make_views(run, batch, params, backbone)
        crops = [group.flatten(0, 1) for group in views]  # as they lie in memory
        shape = (sum(map(len, views)), len(batch))
        network.normalize_prototypes()
        with run.autocast():
            embedding, scores = network(crops)
        embedding = embedding.detach().unflatten(0, shape)[:ASSIGNED]
        scores = scores.float().unflatten(0, shape)
        assignments = assign(
            embedding,
            scores.detach()[:ASSIGNED],
            network.prototypes.weight.detach(),
            queue if iteration >= first else None,
            config.attention.epsilon,
        )
        loss = swapped(assignments, scores)
        loss.backward()
        if iteration < config.attention.freeze:
            network.prototypes.weight.grad = None
        return {"loss": loss, COUNTS: nearest_counts(scores.detach()[:ASSIGNED].flatten(0, 1))}

    learning = [value for value in network.parameters() if value.requires_grad]
    training = Training(
        name="attention",
        epochs=config.attention.epochs,
        loader=loader,
        network=network,
        optimizer=LarcSGD(learning, config.attention.base_rate),
        schedule=schedule(config.attention),
        step=step,
        memory={} if queue is None else {"queue": queue.rows},
        swav=swav("attention", "loss", config),
        advice=lower_rate("attention", config),
    )
    return train(run, training)


def _build(run: Run[Config]) -> AttentionNet:
    config = run.config
    torch.manual_seed(config.seed)
    return run.place(AttentionNet(backbone_of(run), config.hidden, config.prototypes))


def _start(run: Run[Config], network: AttentionNet) -> None:
    """Fills the network, and freezes all of it but what is trained."""
    load_trained(run, "pretrain", network)
    begin(run, "attention", network)
    for name, value in network.named_parameters():
        value.requires_grad_(name.startswith(TRAINABLE))
    network.train()
    without_noise(network.backbone)


STAGE = Stage(
    name="attention",
    needs=lambda config: () if config.init.attention else ("pretrain",),
    settings=(
        *("arch", "hidden", "prototypes", "attention_views", "attention", "batch", "seed"),
        *("init", "start"),
    ),
    splits=lambda config: () if config.init.attention else ("train",),
    version=1,
    run=attention,
    result=trained_result,
)
