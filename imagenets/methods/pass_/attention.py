"""Step 2: only the attention head and the prototypes learn, from the SwAV loss alone."""

from __future__ import annotations

import torch
from torch import Tensor

from imagenets.data.augment import apply_groups, draw_groups
from imagenets.data.loader import Batch
from imagenets.methods.pass_.heads import AttentionNet
from imagenets.methods.pass_.losses import ASSIGNED, Queue, assign, swapped
from imagenets.methods.pass_.presets import PRETRAIN_STD
from imagenets.training.run import Run, fit, weights

TRAINABLE = ("fbg.", "prototypes.")


def attention(run: Run) -> None:
    """Trains the pixel attention on the frozen backbone; leaves `attention/checkpoint.pt`."""
    config = run.config
    network = _build(run)
    loader = run.loader(run.dataset("train"), train=True)
    queue = Queue.of(config.attention.queue, config.batch, run.device)
    first = config.attention.queue_from * len(loader)

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        params = draw_groups(batch.sizes, config.attention_views, generator)
        crops = [
            crop
            for group in apply_groups(batch.whole, params, run.device, std=PRETRAIN_STD)
            for crop in group
        ]
        views = (len(crops), len(batch.names))
        network.normalise_prototypes()
        with run.autocast():
            embedding, scores = network(crops)
        embedding = embedding.detach().unflatten(0, views)[:ASSIGNED]
        scores = scores.float().unflatten(0, views)
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
        return {"loss": loss}

    trained = [value for value in network.parameters() if value.requires_grad]
    memory = {} if queue is None else {"queue": queue.rows}
    fit(run, "attention", loader, network, trained, step, memory)


def _build(run: Run) -> AttentionNet:
    config = run.config
    torch.manual_seed(config.seed)
    network: AttentionNet = run.place(AttentionNet(config.arch, config.hidden, config.prototypes))
    pretrained = weights(run, "pretrain")
    own = network.state_dict()
    network.load_state_dict({name: pretrained.get(name, own[name]) for name in own})
    for name, value in network.named_parameters():
        value.requires_grad_(name.startswith(TRAINABLE))
    return network.train()  # batch norm stays in training mode, as published
