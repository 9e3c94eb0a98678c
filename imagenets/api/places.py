"""Which tier, which folder and how many workers a job means, where some of it is left out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagenets import paths
from imagenets.errors import MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.training.run import Run


def tier_and_run(root: Path, split: str | None, out: Path | None) -> tuple[str, Path]:
    """The tier and the folder of a run.

    Args:
        root: The prepared set.
        split: Its tier; None: that of the run, else the only one that is prepared.
        out: The folder of the run; None: ROOT/runs/TIER.

    Raises:
        UsageError: The run is of another tier.
        MissingError: Nothing is prepared.
    """
    from imagenets.training.machine import read_object
    from imagenets.training.stage import CONFIG

    if out is None:
        out = paths.run(root, split or only_tier(root))
    of_run = read_object(out / CONFIG).get("tier")
    if of_run is None:
        return split or only_tier(root), out
    check_tier(split, out, str(of_run))
    return str(of_run), out


def check_tier(split: str | None, out: Path, tier: str) -> None:
    """Refuses a tier that is not that of the run.

    Raises:
        UsageError: It is another one.
    """
    if split not in (None, tier):
        raise UsageError(
            f"{out}: this run is of tier {tier}, not {split}. Leave --split out, or name "
            "another run."
        )


def trained_run(
    root: Path, split: str | None, folder: Path | None, device: str, workers: int | None
) -> Run[Any]:
    """A run of training as it was set up; a `SemiRun` where it is one of `imagenets semi`.

    Args:
        root: The prepared set.
        split: Its tier; None: that of the run, else the only one that is prepared.
        folder: The folder of the run; None: ROOT/runs/TIER.
        device: auto, cpu, cuda or cuda:N.
        workers: Processes that decode images.

    Raises:
        UsageError: It is of another tier, or there is no such device.
        MissingError: There is no such run.
        CorruptError: Its settings cannot be read.
    """
    from imagenets.methods.pass_.trained import run_settings
    from imagenets.methods.semi.run import SemiRun, is_semi
    from imagenets.methods.semi.run import run_settings as semi_settings
    from imagenets.training.run import Run, pick_device

    out = folder or paths.run(root, split or only_tier(root))
    semi = is_semi(out)
    tier, config = semi_settings(out) if semi else run_settings(out)
    check_tier(split, out, tier)
    kind: type[Run[Any]] = SemiRun if semi else Run
    return kind(root, tier, out, config, pick_device(device), decoding_workers(workers))


def only_tier(root: Path) -> str:
    """The tier that is prepared below a root, where there is exactly one.

    Raises:
        UsageError: There are several.
        MissingError: There is none.
    """
    tiers = list(paths.prepared(root))
    if len(tiers) == 1:
        return tiers[0]
    if tiers:
        raise UsageError(
            f"{root}: holds several tiers ({', '.join(tiers)}); choose one with --split."
        )
    raise MissingError(
        f"{root}: no prepared set there. Run `imagenets-prepare --split 50 --imagenet PATH "
        f"--root {root}`, or `imagenets-prepare --sample --root {root}` to try with generated "
        "images."
    )


def decoding_workers(asked: int | None) -> int:
    """One process for every core but the one that trains, at most 16; 0 decodes in this one.

    Ranks of one machine share its cores.

    Raises:
        UsageError: The number that was asked for is none.
    """
    from imagenets.core.launch import launched
    from imagenets.core.pool import available_cpus

    if asked is None:
        launch = launched()
        return max(0, min(16, available_cpus() // (launch.local_world if launch else 1) - 1))
    if asked < 0:
        raise UsageError(f"--workers {asked}: give 0 or more.")
    return asked
