"""The scores of a run: its masks, matched to the classes, against the ground truth."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagenets.core.distributed import on_first
from imagenets.core.files import write_json
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import CorruptError, MissingError
from imagenets.evaluation import matching
from imagenets.evaluation.cross_fit import before_matching, cross_fit
from imagenets.evaluation.mask_folders import Masks
from imagenets.evaluation.results import ALL, OTHER_HALF, SAME, Result
from imagenets.evaluation.score import Scores, score
from imagenets.methods.pass_.label_files import THRESHOLD
from imagenets.methods.pass_.label_scores import label_results
from imagenets.methods.pass_.mask_files import PREDICTS
from imagenets.methods.pass_.presets import PREDICTION
from imagenets.methods.pass_.trained import run_settings
from imagenets.protocols import SUPERPIXELS, UNUSED, Pretraining, Used
from imagenets.training.ledger import Ledger
from imagenets.training.machine import read_object
from imagenets.training.provenance import declared, provenance
from imagenets.training.stage import CONFIG

MATCH = "match.json"
"""Generated id -> class id, found on validation."""

SCORES = "scores.json"
"""What validation scores; names the network whose masks it is of."""

TEST_SCORES = "scores-test.json"
"""What the test images score, with the match of validation."""
log = logging.getLogger(__name__)

_NETWORK = "network"
"""In the scores: digest of the weights of step 5 that made the masks."""

_MASKS = "masks"
"""In the scores: digest of the masks."""

TRUTH = "ground_truth"
"""In the scores: folder of the ground truth, where it is not that of the prepared set."""


def score_run(
    data: ImageNetS, out: Path, workers: int | None = None, truth: Path | None = None
) -> Scores:
    """Scores the validation masks of a run; leaves `scores.json` and `match.json` in `out`.

    Ranks share the images out, and the first one writes.

    The match is found on validation itself, as the benchmark does for its validation metrics. That
    is optimistic; `results` in the JSON has this score and those that have not seen the images,
    each with where it chose, and `provenance` what the run was made from.

    Args:
        data: The validation split.
        out: The folder of the run.
        workers: Processes; all available CPUs by default.
        truth: Folder of the ground truth masks; those of the prepared set by default.

    Returns:
        Scores of every image after matching, in percent; the same on all ranks.

    Raises:
        MissingError: There are no masks.
        CorruptError: They were made by another network than that of the run.
        BadMasksError: Some masks are missing or cannot be scored.
    """
    folder = _predictions(data.split, out)
    ground_truth = data.mask_files() if truth is None else truth
    scores = score(
        folder, ground_truth, len(data.classes), match="image", workers=workers, shared=True
    )
    matched = scores.matched
    assert matched is not None
    on_first(lambda: matching.save(matched, out / MATCH))
    every = final_results(scores, out) + label_results(data, out, ground_truth, workers)
    source = provenance(out, PREDICTS[data.split])
    notes = {
        "protocol": "optimistic",
        "results": [row.document() for row in every],
        "provenance": source,
    } | used_by(out, source["settings"]).document()
    document = scores.document(data.classes) | _made_by(out, data.split) | notes
    on_first(lambda: write_json(out / SCORES, document | told_truth(truth)))
    return scores


def used_by(out: Path, settings: Mapping[str, Any]) -> Used:
    """What a run was made with, as its settings and its folder tell.

    PASS starts from random weights and trains without labels; what the settings can change is where
    the images of pretraining come from, regions that vote, and which weights from outside it takes:
    of these, what was said of them counts.

    Args:
        out: The folder of the run, which need not be there yet.
        settings: As the run keeps them.

    Returns:
        The tier, the pretraining, the weights from outside and the regions.

    Raises:
        CorruptError: What was said of the weights cannot be read.
    """
    tier, split = str(settings.get("tier") or ""), settings.get("pretrain_split")
    data = "" if split is None else tier if split == "train" else str(split)
    given = [*settings.get("init", {}).values(), *settings.get("start", {}).values()]
    weights = ", ".join(filter(None, given))
    pretraining = declared(out) if weights else Pretraining(data, "none")
    made_by = settings.get("regions_from", "")
    regions = "" if made_by == SUPERPIXELS else str(made_by)
    return Used(tier, pretraining, UNUSED, weights, regions)


def final_results(scores: Scores, out: Path) -> list[Result]:
    """The published score of the final masks, and the one whose match has not seen the images.

    The threshold of the training labels was chosen on all validation images, so the network has
    seen their ground truth that much in both: no halving of its masks can undo it.

    Args:
        scores: Of the final masks, as published.
        out: The folder of the run.

    Returns:
        The published score; of two images or more, the other one, too.
    """
    path = out / "pseudo" / THRESHOLD
    threshold = (float(json.loads(path.read_bytes())["best"]),) if path.is_file() else ()
    first = Result("final", "optimistic", ALL, SAME, scores, threshold, intervals=True)
    if scores.counts.images < 2:
        return [first]
    cross = cross_fit(before_matching(scores), scores.names)
    return [
        first,
        Result("final", "cross-fit match", ALL, OTHER_HALF, cross.scores, threshold, cross, True),
    ]


def score_test(
    data: ImageNetS, out: Path, truth: Path | Masks, workers: int | None = None
) -> Scores:
    """Scores the test masks of a run with the match of validation; leaves `scores-test.json`.

    Args:
        data: The test split.
        out: The folder of the run.
        truth: Ground truth masks, or the folder that holds them.
        workers: Processes; all available CPUs by default.

    Returns:
        Scores of every image after matching, in percent; the same on all ranks.

    Raises:
        MissingError: There are no masks, or validation was not scored.
        CorruptError: Masks or match are of another network than that of the run.
        BadMasksError: Some masks are missing or cannot be scored.
    """
    folder = _predictions(data.split, out)
    classes = len(data.classes)
    matched = load_match(out, classes)
    scores = score(folder, truth, classes, match=matched, workers=workers, shared=True)
    source = provenance(out, PREDICTS[data.split])
    notes = {"match_from": ALL, "provenance": source} | used_by(out, source["settings"]).document()
    document = scores.document(data.classes) | _made_by(out, data.split) | notes
    on_first(lambda: write_json(out / TEST_SCORES, document | told_truth(truth)))
    return scores


def told_truth(truth: Path | Masks | None) -> dict[str, str]:
    """Gives what the scores say of the ground truth.

    Args:
        truth: Its folder, or the masks of the prepared set.

    Returns:
        Nothing where it is that of the prepared set.
    """
    return {TRUTH: str(truth.absolute())} if isinstance(truth, Path) else {}


def load_match(out: Path, num_classes: int) -> matching.Match:
    """Reads the match of a run.

    Args:
        out: The folder of the run.
        num_classes: K of its tier.

    Returns:
        Generated id -> class id, both 0..K; 0 is background in both.

    Raises:
        MissingError: The run is not scored yet.
        CorruptError: It was found on other masks, or with another network, than those of the run
            now; or it cannot be read.
    """
    for path in (out / MATCH, out / SCORES):
        if not path.is_file():
            raise MissingError(f"{path}: not there. Run `imagenets score` on this run first.")
    scores = read_object(out / SCORES)
    again = "Run `imagenets predict --subset validation` and `imagenets score` on this run again."
    network = _finetuned(out)
    if network is not None and scores.get(_NETWORK) != network:
        raise CorruptError(
            f"{out / MATCH}: was found with another network than the run has now. {again}"
        )
    if scores.get(_MASKS, masks := _made_by(out, "validation").get(_MASKS)) != masks:
        raise CorruptError(f"{out / MATCH}: was found on other masks than the run has now. {again}")
    if truth := scores.get(TRUTH):
        log.warning("%s: this match was found with the ground truth of %s.", out / MATCH, truth)
    return matching.load(out / MATCH, num_classes)


def class_names(out: Path) -> Sequence[str]:
    """Reads the names of the ids 0..K after matching, as scoring left them.

    Args:
        out: The folder of the run, which is scored.

    Returns:
        K + 1 names, the first one that of background; none of scores without names.

    Raises:
        MissingError: The run is not scored.
    """
    path = out / SCORES
    if not path.is_file():
        raise MissingError(f"{path}: not there. Run `imagenets-baseline score` on this run first.")
    names: list[str] = json.loads(path.read_bytes()).get("names", [])
    return names


def _predictions(split: str, out: Path) -> Path:
    """The folder of the masks of a split.

    Raises:
        MissingError: There are none.
        CorruptError: They are not of the network or the settings that the run has now.
    """
    folder = out / PREDICTS[split] / split
    again = f"Run `imagenets predict --subset {split}` on this run first."
    if not folder.is_dir():
        run_settings(out)  # says so where there is no run at all
        raise MissingError(f"{folder}: not there. {again}")
    network, made_by = _finetuned(out), _made_by(out, split).get(_NETWORK)
    if network is not None and made_by is not None and made_by != network:
        raise CorruptError(f"{folder}: these masks are of an earlier network of the run. {again}")
    entry = Ledger(out)[PREDICTS[split]]
    now = read_object(out / CONFIG)
    then = entry.key["settings"] if entry else now
    other = [name for name in PREDICTION if then.get(name) != now.get(name)]
    if other:
        raise CorruptError(f"{folder}: these masks were made with another {other[0]}. {again}")
    return folder


def _finetuned(out: Path) -> str | None:
    """Digest of the weights that step 5 left; None where no ledger knows."""
    entry = Ledger(out)["finetune"]
    return entry.result if entry else None


def _made_by(out: Path, split: str) -> dict[str, str]:
    """Which masks of a split there are, and which network made them, where the ledger knows."""
    entry = Ledger(out)[PREDICTS[split]]
    if entry is None:
        return {}
    return {_NETWORK: entry.key["reads"]["finetune"], _MASKS: entry.result or ""}
