"""The scores of a run: its masks against the ground truth; ids are classes already."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagenets.core.distributed import on_first
from imagenets.core.files import write_json
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import CorruptError, MissingError
from imagenets.evaluation.mask_folders import Masks
from imagenets.evaluation.score import Scores, score
from imagenets.methods.pass_.mask_files import PREDICTS
from imagenets.methods.pass_.score import told_truth
from imagenets.protocols import TUNING, UNTRAINED, Used
from imagenets.training.ledger import Ledger
from imagenets.training.provenance import declared, provenance

SCORES = {"validation": "scores.json", "test": "scores-test.json"}
"""Split -> what its masks score, the network whose masks they are, and what that was made from."""


def score_run(
    data: ImageNetS, out: Path, workers: int | None = None, truth: Path | Masks | None = None
) -> Scores:
    """Scores the masks of a split; leaves `scores.json`, or `scores-test.json`, in `out`.

    Args:
        data: The split.
        out: The folder of the run.
        workers: Processes; all available CPUs by default.
        truth: Ground truth masks; those of the prepared set by default.

    Raises:
        MissingError: There are no masks.
        CorruptError: They are of another network than the run has now.
        BadMasksError: Some masks are missing or cannot be scored.
    """
    folder = predictions(data.split, out)
    ground_truth = data.mask_files() if truth is None else truth
    scores = score(folder, ground_truth, len(data.classes), workers=workers, shared=True)
    entry = Ledger(out)["train"]
    notes: dict[str, Any] = {"network": entry.result} if entry else {}
    notes["provenance"] = provenance(out, PREDICTS[data.split])
    notes |= used_by(out, notes["provenance"]["settings"]).document()
    document = scores.document(data.classes) | notes | told_truth(truth)
    on_first(lambda: write_json(out / SCORES[data.split], document))
    return scores


def used_by(out: Path, settings: Mapping[str, Any]) -> Used:
    """What a run was made with, as its settings and its folder tell.

    Args:
        out: The folder of the run, which need not be there yet.
        settings: With the `tier` and the `weights` of the run.

    Raises:
        CorruptError: What was said of the weights cannot be read.
    """
    weights = str(settings.get("weights", ""))
    tier = str(settings.get("tier") or "")
    return Used(tier, declared(out) if weights else UNTRAINED, TUNING, weights)


def predictions(split: str, out: Path) -> Path:
    """The folder of the masks of a split.

    Raises:
        MissingError: There are none.
        CorruptError: They are not of the network that the run has now.
    """
    folder = out / PREDICTS[split] / split
    again = "Run the same `imagenets semi` again, for test images with --subset test."
    if not folder.is_dir():
        raise MissingError(f"{folder}: not there. {again}")
    network, masks = Ledger(out)["train"], Ledger(out)[PREDICTS[split]]
    if network and masks and masks.key["reads"]["train"] != network.result:
        raise CorruptError(f"{folder}: these masks are of an earlier network of the run. {again}")
    return folder
