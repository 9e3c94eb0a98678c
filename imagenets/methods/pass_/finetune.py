"""Step 5: fine-tune the pretrained backbone with a 1x1 classifier on the pseudo labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.data.augment import normalize
from imagenets.data.loader import Batch
from imagenets.data.loader.crops import RandomResizedCrop
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.mask_files import labels_folder
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.trained import schedule, trained_result
from imagenets.models.checkpoints import load_weights
from imagenets.training.loop import Training, train, trained_state
from imagenets.training.optimizers import LarcSGD
from imagenets.training.run import Run
from imagenets.training.stage import Stage


def finetune(run: Run[Config]) -> dict[str, float]:
    """Trains the segmentation network; leaves `finetune/checkpoint.pt`."""
    config = run.config
    data = run.dataset("train").with_masks(labels_folder(run.out))
    torch.manual_seed(config.seed)
    network = run.place(SegmentationNet(config.arch, len(data.classes)))
    state = trained_state(run, "pretrain", config.pretrain.epochs)
    load_weights(network, state, source=f"{run.out / 'pretrain'}")
    network.train()

    def step(batch: Batch, generator: torch.Generator, iteration: int) -> dict[str, Tensor]:
        images = normalize(batch.crops.float() / 255)
        labels = batch.crop_masks[:, ::2, ::2].to(torch.int64)  # half the size, nearest
        with run.autocast():
            logits = network(images)
        logits = F.interpolate(
            logits.float(), labels.shape[1:], mode="bilinear", align_corners=False
        )
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        return {"loss": loss}

    training = Training(
        name="finetune",
        epochs=config.finetune.epochs,
        loader=run.training_loader(data, RandomResizedCrop(config.crop)),
        network=network,
        optimizer=LarcSGD(network.parameters(), config.finetune.base_rate),
        schedule=schedule(config.finetune),
        step=step,
    )
    return train(run, training)


STAGE = Stage(
    name="finetune",
    needs=("pretrain", "pseudo"),
    settings=("arch", "finetune", "batch", "crop", "seed"),
    splits=lambda config: ("train",),
    version=1,
    run=finetune,
    result=trained_result,
)
