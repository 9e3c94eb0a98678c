"""What a finished run of PASS no longer needs."""

from __future__ import annotations

from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.label_files import STAGE as LABELS
from imagenets.methods.pass_.presets import TRAINED
from imagenets.training.cleaning import Leftovers

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
