"""Step 1: SwAV on image crops, deep-to-shallow supervision, pixel-to-pixel alignment.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", arXiv:2106.03149, section 4.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imagenets.data.augment import apply_groups, draw_groups, grids
from imagenets.data.loader import Batch
from imagenets.methods.pass_.heads import PretrainNet, PretrainOutput
from imagenets.methods.pass_.losses import (
    ASSIGNED,
    Queue,
    assign,
    deep_to_shallow,
    pixel_to_pixel,
    swapped,
)
from imagenets.methods.pass_.presets import PRETRAIN_STD
from imagenets.training.run import Run, fit


def pretrain(run: Run) -> None:
    """Trains the backbone and the heads; leaves `pretrain/checkpoint.pt`."""
    config = run.config
    torch.manual_seed(config.seed)
    network = run.place(PretrainNet(config.arch, config.hidden, config.prototypes))
    network.train()
    loader = run.loader(run.dataset(config.pretrain_split), train=True)
    queue = Queue.of(config.pretrain.queue, config.batch, run.device)
    first = config.pretrain.queue_from * len(loader)

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        params = draw_groups(batch.sizes, config.views, generator)
        crops = [
            crop
            for group in apply_groups(batch.whole, params, run.device, std=PRETRAIN_STD)
            for crop in group
        ]
        q, k = (grid.to(run.device) for grid in grids(params[0]))
        network.normalise_prototypes()
        with run.autocast():
            out = network(crops, (q, k))
        views = (len(crops), len(batch.names))
        active = queue if iteration >= first else None
        losses = _losses(out, views, network, active, config.pretrain.epsilon)
        losses["loss"].backward()
        if iteration < config.pretrain.freeze:
            network.prototypes.weight.grad = None
        return losses

    memory = {} if queue is None else {"queue": queue.rows}
    fit(run, "pretrain", loader, network, network.parameters(), step, memory)


def _losses(
    out: PretrainOutput,
    views: tuple[int, int],
    network: PretrainNet,
    queue: Queue | None,
    epsilon: float,
) -> dict[str, Tensor]:
    scores = out.scores.float().unflatten(0, views)
    embedding = out.embedding.detach().unflatten(0, views)
    assignments = assign(
        embedding[:ASSIGNED],
        scores.detach()[:ASSIGNED],
        network.prototypes.weight.detach(),
        queue,
        epsilon,
    )
    shallow = out.shallow_scores.float().unflatten(0, (ASSIGNED, views[1]))
    i2i = swapped(assignments, scores)
    d2s = deep_to_shallow(assignments, shallow)
    p2p = pixel_to_pixel(out.projection.float(), out.prediction.float())
    return {"loss": (i2i + d2s) / 2 + p2p, "i2i": i2i, "d2s": d2s, "p2p": p2p}
