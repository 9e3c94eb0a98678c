"""`imagenets.score`: what a run scores."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagenets.api.places import tier_and_run
from imagenets.api.session import ranks, root_folder, session
from imagenets.errors import UsageError

if TYPE_CHECKING:
    from imagenets.evaluation.metrics import Metrics
    from imagenets.evaluation.score import Scores


@dataclass(frozen=True)
class RunScores:
    """What a run scores; `str()` is the table that `imagenets score` prints.

    Attributes:
        scores: Of every image, after matching.
        file: Where all of it lies for machines: `scores.json`, `scores-test.json`.
    """

    scores: Scores
    file: Path

    @property
    def metrics(self) -> Metrics:
        """Every metric, in percent, by its published name."""
        return self.scores.metrics

    @property
    def document(self) -> dict[str, Any]:
        """What the file holds: also the other ways of scoring, and the protocols it is for."""
        found: dict[str, Any] = json.loads(self.file.read_text("utf-8"))
        return found

    def __str__(self) -> str:
        from imagenets.evaluation.results import results_text
        from imagenets.protocols import verdicts_text

        document = self.document
        parts = [str(self.scores), verdicts_text(document)]
        if "results" in document:
            parts.append(
                f"The metrics: {document['protocol']}, as published. Beside the others:\n\n"
                f"{results_text(document['results'])}"
            )
        return "\n\n".join(parts)


def score(
    root: str | Path | None = None,
    *,
    split: str | int | None = None,
    out: str | Path | None = None,
    subset: Literal["validation", "test"] = "validation",
    gt: str | Path | None = None,
    workers: int | None = None,
) -> RunScores:
    """Matches and scores the validation masks of a run, or scores its test masks.

    What `imagenets score` does, with its options. Leaves `scores.json` and `match.json` in the
    folder of the run.

    Args:
        root: Folder of the prepared set; None: $IMAGENETS_ROOT, else ./imagenet-s.
        split: The tier; None: that of the run, else the one that is prepared.
        out: Folder of the run; None: ROOT/runs/TIER.
        subset: "test": the masks of `predict --subset test`, with the match of validation.
        gt: Folder of ground truth masks; None: those of the prepared set.
        workers: Processes; one for each core by default.

    Returns:
        The scores, in percent, and the file that holds them.

    Raises:
        UsageError: The run is of another tier, or there is no such subset or ground truth.
        MissingError: There is no prepared set, or no masks.
        CorruptError: The masks are of another network than the run has now.
        BadMasksError: Some masks are missing or cannot be scored.
    """
    tier = None if split is None else str(split)
    run = None if out is None else Path(out).expanduser()
    truth = None if gt is None else Path(gt).expanduser()
    with session(), ranks():
        return score_run(root_folder(root), tier, run, subset, truth, workers)


def score_run(
    root: Path,
    split: str | None,
    out: Path | None,
    subset: str,
    truth: Path | None,
    workers: int | None,
) -> RunScores:
    """Scores a run of any method as one of the ranks, and warns of what looks misread.

    Args:
        root: Folder of the prepared set.
        split: The tier; None: that of the run, else the only one that is prepared.
        out: Folder of the run; None: ROOT/runs/TIER.
        subset: "validation" or "test".
        truth: Folder of ground truth masks; None: those of the prepared set.
        workers: Processes; None: one for each available core.

    Returns:
        The scores, in percent, and the file that holds them.

    Raises:
        UsageError: There is no such subset, the run is of another tier, or test images have no
            ground truth.
        ImageNetSError: Anything else that `score` names.
    """
    from imagenets.core.distributed import is_first
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.methods.pass_ import score as pass_
    from imagenets.methods.semi import score as semi
    from imagenets.methods.semi.run import is_semi

    if subset not in semi.SCORES:
        raise UsageError(f"subset {subset!r}: choose one of {', '.join(semi.SCORES)}.")
    tier, out = tier_and_run(root, split, out)
    data = ImageNetS(root, subset, tier)
    if subset == "test" and truth is None and not data.has_masks:
        raise UsageError(
            "the masks of the test images were never released, and the prepared set has none. "
            "Give the folder that holds yours with --gt."
        )
    if is_semi(out):
        scores = semi.score_run(data, out, workers, truth)
        file = semi.SCORES[subset]
    elif subset == "validation":
        scores, file = pass_.score_run(data, out, workers, truth), pass_.SCORES
    else:
        scores = pass_.score_test(data, out, truth or data.mask_files(), workers)
        file = pass_.TEST_SCORES
    if is_first():
        scores.warn(out)
    return RunScores(scores, out / file)
