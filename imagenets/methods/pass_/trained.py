"""What the trained stages of PASS share: their schedule, their result, their networks for use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from imagenets.data.augment import Params, apply_groups
from imagenets.data.loader import Batch
from imagenets.methods.pass_.attending import OwnAttention
from imagenets.methods.pass_.given import backbone_of
from imagenets.methods.pass_.heads import AttentionNet, SegmentationNet
from imagenets.methods.pass_.presets import FOREVER, Config, Schedule
from imagenets.methods.pass_.sizes import view_std
from imagenets.models.backbone import Backbone
from imagenets.models.checkpoints import load_weights
from imagenets.models.dilation import dilate
from imagenets.training import checkpoints
from imagenets.training.loop import trained_state
from imagenets.training.optimizers import cosine_rate
from imagenets.training.run import Run
from imagenets.training.stage import read_settings
from imagenets.training.watch import Swav


def run_settings(out: Path) -> tuple[str, Config]:
    """The tier and the settings of a run that was begun, from its folder.

    Raises:
        MissingError: There is no run.
        CorruptError: Its settings cannot be read.
    """
    return read_settings(out, Config.from_json, "train")


def schedule(settings: Schedule) -> Callable[[int, int], float]:
    """The published cosine of a stage, as a function of the iteration and their number."""
    return partial(cosine_rate, base=settings.base_rate, final=settings.final_rate)


def lower_rate(stage: str, config: Config) -> str:
    """What to try when the loss of a stage is no longer a number."""
    rate = getattr(config, stage).base_rate / 2
    return f"a lower rate (--set {stage}.base_rate={rate:g}, with another --out) or another --seed"


def swav(stage: str, loss: str, config: Config) -> Swav:
    """What shows a collapse in a stage that is trained with SwAV's loss, and what to try then."""
    schedule: Schedule = getattr(config, stage)
    tries = [
        f"sharper assignments (--set {stage}.epsilon={schedule.epsilon * 0.6:g})",
        f"a lower rate (--set {stage}.base_rate={schedule.base_rate / 2:g})",
        "fewer prototypes (--set prototypes=...)",
    ]
    if schedule.freeze < FOREVER:
        tries.insert(1, f"prototypes that stay fixed (--set {stage}.freeze={FOREVER})")
    return Swav(loss, config.prototypes, f"{', '.join(tries)} or a larger batch")


def make_views(
    run: Run[Config], batch: Batch, params: Sequence[Params], backbone: Backbone
) -> list[Tensor]:
    """The views of steps 1 and 2: for each group V x n x 3 x S x S, in channels-last memory."""
    return apply_groups(
        batch.whole,
        params,
        run.device,
        backbone.mean,
        view_std(backbone),
        dtype=run.image_dtype,
        channels_last=True,
    )


def trained_result(folder: Path) -> str | None:
    """Digest of the weights that a trained stage left, and of their average where there is one."""
    path = folder / checkpoints.NAME
    if not path.is_file():
        return None
    checkpoint = checkpoints.load(path, torch.device("cpu"), folder.name)
    average = checkpoint.get("average", {}).get("weights", {})
    more = {f"average.{name}": value for name, value in average.items()}
    return checkpoints.digest(checkpoint["state_dict"] | more)


def load_attention(run: Run[Config]) -> AttentionNet | OwnAttention:
    """What clusters and labels, for inference: the network of step 2, or the backbone alone."""
    config = run.config
    if config.attend == "backbone":
        own = run.place(OwnAttention(backbone_of(run)))
        load_trained(run, "pretrain", own)
        return own.eval()
    network = run.place(AttentionNet(backbone_of(run), config.hidden, config.prototypes))
    load_trained(run, "attention", network)
    return network.eval()


def load_trained(run: Run[Config], stage: str, network: nn.Module, averaged: bool = False) -> None:
    """Fills a network with the weights that a trained stage left, or with their average."""
    state = trained_state(run, stage, getattr(run.config, stage).epochs, averaged)
    load_weights(network, state, source=f"{run.out / stage}")


def averages(config: Config) -> bool:
    """Whether the predictions are those of the running average; given weights have none."""
    return config.ema > 0 and not config.init.finetune


def load_segmentation(run: Run[Config], num_classes: int) -> SegmentationNet:
    """The trained network of step 5, or its running average, for inference."""
    config = run.config
    network = run.place(SegmentationNet(backbone_of(run), num_classes))
    load_trained(run, "finetune", network, averages(config))
    dilate(network.backbone, config.grid or config.finetune_grid)
    return network.eval()
