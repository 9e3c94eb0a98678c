"""A run of fine-tuning: its files, its network, its settings from its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from imagenets.methods.semi.networks import LOGITS, SegNet, make_network
from imagenets.methods.semi.presets import Config
from imagenets.models.checkpoints import load_weights
from imagenets.models.rfnext import RFConvNeXt
from imagenets.training.loop import trained_state
from imagenets.training.run import Run
from imagenets.training.stage import CONFIG, read_settings


@dataclass(frozen=True)
class SemiRun(Run[Config]):
    """One run.

    Attributes:
        weights: What the network starts from; its digest stands in the settings.
        search: Where its dilations come from; likewise.
        evaluate_every: Epochs from one evaluation during training to the next; 0: none.
    """

    weights: Path | None = None
    search: Path | None = None
    evaluate_every: int = 0


def load_network(run: Run[Config], num_classes: int) -> SegNet:
    """The trained network of a run, for inference.

    Raises:
        MissingError: It is not trained yet.
        CorruptError: Its checkpoint cannot be read.
    """
    state = trained_state(run, "train", run.config.epochs)
    network = make_network(run.config.model, num_classes)
    if isinstance(network.backbone, RFConvNeXt):
        bare = {name.removeprefix("backbone."): value for name, value in state.items()}
        network.backbone.set_kernels(bare)
    network = run.place(network)
    load_weights(network, state, source=f"{run.out / 'train'}")
    return network.eval()


def number_of_classes(run: Run[Config]) -> int:
    """K of the trained network of a run; the prepared set is not looked at.

    Raises:
        MissingError: It is not trained yet.
    """
    state = trained_state(run, "train", run.config.epochs)
    if "head.bias" in state:
        return len(state["head.bias"]) - 1
    return len(state["seg_head.fc.bias"]) // LOGITS**2 - 1


def is_semi(out: Path) -> bool:
    """Whether a folder holds a run of fine-tuning on train-semi."""
    try:
        return "model" in json.loads((out / CONFIG).read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def run_settings(out: Path) -> tuple[str, Config]:
    """The tier and the settings of a run that was begun, from its folder.

    Raises:
        MissingError: There is no run.
        CorruptError: Its settings cannot be read.
    """
    return read_settings(out, Config.from_json, "semi")
