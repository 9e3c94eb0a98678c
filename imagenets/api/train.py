"""`imagenets.train`: the stages of the LUSS baseline, or what is left of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets.api.places import tier_and_run
from imagenets.api.session import absolute, ranks, root_folder, session
from imagenets.api.training import (
    Trained,
    Way,
    assignments_of,
    epochs_of,
    give,
    said_of,
    set_up,
    steps,
    train_run,
)

if TYPE_CHECKING:
    from imagenets.models.backbone import Backbone


def train(
    root: str | Path | None = None,
    *,
    split: str | int | None = None,
    out: str | Path | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    set: Sequence[str] | Mapping[str, Any] = (),
    stages: str | Sequence[str] | None = None,
    epochs: int | str | Mapping[str, int] | None = None,
    batch_size: int | None = None,
    accumulate: int | None = None,
    features: str | None = None,
    regions: str | Path | None = None,
    regions_from: str | None = None,
    seed: int | None = None,
    save_every: str = "10m",
    png: bool = False,
    tensorboard: bool = False,
    ignore_collapse: bool = False,
    device: str = "auto",
    workers: int | None = None,
    backbone: Backbone | None = None,
    init: Mapping[str, str | Path] | None = None,
    start: Mapping[str, str | Path] | None = None,
    allow_partial: bool = False,
    pretrained_on: str | None = None,
    supervision: str | None = None,
) -> Trained:
    """Runs the six steps of PASS on a prepared set, or what is left of them.

    What `imagenets train` does, with its options. A step that is done with the same data and
    settings is not done again; one that was interrupted goes on.

    Args:
        root: Folder of the prepared set; None: $IMAGENETS_ROOT, else ./imagenet-s.
        split: The tier; None: that of the run, else the one that is prepared.
        out: Folder of the run; None: ROOT/runs/TIER.
        preset: Name of the settings to begin with; by tier if None.
        config: TOML that replaces settings of the preset.
        set: Changes single settings: `{"pretrain.base_rate": 0.3}`, or as on the command line.
        stages: Only these steps, a list or "cluster,pseudo"; None: all.
        epochs: Of every trained step, or of those named.
        batch_size: Images a step; rates, queues and freezes follow.
        accumulate: Take each step of finetune in so many parts.
        features: What cluster keeps its features in: "float32" or "float16".
        regions: Folder of segments that vote.
        regions_from: What made them.
        seed: Of everything random.
        save_every: How often what is done is kept, such as "30s", "10m", "200steps".
        png: Write the pseudo labels as PNGs, too.
        tensorboard: Write what the log holds for TensorBoard, too.
        ignore_collapse: Go on where the loss stays at ln M.
        device: "auto", "cpu", "cuda" or "cuda:N".
        workers: Processes that decode images.
        backbone: A network with its weights, in the place of pretraining (docs/backbones.md).
        init: Step -> checkpoint that takes the place of what the step would train.
        start: Step -> checkpoint that the step begins with.
        allow_partial: Accept a checkpoint that lacks weights of the backbone.
        pretrained_on: Images that given weights were pretrained on.
        supervision: With what.

    Returns:
        Where the run lies, and what of it is done and left.

    Raises:
        UsageError: An option is out of range, or options do not go together.
        MissingError: There is no prepared set, or no such file.
        CorruptError: A file cannot be read.
        TrainingError: The loss is no longer a number, or nothing is learned.
    """
    from imagenets.methods.pass_.presets import preset_for
    from imagenets.methods.pass_.settings import Changes, make_config

    with session():
        place, tier_asked = root_folder(root), None if split is None else str(split)
        tier, run_folder = tier_and_run(place, tier_asked, _path(out))
        assignments = assignments_of(set)
        changes = Changes(
            epochs=epochs_of(epochs),
            batch=batch_size,
            seed=seed,
            accumulate=accumulate,
            features=features,
            regions=None if regions is None else str(absolute(regions)),
            regions_from=regions_from,
            file=_path(config),
            assignments=assignments,
        )
        said = said_of(pretrained_on, supervision)
        settings, given = give(
            make_config(preset or preset_for(tier), changes, out=run_folder),
            None if backbone is None else lambda _: backbone,
            {step: Path(file).expanduser() for step, file in (init or {}).items()},
            {step: Path(file).expanduser() for step, file in (start or {}).items()},
            accept_partial=allow_partial,
            assignments=assignments,
            said=said,
        )
        way = Way(device, workers, save_every, tensorboard, ignore_collapse)
        run = set_up((place, tier, run_folder), settings, given, way)
        with ranks(run.device):
            return train_run(run, steps(settings, stages, png), said)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given).expanduser()
