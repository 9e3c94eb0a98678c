"""Step 1: SwAV on image crops, deep-to-shallow supervision, pixel-to-pixel alignment.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", arXiv:2106.03149, section 4.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imagenets.core.distributed import rank, world
from imagenets.data.augment import draw_groups, grids
from imagenets.data.loader import Batch
from imagenets.methods.pass_.given import PassRun, backbone_of, begin, take_over
from imagenets.methods.pass_.heads import PretrainNet, PretrainOutput
from imagenets.methods.pass_.losses import (
    ASSIGNED,
    Queue,
    assign,
    deep_to_shallow,
    nearest_counts,
    pixel_to_pixel,
    swapped,
)
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.sizes import fitted
from imagenets.methods.pass_.trained import (
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


def pretrain(run: Run[Config]) -> dict[str, float]:
    """Trains the backbone and the heads, or takes given ones; leaves `pretrain/checkpoint.pt`."""
    config = run.config
    torch.manual_seed(config.seed)
    backbone = backbone_of(run)
    if isinstance(run, PassRun) and run.backbone is not None:
        return take_over(run, "pretrain", run.backbone)
    network = run.place(PretrainNet(backbone, config.hidden, config.prototypes))
    if config.init.pretrain:
        return take_over(run, "pretrain", network)
    begin(run, "pretrain", network)
    network.train()
    views_of = fitted(backbone, config.views)
    loader = run.training_loader(run.dataset(config.pretrain_split))
    queue = Queue.of(config.pretrain.queue, config.batch, run.device)
    first = config.pretrain.queue_from * len(loader)

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        params = draw_groups(batch.sizes, views_of, generator, rank(), world())
        views = make_views(run, batch, params, backbone)
        crops = [group.flatten(0, 1) for group in views]  # as they lie in memory
        q, k = (grid.to(run.device) for grid in grids(params[0]))
        network.normalize_prototypes()
        with run.autocast():
            out = network(crops, (q, k))
        active = queue if iteration >= first else None
        shape = (sum(map(len, views)), len(batch))
        losses = _losses(out, shape, network, active, config.pretrain.epsilon)
        losses["loss"].backward()
        if iteration < config.pretrain.freeze:
            network.prototypes.weight.grad = None
        losses[COUNTS] = nearest_counts(out.scores[: ASSIGNED * len(batch)])
        return losses

    training = Training(
        name="pretrain",
        epochs=config.pretrain.epochs,
        loader=loader,
        network=network,
        optimizer=LarcSGD(network.parameters(), config.pretrain.base_rate),
        schedule=schedule(config.pretrain),
        step=step,
        memory={} if queue is None else {"queue": queue.rows},
        swav=swav("pretrain", "i2i", config),
        advice=lower_rate("pretrain", config),
    )
    return train(run, training)


def _losses(
    out: PretrainOutput,
    shape: tuple[int, int],
    network: PretrainNet,
    queue: Queue | None,
    epsilon: float,
) -> dict[str, Tensor]:
    """The three losses and their total; `shape` is the number of crops and of images."""
    scores = out.scores.float().unflatten(0, shape)
    embedding = out.embedding.detach().unflatten(0, shape)
    assignments = assign(
        embedding[:ASSIGNED],
        scores.detach()[:ASSIGNED],
        network.prototypes.weight.detach(),
        queue,
        epsilon,
    )
    shallow = out.shallow_scores.float().unflatten(0, (ASSIGNED, shape[1]))
    i2i = swapped(assignments, scores)
    d2s = deep_to_shallow(assignments, shallow)
    p2p = pixel_to_pixel(out.projection.float(), out.prediction.float())
    return {"loss": (i2i + d2s) / 2 + p2p, "i2i": i2i, "d2s": d2s, "p2p": p2p}


STAGE = Stage(
    name="pretrain",
    needs=lambda config: (),
    settings=(
        *("arch", "hidden", "prototypes", "views", "pretrain", "batch", "seed"),
        *("init", "start"),
    ),
    splits=lambda config: () if config.init.pretrain else (config.pretrain_split,),
    version=1,
    run=pretrain,
    result=trained_result,
)
