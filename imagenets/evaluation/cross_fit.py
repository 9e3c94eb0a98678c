"""Scores whose match has not seen the images that it is used on: two halves, each by the other's.

The published protocol finds the match on the very validation images that it scores. That flatters,
the more the fewer images there are. Here the images fall into two halves; each half is scored with
what was found on the other one, and the whole is both together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.evaluation import matching
from imagenets.evaluation.counts import Counts
from imagenets.evaluation.score import Scores, find_match

Half = npt.NDArray[np.bool_]
"""Of every image, whether it is in the second half."""


@dataclass(frozen=True)
class CrossFit:
    """What a prediction scores when each half of the images is matched as the other one asks.

    Attributes:
        scores: Of all images; its counts are after matching.
        second: Of every image, whether it is in the second half.
        matches: Found on the first half and used on the second; and the other way round.
        halves: What the first half scores, and the second.
    """

    scores: Scores
    second: Half
    matches: tuple[matching.Match, matching.Match]
    halves: tuple[Scores, Scores]


def in_second_half(names: Sequence[str]) -> Half:
    """Splits images into two halves by the SHA-256 of their stems, the same on every machine.

    The half with the lower digests is the first; of an odd number, it gets one more.

    Args:
        names: `<wnid>/<stem>` or `<stem>`; the folder makes no difference, but where two images
            have one stem: then whole names are taken.

    Returns:
        N bools, one for each name, True for the second half.

    Raises:
        UsageError: There are fewer than two images, or two of one name.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            f"{len(names)} images of {len(set(names))} names cannot be halved: cross-fit scores "
            "need two images or more, each of a name of its own."
        )
    stems = [name.rpartition("/")[2] for name in names]
    keys = stems if len(set(stems)) == len(stems) else names
    digests = [hashlib.sha256(key.encode()).digest() for key in keys]
    order = sorted(range(len(names)), key=digests.__getitem__)
    second = np.zeros(len(names), np.bool_)
    second[order[(len(names) + 1) // 2 :]] = True
    return second


def cross_fit(
    counts: Counts,
    names: Sequence[str],
    matches: tuple[matching.Match, matching.Match] | None = None,
) -> CrossFit:
    """Matches each half of the images as the other half asks.

    Args:
        counts: Pixel counts of every image before matching, with generated ids.
        names: Of the images, in their order.
        matches: Found on the first and on the second half; None: find them on these counts. Where
            more was chosen by half, such as a threshold, they must be given: what one half counts
            at the threshold of the other has seen both.

    Returns:
        The scores of all images and of each half, and the two matches.

    Raises:
        UsageError: The images cannot be halved.
    """
    second = in_second_half(names)
    first_match, second_match = matches or (
        find_match(of_images(counts, ~second)),
        find_match(of_images(counts, second)),
    )
    tables = np.stack([_table(found, counts) for found in (second_match, first_match)])
    pred = tables[second[counts.image].astype(np.intp), counts.pred]
    matched = replace(counts, pred=pred)
    halves = [
        Scores(
            of_images(matched, part),
            [name for name, inside in zip(names, part.tolist(), strict=True) if inside],
            [],
            found,
        )
        for part, found in ((~second, second_match), (second, first_match))
    ]
    scores = Scores(matched, list(names), [])
    return CrossFit(scores, second, (first_match, second_match), (halves[0], halves[1]))


def before_matching(scores: Scores) -> Counts:
    """Gives the counts of scores with the ids as they were predicted.

    Args:
        scores: With a match that is one to one, so that it can be undone, or without one.

    Returns:
        Counts of the same images; those of the scores themselves where there is no match.

    Raises:
        UsageError: The match gives two ids one class, or an id none: it cannot be undone.
    """
    if scores.matched is None:
        return scores.counts
    table = matching.as_table(scores.matched, scores.counts.num_classes)
    if not np.array_equal(np.sort(table), np.arange(len(table))):
        raise UsageError("the match is not one to one: what was predicted cannot be told from it.")
    return scores.counts.relabelled(np.argsort(table))


def of_images(counts: Counts, chosen: Half) -> Counts:
    """Takes the counts of some images.

    Args:
        counts: Of N images.
        chosen: N bools: which images.

    Returns:
        The counts of the images chosen, numbered anew in their order.
    """
    rows = chosen[counts.image]
    number = (np.cumsum(chosen) - 1).astype(np.int32)
    return Counts(
        int(chosen.sum()),
        counts.num_classes,
        number[counts.image[rows]],
        counts.gt[rows],
        counts.pred[rows],
        counts.edge[rows],
        counts.pixels[rows],
    )


def _table(found: matching.Match, counts: Counts) -> npt.NDArray[np.int32]:
    """A match as an array that keeps the id K + 1 of predictions outside 0..K."""
    table = matching.as_table(found, counts.num_classes)
    return np.append(table, counts.num_classes + 1).astype(np.int32)
