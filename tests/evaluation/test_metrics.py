"""Metrics against a plain class-by-class evaluator written from the published definitions."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from beside import GOLDEN, needs_shared
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from imagenets import masks
from imagenets.errors import CorruptError, UsageError
from imagenets.evaluation import matching
from imagenets.evaluation.boundary import boundary, boundary_width
from imagenets.evaluation.counts import GT_EDGE, PRED_EDGE, count
from imagenets.evaluation.metrics import Evaluator
from imagenets.evaluation.published import PublishedEvaluator

SCALARS = ("Acc", "mIoU", "mBIoU", "FMeasure", "S", "MS", "ML", "L", "BS", "BMS", "BML", "BL")


def eroded_boundary(ids, distance):
    """Pixels that the erosion of their own class mask takes away, class by class."""
    result = np.zeros(ids.shape, bool)
    for value in np.unique(ids):
        mask = ids == value
        window = np.ones((3, 3), bool)
        result |= mask & ~ndimage.binary_erosion(mask, window, distance, border_value=0)
    return result


def plain_figures(images, num_classes):
    """All metrics, one class at a time."""
    ids = range(num_classes + 1)
    keys = [(bucket, kind) for bucket in ("", "S", "MS", "ML", "L") for kind in ("", "B")]
    sums = {key: np.zeros((3, num_classes + 1)) for key in keys}
    hits, f_measures = [], []
    for pred, gt in images:
        kept = gt != 1000
        distance = max(1, round(0.03 * math.sqrt(gt.shape[0] ** 2 + gt.shape[1] ** 2)))
        edges = eroded_boundary(pred, distance), eroded_boundary(gt, distance)
        sizes = {c: math.ceil(100 * (gt == c).sum() / kept.sum()) for c in ids[1:] if c in gt}
        for bucket, low, high in (
            ("", -1, 101),
            ("S", 0, 5),
            ("MS", 5, 25),
            ("ML", 25, 50),
            ("L", 50, 100),
        ):
            own = [c for c, size in sizes.items() if low < size <= high]
            if bucket and not own:
                continue
            inside = kept & np.isin(gt, [0, *own]) if bucket else kept
            for c in ids:
                p, g = inside & (pred == c), inside & (gt == c)
                sums[bucket, ""][:, c] += p.sum(), g.sum(), (p & g).sum()
                p, g = p & edges[0], g & edges[1]
                sums[bucket, "B"][:, c] += p.sum(), g.sum(), (p & g).sum()
        areas = [(kept & (pred == c)).sum() for c in ids[1:]]
        top = int(np.argmax(areas)) + 1
        hits.append(max(areas) > 0 and bool((gt == top).any()))
        p, g = kept & (pred > 0), kept & (gt > 0)
        precision = (p & g).sum() / (p.sum() + 1e-20)
        recall = (p & g).sum() / (g.sum() + 1e-20)
        f_measures.append(1.3 * precision * recall / (0.3 * precision + recall + 1e-20))

    def iou(key):
        t, p, tp = sums[key]
        return tp / (t + p - tp + 1e-10)

    metrics = {
        "Acc": np.mean(hits),
        "FMeasure": np.mean(f_measures),
        "mIoU": iou(("", "")).mean(),
        "mBIoU": iou(("", "B")).mean(),
        "IoUs": iou(("", "")),
    }
    for bucket in ("S", "MS", "ML", "L"):
        for kind in ("", "B"):
            present = sums[bucket, kind][1] > 0
            metrics[kind + bucket] = iou((bucket, kind))[present].mean() if present.any() else 0.0
    return {name: 100 * value for name, value in metrics.items()}


def scene(rng, num_classes, highest=None):
    """A blocky pair of masks, ignored pixels and ids above K in the prediction included."""
    height, width = rng.integers(1, 60, 2)
    blocks = height // 9 + 1, width // 9 + 1
    gt = rng.choice([0, 0, *range(1, num_classes + 1), masks.IGNORED], blocks)
    pred = np.where(rng.random(blocks) < 0.6, gt, rng.integers(0, num_classes + 1, blocks))
    pred[pred == masks.IGNORED] = highest or 0

    def grown(a):
        return np.kron(a, np.ones((9, 9), np.int64))[:height, :width].astype(np.uint16)

    pred = np.roll(grown(pred), rng.integers(0, 3), axis=1)
    return pred, grown(gt)


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    found = [scene(rng, 5, highest=7) for _ in range(30)]
    found.append((np.ones((1, 1), np.uint16), np.ones((1, 1), np.uint16)))
    return found


def close(metrics, expected, tolerance=1e-9):
    for name in (*SCALARS, "IoUs"):
        assert metrics[name] == pytest.approx(expected[name], abs=tolerance), name


def test_figures_equal_the_plain_evaluator(images):
    evaluator = Evaluator(5)
    for pred, gt in images:
        evaluator.update(pred, gt)
    images = [(pred, gt) for pred, gt in images if (gt != masks.IGNORED).any()]
    expected = plain_figures(images, 5)
    share = len(images) / evaluator.images  # the plain one cannot divide by nothing
    metrics = evaluator.compute()
    close(metrics, expected | {k: expected[k] * share for k in ("Acc", "FMeasure")})
    assert 0 < metrics["S"] < 100
    assert 0 < metrics["mBIoU"] < metrics["mIoU"]


def test_any_split_of_the_work_gives_the_same_figures(images):
    whole = Evaluator(5)
    for pred, gt in images:
        whole.update(pred, gt)
    parts = [Evaluator(5) for _ in range(3)]
    for i, (pred, gt) in enumerate(reversed(images)):
        parts[i % 3].update(torch.from_numpy(pred.astype(np.int64)), torch.from_numpy(gt))
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].compute() == whole.compute()
    assert np.array_equal(parts[0].confusion, whole.confusion)
    expected = np.zeros((6, 7), np.int64)
    for pred, gt in images:
        kept = gt != masks.IGNORED
        np.add.at(expected, (gt[kept], np.minimum(pred[kept], 6)), 1)
    assert np.array_equal(whole.confusion, expected)


def test_the_confusion_matrix_is_sparse_where_classes_are_many():
    evaluator = Evaluator(99_999, ignored=-1)  # dense it would have 80 GB
    gt = np.array([[0, 7, 7], [99_999, -1, 7]])
    evaluator.update(np.array([[0, 7, 5], [99_999, 3, 100_000]]), gt)
    evaluator.merge(evaluator)
    found = evaluator.sparse_confusion().tocoo()
    rows = sorted(zip(*(a.tolist() for a in (found.row, found.col, found.data)), strict=True))
    assert rows == [(0, 0, 2), (7, 5, 2), (7, 7, 2), (7, 100_000, 2), (99_999, 99_999, 2)]
    assert found.shape == (100_000, 100_001)


def test_batches_equal_single_images():
    rng = np.random.default_rng(1)
    pred, gt = rng.integers(0, 4, (2, 5, 12, 9))
    one, many = Evaluator(3), Evaluator(3)
    for p, g in zip(pred, gt, strict=True):
        one.update(p, g)
    many.update(torch.from_numpy(pred), torch.from_numpy(gt))
    assert one.compute() == many.compute()
    assert many.images == 5


def test_counts_are_exact_beyond_float32():
    evaluator = Evaluator(1)
    gt = np.ones((4096, 4096), np.uint8)
    gt[0, 0] = 0
    for _ in range(2):
        evaluator.update(gt, gt)
    assert evaluator.pixels[0, 0, 2].tolist() == [2, 2 * (4096**2 - 1)]


def test_published_mode_counts_as_float32_does(images):
    exact, published = Evaluator(5), PublishedEvaluator(5)
    other = PublishedEvaluator(5)
    for pred, gt in images:
        exact.update(pred, gt)
        published.update(pred, gt)
        other.update(pred, gt)
    close(published.compute(), exact.compute(), tolerance=1e-4)
    large = PublishedEvaluator(5)
    large.update(np.ones((4096, 4096), np.uint8), np.ones((4096, 4096), np.uint8))
    large.update(np.ones((1, 1), int), np.ones((1, 1), int))
    assert large.pixels[0, 0, 2, 1] == 2**24  # one more pixel is lost
    published.merge(other)
    assert published.images == exact.images * 2
    with pytest.raises(UsageError, match="published convention"):
        published.compute("skip")
    with pytest.raises(UsageError, match="cannot merge"):
        published.merge(exact)


def test_conventions_for_absent_ids():
    evaluator = Evaluator(3)
    gt = np.zeros((10, 10), int)
    gt[:5] = 1  # class 1 alone: a size of 50
    pred = gt.copy()
    pred[9] = 2
    evaluator.update(pred, gt)
    metrics = {absent: evaluator.compute(absent) for absent in ("published", "skip", "zero")}
    iou = 100 * 40 / 50  # of other; class 1 has 100
    assert metrics["published"]["mIoU"] == pytest.approx((iou + 100) / 4)
    assert metrics["skip"]["mIoU"] == pytest.approx((iou + 100) / 2)
    assert metrics["zero"]["mIoU"] == pytest.approx((iou + 100) / 4)
    assert metrics["published"]["ML"] == metrics["skip"]["ML"] == pytest.approx((iou + 100) / 2)
    assert metrics["zero"]["ML"] == pytest.approx((iou + 100) / 4)
    assert metrics["published"]["S"] == metrics["zero"]["S"] == 0


def test_an_ignored_image_counts_as_an_image_and_nothing_else():
    evaluator = Evaluator(2)
    evaluator.update(np.ones((4, 5), int), np.full((4, 5), masks.IGNORED))
    metrics = evaluator.compute()
    assert evaluator.images == 1
    assert not evaluator.pixels.any()
    assert all(metrics[name] == 0 for name in SCALARS)


@pytest.mark.parametrize(
    ("pred", "gt", "error", "words"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), UsageError, "3 x 2 pixels"),
        (np.zeros((2, 3)), np.zeros((2, 3), int), UsageError, "float64"),
        (np.zeros(4, int), np.zeros(4, int), UsageError, "H x W"),
        (np.zeros((2, 2, 3), int), np.zeros((1, 2, 3), int), UsageError, "2 predictions for 1"),
        (np.zeros((2, 3), int), np.full((2, 3), 4), CorruptError, "holds id 4"),
        (np.zeros((2, 3), int), np.full((2, 3), -1), CorruptError, "holds id -1"),
    ],
)
def test_bad_arrays_are_refused(pred, gt, error, words):
    with pytest.raises(error, match=words):
        Evaluator(3).update(pred, gt)


def test_bad_set_ups_are_refused():
    with pytest.raises(UsageError, match="no image"):
        Evaluator(3).compute()
    with pytest.raises(UsageError, match="at least 1"):
        Evaluator(0)
    with pytest.raises(UsageError, match="must not be one"):
        Evaluator(1200)
    with pytest.raises(UsageError, match="cannot merge"):
        Evaluator(3).merge(Evaluator(4))


ids = st.sampled_from([0, 1, 2, 919, 1000])
small_masks = hnp.arrays(
    np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=ids
)


@given(small_masks, st.integers(1, 4), st.integers(1, 9))
@example(np.zeros((1, 1), np.uint16), 1, 1)
@example(np.full((7, 3), masks.IGNORED, np.uint16), 1, 1)
@example(np.full((5, 5), masks.IGNORED, np.uint16), 2, 3)
@settings(deadline=None, max_examples=200)
def test_boundaries_equal_erosion_class_by_class(blocks, distance, scale):
    mask = np.kron(blocks, np.ones((scale, scale), np.uint16))
    expected = eroded_boundary(mask, distance)
    assert np.array_equal(boundary(mask, distance), expected)
    assert np.array_equal(boundary(mask.T, distance), expected.T)


@given(
    hnp.arrays(np.int64, st.tuples(st.just(2), st.integers(1, 12), st.integers(1, 40))),
    st.sampled_from([1, 2, 30, 919]),
    st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_counts_equal_counting_pixel_by_pixel(noise, num_classes, narrow):
    gt = noise[0] % (num_classes + 1)
    gt[noise[0] % 7 == 0] = masks.IGNORED
    pred = noise[1] % (num_classes + 9) - (0 if narrow else 3)
    if narrow:
        gt, pred = gt.astype(np.uint16), pred.astype(np.uint16)
    distance = boundary_width(*gt.shape)
    edges = eroded_boundary(gt, distance), eroded_boundary(pred, distance)
    expected = Counter()
    for place in zip(*np.nonzero(gt != masks.IGNORED), strict=True):
        guess = int(pred[place]) if 0 <= pred[place] <= num_classes else num_classes + 1
        flags = sum(
            bit for bit, edge in zip((GT_EDGE, PRED_EDGE), edges, strict=True) if edge[place]
        )
        expected[int(gt[place]), guess, flags] += 1
    found = count(pred, gt, num_classes)
    rows = list(zip(found.gt.tolist(), found.pred.tolist(), found.edge.tolist(), strict=True))
    assert rows == sorted(expected)
    assert found.pixels.tolist() == [expected[row] for row in rows]


def test_boundary_width_rounds_like_python():
    assert boundary_width(1, 1) == 1
    assert boundary_width(375, 500) == 19  # 18.75
    assert boundary_width(30, 40) == 2  # 1.5 to even


@needs_shared
@pytest.mark.parametrize("case", ["eval50", "eval50p"])
@pytest.mark.parametrize("kind", ["unmatched", "matched"])
def test_golden_figures(case, kind):
    folder = GOLDEN / case
    matched = matching.load(folder / "match.json", 50)
    exact, published = Evaluator(50), PublishedEvaluator(50)
    for line in (folder / "names.txt").read_text().splitlines():
        name = line.split()[1]
        pred, gt = masks.decode(folder / "pred" / name), masks.decode(folder / "gt" / name)
        if kind == "matched":
            pred = matching.apply(matched, pred)
        exact.update(pred, gt)
        published.update(pred, gt)
    expected = json.loads((folder / "expected.json").read_text())[kind]
    close(exact.compute(), expected, tolerance=1e-5)  # theirs are float32
    assert published.compute() == expected  # to the last bit
