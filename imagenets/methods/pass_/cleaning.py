"""What a finished run of PASS no longer needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.given import stages_of
from imagenets.methods.pass_.label_files import STAGE as LABELS
from imagenets.methods.pass_.presets import TRAINED
from imagenets.methods.pass_.trained import run_settings
from imagenets.training.cleaning import Leftovers
from imagenets.training.stage import CONFIG

LEFTOVERS = Leftovers(
    verb="train",
    stages=tuple(STAGES),
    trained=TRAINED,
    files={
        "features and restarts of k-means": ("cluster/features*", "cluster/restarts.pt"),
        "counts of the threshold sweep": (f"{LABELS}/sweep.pt",),
        "pseudo labels": (f"{LABELS}/*.h5",),
    },
    given_up=LABELS,
)


def leftovers_of(out: Path) -> Leftovers:
    """What a run no longer needs: steps that its settings leave out are not waited for.

    Raises:
        CorruptError: Its settings cannot be read.
    """
    if not (out / CONFIG).is_file():
        return LEFTOVERS
    wanted = stages_of(run_settings(out)[1])
    return replace(
        LEFTOVERS,
        stages=wanted,
        trained=tuple(name for name in TRAINED if name in wanted),
        given_up=LABELS if LABELS in wanted else None,
    )
