"""Masks in folders: who belongs to whom, what is wrong with them, what they count."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from imagenets import masks
from imagenets.classes import is_wnid
from imagenets.core.files import is_litter, pass_over
from imagenets.core.pool import in_chunks
from imagenets.errors import CorruptError, Fault, FaultsError, MissingError, UsageError
from imagenets.evaluation import mask_formats
from imagenets.evaluation.counts import Array, Counts, Int64, concatenate, count
from imagenets.evaluation.mask_formats import SUFFIXES, Format
from imagenets.evaluation.matching import as_table

_REMEDIES = {
    "missing": "Write one prediction for every mask of the ground truth.",
    "size": "Scale every prediction to its image's own size, with nearest neighbours.",
    "unreadable": "Masks are RGB PNGs, id = R + 256 * G (imagenets.masks.save); others: --format.",
    "range": "Check --split and that ids are 0 (other) to the number of classes.",
    "match": "Find the match on predictions of the same clustering.",
}


class Encoded(Protocol):
    """An encoded mask that lies elsewhere than in a file; must be picklable, for the workers."""

    def read(self) -> bytes | memoryview:
        """Reads the mask's bytes.

        Returns:
            The mask as a file would hold it, such as a PNG.

        Raises:
            OSError: It cannot be read; scoring lists it as an unreadable mask.
        """

    def __str__(self) -> str:
        """What to call it in a message."""


Mask = Path | Encoded
Masks = Mapping[str, Mask]
"""Masks by name: `<wnid>/<stem>`, or `<stem>` where they lie flat."""


def list_masks(folder: Path, suffix: str = ".png") -> dict[str, Mask]:
    """Finds the masks below a folder, `<wnid>/<stem>.png` or flat.

    Hidden files, and what macOS and Windows leave in folders, are passed over.

    Args:
        folder: Where to look, at any depth; `~` is expanded.
        suffix: What the files end in, in small letters: a dot and three more. Files that end in
            capitals count, too.

    Returns:
        Path below the folder without the suffix -> path, in the order of the paths.

    Raises:
        MissingError: There is no such folder, or no such file in it.
        PermissionError: The folder, or one in it that is named after a class, cannot be listed.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise MissingError(f"{folder}: there is no such folder of masks. Check the path.")
    found: dict[str, Mask] = {
        file[:-4]: folder / file for file in sorted(_files(folder, "", suffix))
    }
    if not found:
        raise MissingError(
            f"{folder}: there is no mask in it. Give the folder that holds <wnid>/<stem>{suffix}."
        )
    return found


def masks_in(given: str | Path | Masks, suffix: str = ".png") -> Masks:
    """Gives masks by name, whether they are given so or lie in a folder.

    Args:
        given: Masks by name, or the folder to look in, see `list_masks`.
        suffix: What the files of the folder end in.

    Returns:
        What is given, or what the folder holds.

    Raises:
        MissingError: There is no such folder, or no mask in it.
    """
    return list_masks(Path(given), suffix) if isinstance(given, str | Path) else given


def _files(folder: Path, prefix: str, suffix: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not is_litter(entry.name)]
    for entry in found:
        if entry.is_dir():
            try:
                yield from _files(Path(entry.path), f"{prefix}{entry.name}/", suffix)
            except PermissionError as error:
                if is_wnid(entry.name):
                    raise
                pass_over(entry.path, error)
        elif entry.name.lower().endswith(suffix) and not entry.name.startswith("."):
            yield prefix + entry.name


class BadMasksError(FaultsError):
    """Masks that cannot be scored; nothing was scored."""

    def __init__(self, faults: Sequence[Fault], images: int, found: str = "") -> None:
        """Words the message: faults of each kind, what was found, then what to do.

        Args:
            faults: At least one; of the kinds "missing", "size", "unreadable", "range" or "match".
            images: Number of masks in the ground truth.
            found: What there is instead, see `what_is_there`; empty: the message leaves it out.
        """
        title = f"{len(faults)} fault(s) in the masks of {images} image(s); nothing was scored."
        super().__init__(title, faults, _REMEDIES, found)


def what_is_there(preds: Masks, pred: str | Path | Masks) -> str:
    """Says what predictions there are, for those who miss some.

    Args:
        preds: The predictions by name; may be empty.
        pred: The same as the user gave them; of a folder the path is shown.

    Returns:
        One line with the folder, the number of masks, and the name of the first one.
    """
    where = str(pred) if isinstance(pred, str | Path) else "the predictions"
    name, mask = next(iter(preds.items()), ("", None))
    suffix = mask.suffix if isinstance(mask, Path) else ""
    example = f" such as {name}{suffix}" if name else ""
    return f"found: {where} holds {len(preds):,} masks{example}"


@dataclass(frozen=True, slots=True)
class CountedMasks:
    """What a folder of predictions counts against a ground truth.

    Attributes:
        names: The images, in the order of the ground truth.
        counts: One image index for each name.
        extra: Names of predictions that have no ground truth; they were left out.
    """

    names: list[str]
    counts: Counts
    extra: list[str]


