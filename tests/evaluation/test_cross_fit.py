"""Cross-fit scores: by hand, and that no image is scored with a match that saw it."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagenets.errors import UsageError
from imagenets.evaluation.counts import Counts, concatenate, count
from imagenets.evaluation.cross_fit import before_matching, cross_fit, in_second_half
from imagenets.evaluation.metrics import SCALARS
from imagenets.evaluation.results import OTHER_HALF, SAME, Result, results_text
from imagenets.evaluation.score import Scores, find_match

Pairs = list[tuple[list[list[int]], list[list[int]]]]


def counted(pairs: Pairs, classes: int) -> Counts:
    parts = [count(np.array(pred), np.array(gt), classes) for pred, gt in pairs]
    return concatenate(parts, classes)


def names_by_half(first: int, second: int) -> tuple[list[str], list[str]]:
    """Names whose digests put them into the first and the second half."""
    names = sorted(
        (f"n{i}/image{i}" for i in range(first + second)),
        key=lambda name: hashlib.sha256(name.split("/")[1].encode()).digest(),
    )
    return names[:first], names[first:]


def test_halves_follow_from_the_stems_alone() -> None:
    names = [f"n0{i % 3}/ILSVRC2012_val_{i:08d}" for i in range(101)]
    second = in_second_half(names)
    assert second.sum() == 50
    assert np.array_equal(in_second_half([name.split("/")[1] for name in names]), second)
    assert np.array_equal(in_second_half(names[::-1]), second[::-1])
    # Kept here, so that another machine or release cannot halve otherwise.
    stems = ["ILSVRC2012_val_00000001", "ILSVRC2012_val_00000002", "ILSVRC2012_val_00000003"]
    digests = [hashlib.sha256(stem.encode()).hexdigest() for stem in stems]
    last = max(digests)
    assert in_second_half(stems).tolist() == [digest == last for digest in digests]


@pytest.mark.parametrize("names", [[], ["a/b"], ["a/b", "a/b"]])
def test_what_cannot_be_halved_is_told(names: list[str]) -> None:
    with pytest.raises(UsageError, match="cannot be halved"):
        in_second_half(names)


def test_images_of_one_stem_are_halved_by_their_whole_names() -> None:
    names = ["n01/one", "n02/one", "n03/one", "n04/one"]
    second = in_second_half(names)
    assert second.sum() == 2
    assert np.array_equal(in_second_half(names[::-1]), second[::-1])


def test_two_images_by_hand() -> None:
    """Ids 1 and 2 are swapped in the first half alone, so each half is matched the wrong way."""
    (a,), (b,) = names_by_half(1, 1)
    swapped = ([[2, 2, 1, 1]], [[1, 1, 2, 2]])
    straight = ([[1, 1, 2, 2]], [[1, 1, 2, 2]])
    counts = counted([swapped, straight], 2)
    found = cross_fit(counts, [a, b])
    assert found.second.tolist() == [False, True]
    # Each image holds both ids and both classes: all matches share as many images, ids stay.
    assert found.matches == ({0: 0, 1: 1, 2: 2}, {0: 0, 1: 1, 2: 2})
    assert [round(half.metrics["mIoU"], 6) for half in found.halves] == [0, round(200 / 3, 6)]
    # Together: of 4 pixels a class 2 are right, predicted 4, true 4: 2 / 6; id 0 counts 0.
    assert found.scores.metrics["mIoU"] == pytest.approx(100 * (2 / 6 + 2 / 6) / 3)


def test_a_match_that_only_one_half_knows() -> None:
    """The first half says 1 is class 2; in the second, 1 lies on class 1."""
    (a,), (b,) = names_by_half(1, 1)
    counts = counted([([[1, 1, 0]], [[2, 2, 0]]), ([[1, 1, 0]], [[1, 1, 0]])], 2)
    found = cross_fit(counts, [a, b])
    assert found.matches[0][1] == 2
    assert found.matches[1][1] == 1
    assert found.halves[0].matched == found.matches[1]
    # Both halves: the object is the wrong class, other is right. IoUs: other 1, both classes 0.
    assert [half.metrics["mIoU"] for half in found.halves] == pytest.approx([100 / 3, 100 / 3])
    optimistic = Scores(counts, [a, b], [], None)
    one = optimistic.counts.relabelled(np.array([0, 2, 1]))
    assert Scores(one, [a, b], []).metrics["mIoU"] > found.scores.metrics["mIoU"]


def drawn(seed: int, images: int, classes: int) -> Pairs:
    rng = np.random.default_rng(seed)
    return [
        (
            rng.integers(0, classes + 1, (6, 7)).tolist(),
            rng.integers(0, classes + 1, (6, 7)).tolist(),
        )
        for _ in range(images)
    ]


@given(st.integers(0, 50), st.integers(2, 7))
@settings(deadline=None, max_examples=20)
def test_no_image_is_scored_with_a_match_that_saw_it(seed: int, images: int) -> None:
    """Other ground truth in one half changes no match that this half is scored with."""
    classes = 3
    names = [f"n1/i{i}" for i in range(images)]
    pairs = drawn(seed, images, classes)
    second = in_second_half(names)
    before = cross_fit(counted(pairs, classes), names)
    for half, inside in enumerate((~second, second)):
        changed = [
            (pred, np.full_like(gt, 1 + seed % classes).tolist() if inside[i] else gt)
            for i, (pred, gt) in enumerate(pairs)
        ]
        after = cross_fit(counted(changed, classes), names)
        assert after.halves[half].matched == before.halves[half].matched
        assert after.matches[1 - half] == before.matches[1 - half]


def test_a_label_in_one_half_reaches_the_score_of_the_other_by_the_match_alone() -> None:
    """A change that moves no match of the first half leaves the scores of the second."""
    names = [f"n1/i{i}" for i in range(6)]
    pairs = drawn(0, 6, 3)
    second = in_second_half(names)
    before = cross_fit(counted(pairs, 3), names)
    first = int(np.flatnonzero(~second)[0])
    gt = np.array(pairs[first][1])
    gt[0, 0] = (gt[0, 0] + 1) % 4
    pairs[first] = (pairs[first][0], gt.tolist())
    after = cross_fit(counted(pairs, 3), names)
    assert after.matches == before.matches
    assert after.halves[1].metrics == before.halves[1].metrics
    assert after.halves[0].metrics != before.halves[0].metrics


def test_the_whole_is_both_halves_and_a_match_is_undone() -> None:
    names = [f"n1/i{i}" for i in range(7)]
    counts = counted(drawn(3, 7, 4), 4)
    found = cross_fit(counts, names)
    correct = (found.scores.counts.pred == found.scores.counts.gt) * found.scores.counts.pixels
    halves = [(half.counts.pred == half.counts.gt) @ half.counts.pixels for half in found.halves]
    assert correct.sum() == sum(halves)
    assert sum(half.counts.images for half in found.halves) == 7
    matched = find_match(counts)
    table = np.array([matched[i] for i in range(5)])
    scores = Scores(counts.relabelled(table), names, [], matched)
    undone = before_matching(scores)
    assert np.array_equal(undone.pred, counts.pred)
    assert cross_fit(undone, names).matches == found.matches


def test_a_result_says_what_it_is_and_how_sure() -> None:
    names = [f"n1/i{i}" for i in range(8)]
    counts = counted(drawn(5, 8, 3), 3)
    cross = cross_fit(counts, names)
    row = Result(
        "labels", "cross-fit", OTHER_HALF, OTHER_HALF, cross.scores, (0.3, 0.31), cross, True
    ).document()
    assert set(SCALARS) <= set(row)
    assert row["images"] == 8
    assert [half["images"] for half in row["halves"]] == [4, 4]
    low, high = row["interval"]["mIoU"]
    assert low < row["mIoU"] < high
    assert row["interval"]["over"] == "images"
    plain = Result("final", "optimistic", SAME, SAME, cross.scores).document()
    assert "interval" not in plain
    text = results_text([row, plain])
    assert f"{row['mIoU']:.2f}" in text
    assert f"{low:.2f} to {high:.2f}" in text
    assert "0.3, 0.31" in text
    assert "labels, cross-fit: threshold from the other half of the images" in text


def test_a_match_that_cannot_be_undone_is_refused() -> None:
    ids = np.array([[1, 2], [2, 1]])
    counts = count(ids, ids, 2)
    many = Scores(counts, ["one"], [], matched={0: 0, 1: 2, 2: 2})
    with pytest.raises(UsageError, match="not one to one"):
        before_matching(many)
