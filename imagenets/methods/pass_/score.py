"""The figures of a run: its validation masks, matched to the classes, against the ground truth."""

from __future__ import annotations

from pathlib import Path

from imagenets import masks
from imagenets.core.files import write_json
from imagenets.core.log import progress
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import MissingError
from imagenets.evaluation.counts import concatenate, count
from imagenets.evaluation.matching import CoOccurrence, as_table, match, save
from imagenets.evaluation.metrics import Evaluator, Figures


def score(truth: ImageNetS, out: Path) -> Figures:
    """Scores the validation masks of a run; leaves `scores.json` and `match.json` in `out`.

    The match is found on validation itself, as the benchmark does for its validation figures.

    Args:
        truth: The validation split.
        out: The folder of the run.

    Returns:
        Every figure, in percent.

    Raises:
        MissingError: A mask is not there.
    """
    classes = len(truth.classes)
    folder = out / "predict" / truth.split
    parts = []
    for index, name in enumerate(progress(truth.names, "score", len(truth), unit="image")):
        path = folder / f"{name}.png"
        if not path.is_file():
            raise MissingError(f"{path}: not there. Run the step 'predict' first (--stages).")
        parts.append(count(masks.decode(path), truth.mask(index), classes, name=str(path)))
    counts = concatenate(parts, classes)
    occurrences = CoOccurrence(classes)
    occurrences.add(counts)
    matched = match(occurrences.matrix)
    evaluator = Evaluator(classes)
    evaluator.add(counts.relabelled(as_table(matched, classes)))
    figures = evaluator.compute()
    save(matched, out / "match.json")
    write_json(out / "scores.json", figures)
    return figures