def count_masks(
    pred: str | Path | Masks,
    ground_truth: str | Path | Masks,
    num_classes: int,
    *,
    matched: Mapping[int, int] | None = None,
    form: Format = "rgb",
    boundaries: bool = True,
    workers: int | None = None,
    shared: bool = False,
) -> CountedMasks:
    """Reads and counts all masks; the ground truth decides which images there are.

    Args:
        pred: Predicted masks, or the folder that holds them.
        ground_truth: Ground truth masks likewise.
        num_classes: K.
        matched: Predicted id -> class id, which replaces it before anything is counted; None: the
            predicted ids are counted as they are.
        form: Of the predicted masks, see `mask_formats.decode`; ground truth is always as
            published ("rgb").
        boundaries: Whether boundary metrics are wanted.
        workers: Processes; all available cores by default.
        shared: Whether ranks share the images out; all must ask, and each gets all counts.

    Returns:
        The counts of all images of the ground truth, and the predictions left out.

    Raises:
        BadMasksError: Some masks are missing, unreadable, of another size, hold ids out of range
            or ids for which `matched` has no class; all of them are listed.
        MissingError: A folder is not there or is empty.
        UsageError: Flat names are not unique, `matched` holds ids outside 0..K, or there is less
            than one worker.
    """
    preds, ground_truths = masks_in(pred, SUFFIXES[form]), masks_in(ground_truth)
    partners, extra = pair(preds, ground_truths)
    faults = [
        Fault("missing", f"{mask} has no prediction")
        for name, mask in ground_truths.items()
        if partners[name] is None
    ]
    work = partial(
        _count_chunk,
        num_classes=num_classes,
        table=None if matched is None else as_table(matched, num_classes),
        form=form,
        boundaries=boundaries,
    )
    found = [(preds[partner], ground_truths[name]) for name, partner in partners.items() if partner]
    parts = []
    for part, bad in in_chunks(work, found, workers, title="scoring", shared=shared):
        parts.append(part)
        faults += bad
    if faults:
        lacks = any(fault.kind == "missing" for fault in faults)
        there = what_is_there(preds, pred) if lacks else ""
        raise BadMasksError(faults, len(ground_truths), there)
    return CountedMasks(list(ground_truths), concatenate(parts, num_classes), extra)


def pair(
    preds: Iterable[str], ground_truths: Iterable[str]
) -> tuple[dict[str, str | None], list[str]]:
    """Finds the prediction of every ground truth mask: by name, or by stem where one side is flat.

    Args:
        preds: Names of the predictions, `<wnid>/<stem>` or `<stem>`.
        ground_truths: Names of the ground truth masks likewise.

    Returns:
        Name of each ground truth mask -> that of its prediction or None; and the names of the
        predictions that are left over.

    Raises:
        UsageError: Stems are needed, and two masks share one.
    """
    preds, ground_truths = list(preds), list(ground_truths)
    nested = all("/" in name for name in (*preds, *ground_truths))
    by_key = _by_key(preds, nested)
    pairs = {name: by_key.pop(key, None) for key, name in _by_key(ground_truths, nested).items()}
    return pairs, list(by_key.values())


def _by_key(names: Sequence[str], nested: bool) -> dict[str, str]:
    keys: dict[str, str] = {}
    for name in names:
        key = name if nested else name.rpartition("/")[2]
        if key in keys:
            raise UsageError(
                f"{keys[key]} and {name} have the same name, and some names have no class "
                "folder. Give all as <wnid>/<stem>."
            )
        keys[key] = name
    return keys


Chunk = Sequence[tuple[Mask, Mask]]


def _count_chunk(
    pairs: Chunk,
    *,
    num_classes: int,
    table: Int64 | None,
    form: Format,
    boundaries: bool,
) -> tuple[Counts, list[Fault]]:
    parts: list[Counts] = []
    faults: list[Fault] = []
    for pred_mask, true_mask in pairs:
        bad: list[Fault] = []
        gt = _decode(true_mask, num_classes, "rgb", bad, ignored=masks.IGNORED)
        pred = _decode(pred_mask, num_classes, form, bad)
        if gt is not None and pred is not None and gt.shape != pred.shape:
            sizes = " x ".join(map(str, pred.shape[::-1])), " x ".join(map(str, gt.shape[::-1]))
            text = f"{pred_mask} is {sizes[0]} pixels (W x H), not {sizes[1]}"
            bad.append(Fault("size", text))
        if table is not None and pred is not None and not bad:
            pred = table[pred]
            if pred.min() < 0:
                text = f"{pred_mask} holds ids for which the match has no class"
                bad.append(Fault("match", text))
        faults += bad
        if gt is not None and pred is not None and not faults:  # else nothing will be scored
            parts.append(count(pred, gt, num_classes, boundaries=boundaries))
    return concatenate(parts, num_classes), faults


def _decode(
    mask: Mask, highest: int, form: Format, faults: list[Fault], ignored: int = masks.BACKGROUND
) -> Array | None:
    """Decodes a mask; None and a fault where that is impossible, a fault for ids out of range."""
    try:
        data = mask.read_bytes() if isinstance(mask, Path) else mask.read()
        ids = mask_formats.decode(form, data, str(mask))
    except (CorruptError, OSError) as error:
        faults.append(Fault("unreadable", str(error)))
        return None
    if ids.max() > highest:
        odd = np.unique(ids[(ids > highest) & (ids != ignored)]).tolist()
        listed = ", ".join(map(str, odd[:5])) + (", ..." if len(odd) > 5 else "")
        if odd:
            faults.append(Fault("range", f"{mask} holds {listed}; ids are 0..{highest}"))
    return ids
