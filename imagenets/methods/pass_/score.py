"""The scores of a run: its validation masks, matched to the classes, against the ground truth."""

from __future__ import annotations

from pathlib import Path

from imagenets.core.files import write_json
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import MissingError
from imagenets.evaluation import matching
from imagenets.evaluation.score import Scores, score


def score_run(data: ImageNetS, out: Path, workers: int | None = None) -> Scores:
    """Scores the validation masks of a run; leaves `scores.json` and `match.json` in `out`.

    The match is found on validation itself, as the benchmark does for its validation metrics.

    Args:
        data: The validation split.
        out: The folder of the run.
        workers: Processes; all available CPUs by default.

    Raises:
        MissingError: There are no masks.
        BadMasksError: Some masks are missing or cannot be scored.
    """
    folder = out / "predict" / data.split
    if not folder.is_dir():
        raise MissingError(f"{folder}: not there. Run the step 'predict' first (--stages).")
    classes = len(data.classes)
    scores = score(folder, data.mask_files(), classes, match="image", workers=workers)
    assert scores.matched is not None
    matching.save(scores.matched, out / "match.json")
    write_json(out / "scores.json", scores.document(data.classes))
    return scores
