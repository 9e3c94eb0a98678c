"""Matching against brute force, ties, files."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from beside import GOLDEN, needs_shared
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog

from imagenets import masks
from imagenets.errors import CorruptError, UsageError
from imagenets.evaluation import matching
from imagenets.evaluation.matching import CoOccurrence, match, match_majority, pixel_matrix
from imagenets.evaluation.metrics import Evaluator


def square(size):
    return hnp.arrays(np.int64, (size, size), elements=st.integers(0, 5))


@given(st.integers(1, 5).flatmap(square))
@settings(deadline=None)
def test_the_total_is_the_largest_and_ties_stay_put(matrix):
    size = len(matrix)
    found = match(matrix)
    assert sorted(found) == sorted(found.values()) == list(range(size + 1))

    def value(order):
        stays = sum(i == j for i, j in enumerate(order))
        return sum(matrix[i, j] for i, j in enumerate(order)), stays

    best = max(value(order) for order in permutations(range(size)))
    assert value([found[i + 1] - 1 for i in range(size)]) == best
    assert matching.total(matrix, found) == best[0]


def test_a_large_total_equals_that_of_linear_programming():
    rng = np.random.default_rng(0)
    matrix = rng.poisson(0.3, (25, 25)) + np.eye(25, dtype=int)[rng.permutation(25)] * 3
    sums = np.concatenate([np.kron(np.eye(25), np.ones(25)), np.tile(np.eye(25), 25)])
    solved = linprog(-matrix.reshape(-1), A_eq=sums, b_eq=np.ones(50), method="highs")
    assert matching.total(matrix, match(matrix)) == round(-solved.fun)
    assert match(matrix) == match(matrix.astype(np.int32))


def test_co_occurrence_counts_images_not_pixels():
    gt = np.array([[1, 1, 1], [2, 0, masks.IGNORED]])
    pred = np.array([[3, 3, 0], [1, 2, 4]])  # 4 only where the ground truth is ignored
    seen = CoOccurrence(4)
    seen.update(np.stack([pred, pred]), np.stack([gt, gt]))
    seen.update(np.full_like(pred, 3), gt)
    expected = np.zeros((4, 4), int)
    expected[:3, :2] = 2
    expected[2, :2] += 1
    assert seen.matrix.tolist() == expected.tolist()
    other = CoOccurrence(4)
    other.merge(seen)
    assert np.array_equal(other.matrix, expected)


def test_majority_lets_categories_share_a_class():
    matrix = np.array([[3, 1], [2, 0], [0, 0], [1, 1]])
    assert match_majority(matrix) == {0: 0, 1: 1, 2: 1, 3: 0, 4: 1}


def test_pixel_matching_counts_pixels():
    gt = np.array([[1, 1, 1, 2, 2, 0]])
    evaluator = Evaluator(2)
    evaluator.update(np.array([[2, 2, 1, 1, 0, 1]]), gt)
    matrix = pixel_matrix(evaluator.confusion)
    assert matrix.tolist() == [[1, 1], [2, 0]]
    assert match(matrix) == {0: 0, 1: 2, 2: 1}


def test_apply_replaces_ids_and_refuses_unknown_ones():
    pred = np.array([[0, 1], [2, 2]], np.uint16)
    replaced = matching.apply({0: 0, 1: 2, 2: 1}, pred)
    assert replaced.tolist() == [[0, 2], [1, 1]]
    assert replaced.dtype == np.uint16
    with pytest.raises(UsageError, match=r"knows ids 0\.\.1"):
        matching.apply({0: 0, 1: 1}, pred)
    with pytest.raises(UsageError, match=r"no class for the predicted ids \[1\]"):
        matching.apply({0: 0, 2: 1}, pred)


def test_a_match_survives_its_file(tmp_path):
    path = tmp_path / "match.json"
    matching.save({1: 2, 2: 1, 0: 0}, path)
    assert json.loads(path.read_text()) == {"0": 0, "1": 2, "2": 1}
    assert matching.load(path, 2) == {0: 0, 1: 2, 2: 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", "holds no object"),
        ("{", "Expecting"),
        ('{"1": 9}', "outside 0..3"),
        ('{"9": 1}', "outside 0..3"),
        ('{"1": "2"}', "not an id and its class"),
        ('{"1": true}', "not an id and its class"),
        ('{"x": 1}', "not an id and its class"),
        ('{"0": 1}', "moves id 0"),
    ],
)
def test_a_bad_match_file_is_refused(tmp_path, text, words):
    path = tmp_path / "match.json"
    path.write_text(text)
    with pytest.raises(CorruptError, match=words) as caught:
        matching.load(path, 3)
    assert str(path) in str(caught.value)


def test_bad_calls_are_refused():
    with pytest.raises(UsageError, match="square"):
        match(np.zeros((2, 3), int))
    with pytest.raises(UsageError, match="cannot merge"):
        CoOccurrence(2).merge(CoOccurrence(3))
    with pytest.raises(UsageError, match="2 predictions for 1"):
        CoOccurrence(2).update(np.zeros((2, 1, 1), int), np.zeros((1, 1), int))


@needs_shared
@pytest.mark.parametrize("case", ["eval50", "eval50p"])
def test_golden_totals(case):
    folder = GOLDEN / case
    seen = CoOccurrence(50)
    for path in (folder / "gt").rglob("*.png"):
        pred = masks.decode(folder / "pred" / path.relative_to(folder / "gt"))
        seen.update(pred, masks.decode(path))
    published = matching.load(folder / "match.json", 50)
    total = matching.total(seen.matrix, match(seen.matrix))
    assert total == matching.total(seen.matrix, published) > 50
