"""The one scorer: predicted masks and ground truth in, every metric of the benchmark out."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from imagenets.classes import OTHER
from imagenets.classes import names as class_names
from imagenets.errors import UsageError
from imagenets.evaluation import matching
from imagenets.evaluation.counts import Counts
from imagenets.evaluation.mask_folders import Masks, count_masks
from imagenets.evaluation.mask_formats import SUFFIXES, Format
from imagenets.evaluation.metrics import Evaluator, Metrics
from imagenets.evaluation.published import PublishedEvaluator

log = logging.getLogger(__name__)

_SHOWN = 10
"""Names that are shown of many."""

Matching = Literal["image", "pixel", "majority"]
MATCHINGS: tuple[Matching, ...] = get_args(Matching)
"""What a match maximises: images in common, one to one (the benchmark's); pixels in common, one to
one; or each id goes to the class that it shares most pixels with."""


@dataclass(frozen=True)
class Scores:
    """What a prediction scores; `str()` is the table of its metrics.

    Attributes:
        counts: Pixel counts of every image, after matching.
        names: The images, in the order of the ground truth.
        extra: Names of predictions that have no ground truth; they were left out.
        matched: Predicted id -> class id, as it was given or found; None: ids are classes.
        published: Whether sums are kept in float32, as the published code keeps them.
    """

    counts: Counts
    names: list[str]
    extra: list[str]
    matched: Mapping[int, int] | None = None
    published: bool = False

    def __str__(self) -> str:
        from imagenets.evaluation.tables import metrics_text

        return metrics_text(self.metrics, self.counts.images, empty=self.empty)

    @cached_property
    def metrics(self) -> Metrics:
        """Every metric, in percent, by its published name."""
        return self._evaluator.compute()

    @property
    def empty(self) -> list[str]:
        """Names of the metrics by size that have no object: their 0 says nothing."""
        return self._evaluator.empty

    @cached_property
    def warnings(self) -> list[str]:
        """Signs that these scores mean something else than one thinks."""
        return self._evaluator.hints()

    def warn(self, pred: Path) -> None:
        """Logs warnings: of predictions that no ground truth asks for, and `warnings`.

        Args:
            pred: The folder of the predictions, for the message.
        """
        if self.extra:
            shown = ", ".join(f"{name}.png" for name in self.extra[:_SHOWN])
            more = ", ..." if len(self.extra) > _SHOWN else ""
            number = len(self.extra)
            text = "%s: %d masks have no ground truth and are left out: %s%s"
            log.warning(text, pred, number, shown, more)
        for text in self.warnings:
            log.warning("%s: %s", pred, text)

    def document(self, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """Gives the metrics for machines.

        Args:
            classes: WordNet ids of the classes 1..K, if known.

        Returns:
            A dict that fits JSON, with every metric in percent; and where there are any, `names`
            of the ids 0..K in the order of `IoUs`, `empty` (see there) and `warnings`.
        """
        names = [OTHER, *class_names(classes)] if classes else []
        notes = {"names": names, "empty": self.empty, "warnings": self.warnings}
        return {**self.metrics, **{name: found for name, found in notes.items() if found}}

    @cached_property
    def _evaluator(self) -> Evaluator:
        classes = self.counts.num_classes
        evaluator = PublishedEvaluator(classes) if self.published else Evaluator(classes)
        evaluator.add(self.counts)
        return evaluator


def score(
    pred: str | Path | Masks,
    ground_truth: str | Path | Masks,
    num_classes: int,
    *,
    match: Mapping[int, int] | Matching | None = None,
    form: Format = "rgb",
    published: bool = False,
    workers: int | None = None,
    shared: bool = False,
) -> Scores:
    """Scores predicted masks; the ground truth decides which images there are.

    Args:
        pred: Predicted masks by name, or the folder that holds them.
        ground_truth: Likewise.
        num_classes: K.
        match: Predicted id -> class id, used as it is; or how to find it on these very images;
            None when the predicted ids are classes already.
        form: Of the predicted masks: "rgb" as published, "gray16" (PNGs of one channel and 16
            bits), or "npy".
        published: Keep sums in float32, as the published code does.
        workers: Processes; all available CPUs by default.
        shared: Whether ranks share the images out; all must ask, and each gets the scores.

    Returns:
        The scores; with the match that was used, if any.

    Raises:
        BadMasksError: Some masks are missing, unreadable, of another size, hold ids out of range
            or ids for which the given match has no class; nothing was scored.
        MissingError: A folder is not there or is empty.
        UsageError: Flat names are not unique, or there is no such way of matching or form.
    """
    if isinstance(match, str) and match not in MATCHINGS:
        raise UsageError(f"there is no matching {match!r}: choose among {', '.join(MATCHINGS)}.")
    if form not in SUFFIXES:
        raise UsageError(f"there is no form {form!r} of masks: choose {', '.join(SUFFIXES)}.")
    given = None if isinstance(match, str) else match
    found = count_masks(
        pred,
        ground_truth,
        num_classes,
        matched=given,
        form=form,
        boundaries=match != "majority",
        workers=workers,
        shared=shared,
    )
    scores = Scores(found.counts, found.names, found.extra, given, published)
    if not isinstance(match, str):
        return scores
    matched = find_match(found.counts, match)
    if match == "majority":  # ids become one, and the boundaries between them vanish: count anew
        return score(
            pred,
            ground_truth,
            num_classes,
            match=matched,
            form=form,
            published=published,
            workers=workers,
            shared=shared,
        )
    table = matching.as_table(matched, num_classes)
    return replace(scores, counts=found.counts.relabelled(table), matched=matched)


def find_match(counts: Counts, kind: Matching = "image") -> matching.Match:
    """Finds the match of predicted ids to classes on counted images.

    Args:
        counts: Before matching, of predicted ids 0..K.
        kind: What the match maximises, one of `MATCHINGS`; "image" is the benchmark's.

    Returns:
        Predicted id -> class id for every id 0..K, with 0 -> 0.
    """
    if kind == "image":
        seen = matching.CoOccurrence(counts.num_classes)
        seen.add(counts)
        return matching.match(seen.matrix)
    matrix = matching.pixel_matrix(counts.confusion())
    return matching.match(matrix) if kind == "pixel" else matching.match_majority(matrix)
