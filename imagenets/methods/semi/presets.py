"""The settings of fine-tuning on train-semi, and the published ones as presets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from imagenets.core.settings import changed_by_file, changed_by_text, read_toml
from imagenets.data.augment import ViewGroup
from imagenets.errors import UsageError

PRETRAINED = "pretrained"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that decides the numbers of a run, data and device aside.

    Attributes:
        model: See `networks.make_network`.
        weights: SHA-256 of the file that the backbone starts from; `PRETRAINED`: the weights that
            its library brings; empty: random ones.
        search: SHA-256 of the checkpoint that dilations are taken from; empty: none.
        partial: Whether a backbone that the file fills in part is accepted.
        epochs: Passes over train-semi.
        batch: Images a step.
        accumulate: Parts in which a step is taken, to need less memory. Losses and gradients sum
            exactly; batch norm, where there is one, sees one part at a time.
        blr: Learning rate for 256 images a step; the rate is blr * batch / 256.
        final_rate: Rate at the end of the cosine.
        warmup: Epochs in which the rate grows linearly from 0.
        decays: For each layer group the factor d: the rate of a parameter is multiplied by
            d^(layers - layer).
        multipliers: For each layer group a factor of the rate.
        weight_decay: Of AdamW, for parameters of two or more dimensions.
        drop_path: Of the last block; it grows linearly from 0 in the first one.
        crop: Side of the random crops, pixels.
        scale: Range of their share of the image area.
        jitter: Of the colours, see `ViewGroup`.
        side: Short side for inference, pixels.
        search_epochs: Epochs between the steps of a search of dilations.
        seed: Of everything random.
    """

    model: str
    weights: str = ""
    search: str = ""
    partial: bool = False
    epochs: int = 100
    batch: int = 256
    accumulate: int = 1
    blr: float = 5e-4
    final_rate: float = 1e-6
    warmup: int = 5
    decays: tuple[float, ...] = (0.6,)
    multipliers: tuple[float, ...] = (1.0,)
    weight_decay: float = 0.05
    drop_path: float = 0.0
    crop: int = 224
    scale: tuple[float, float] = (0.14, 1.0)
    jitter: tuple[float, float, float, float] = (0.8, 0.8, 0.8, 0.2)
    side: int = 256
    search_epochs: int = 10
    seed: int = 0

    @property
    def rate(self) -> float:
        """The learning rate after warming up."""
        return self.blr * self.batch / 256

    @property
    def colors(self) -> ViewGroup:
        """The colour and blur recipe, for crops that are cut out already."""
        return ViewGroup(
            1, self.crop, (1.0, 1.0), (1.0, 1.0), flip_probability=0.0, jitter=self.jitter
        )

    def starting(self, *, weights: str, search: str, partial: bool) -> Config:
        """The same with the digests of the files that the network starts from."""
        return replace(self, weights=weights, search=search, partial=partial)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings and lists."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Config:
        """What `to_json` gave, back from a file.

        Raises:
            TypeError: It holds other settings than these.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in content.items()
        }
        return cls(**values)


START: Mapping[str, str] = MappingProxyType(
    {"weights": "--weights", "search": "--search", "partial": "--allow-partial"}
)
"""Settings that say what a network starts from -> the option that they follow from."""

_CONVNEXT = Config("convnext_tiny", blr=2.5e-4, decays=(0.6,), drop_path=0.2)
_RF = replace(_CONVNEXT, model="rfconvnext_tiny_rfsearch", multipliers=(1.0, 10.0))

PRESETS: Mapping[str, Config] = MappingProxyType(
    {
        "mae-vit-base": Config("vit_base_patch16", decays=(0.60,), drop_path=0.1),
        "mae-vit-base-sup": Config("vit_base_patch16", blr=1e-4, decays=(0.40,), drop_path=0.1),
        "sere-vit-small": Config("vit_small_patch16", decays=(0.50,), drop_path=0.1),
        "pass-resnet50": Config("resnet50", decays=(0.4,), weight_decay=5e-4),
        "pass-resnet50-d16": Config("resnet50_d16", decays=(0.45,), weight_decay=5e-4),
        "convnext-tiny": _CONVNEXT,
        "rfsearch": replace(_RF, decays=(0.6, 0.9)),
        "rfsingle": replace(_RF, model="rfconvnext_tiny_rfsingle", decays=(0.6, 0.9)),
        "rfmultiple": replace(
            _RF, model="rfconvnext_tiny_rfmultiple", decays=(0.55, 0.9), drop_path=0.1
        ),
        "rfmerge": replace(_RF, model="rfconvnext_tiny_rfmerge", decays=(0.55, 1.0)),
        # For sets of a hundred labelled images and less, of which 256 make no step: ten times as
        # many steps an image, and a rate that does not shrink with the batch.
        "few": Config(
            "resnet18",
            batch=16,
            blr=1.6e-2,
            decays=(0.75,),
            drop_path=0.1,
            jitter=(0.4, 0.4, 0.2, 0.05),
        ),
    }
)
"""Name -> settings. All but `few` are published, with the models named in them."""


def preset_for(model: str) -> str:
    """Name of the first published preset of a model; that of the ResNets where there is none."""
    found = (name for name, config in PRESETS.items() if config.model == model and name != "few")
    return next(found, "pass-resnet50")


def make_config(
    model: str | None,
    preset: str | None = None,
    *,
    file: Path | None = None,
    assignments: Iterable[str] = (),
    **changes: Any,
) -> Config:
    """Builds the settings of a run: of a preset, changed by a file, then by options.

    Args:
        model: The model; None: that of the file or the preset.
        preset: Name of the settings; None: the published ones of the model.
        file: TOML with some or all settings but `START`.
        assignments: Such as `blr=1e-3`; they come last.
        changes: Settings in place of those of the file, by their names in `Config`.

    Raises:
        UsageError: No model is given, there is no such preset or setting, a value is not of its
            type, or a number is out of range.
        MissingError: There is no such file.
    """
    given = {} if file is None else read_toml(file)
    named = model or str(given.get("model") or "")
    if not named and preset is None:
        raise UsageError("name a model (--model) or published settings (--preset).")
    preset = preset_for(named) if preset is None else preset
    if preset not in PRESETS:
        raise UsageError(f"there is no preset {preset!r}: choose one of {', '.join(PRESETS)}.")
    config = PRESETS[preset]
    if file is not None:
        _refuse_start(given, str(file))
        config = changed_by_file(config, file)[0]
    config = replace(config, **changes)
    config = config if model is None else replace(config, model=model)
    for assignment in assignments:
        config, name = changed_by_text(config, assignment)
        _refuse_start((name,), f"--set {assignment}")
    _check(config)
    return config


def _refuse_start(names: Iterable[str], where: str) -> None:
    for name in names:
        if name in START:
            raise UsageError(f"{where}: {name} follows from {START[name]}. Give that option.")


def _check(config: Config) -> None:
    least = 2 if config.model.startswith("resnet") else 1  # batch norm needs two images
    batch, parts = config.batch, config.accumulate
    divides = parts >= 1 and batch % parts == 0 and batch // parts >= least
    decays = bool(config.decays) and all(0 < decay <= 1 for decay in config.decays)
    checks = (
        (batch >= least, f"--batch-size {batch}: give {least} or more."),
        (
            divides,
            f"--accumulate {parts}: {batch} images do not fall into so many equal parts of {least} "
            "or more. Give a divisor of the batch.",
        ),
        (config.epochs >= 1, f"--epochs {config.epochs}: give 1 or more."),
        (
            0 <= config.warmup < config.epochs,
            f"--warmup {config.warmup}: must be fewer than the {config.epochs} epochs.",
        ),
        (config.blr > 0, f"--blr {config.blr}: give a number above 0."),
        (decays, f"--decay {config.decays}: give numbers above 0, at most 1."),
        (config.weight_decay >= 0, f"--weight-decay {config.weight_decay}: give 0 or more."),
        (0 <= config.drop_path < 1, f"--drop-path {config.drop_path}: give 0 or more, below 1."),
        (config.crop >= 32, f"--crop {config.crop}: give 32 or more."),
        (config.side >= 32, f"--side {config.side}: give 32 or more."),
        (config.final_rate >= 0, f"settings: final_rate is {config.final_rate}: give 0 or more."),
        (
            bool(config.multipliers) and min(config.multipliers) > 0,
            f"settings: multipliers is {config.multipliers}: give numbers above 0.",
        ),
        (
            0 < config.scale[0] <= config.scale[1] <= 1,
            f"settings: scale is {config.scale}: give a range above 0, at most 1.",
        ),
        (min(config.jitter) >= 0, f"settings: jitter is {config.jitter}: give 0 or more."),
        (config.search_epochs >= 1, f"settings: search_epochs is {config.search_epochs}: give 1."),
    )
    for holds, reason in checks:
        if not holds:
            raise UsageError(reason)
