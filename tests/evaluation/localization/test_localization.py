"""Measures of heat maps against plainly written ones, and what a known map must score."""

from __future__ import annotations

import importlib.util
import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from imagenets.errors import UsageError
from imagenets.evaluation.localization import (
    BASELINES,
    MEASURES,
    LocalizationEvaluator,
    center_gaussian,
    constant,
    ground_truth,
    random,
)

spec = importlib.util.spec_from_file_location(
    "plain_localization", Path(__file__).with_name("plain_localization.py")
)
plain = importlib.util.module_from_spec(spec)
spec.loader.exec_module(plain)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
TARGETS = st.sampled_from([0, 0, 1, 1, 255])


def evaluated(heat, target, **options):
    evaluator = LocalizationEvaluator(**options)
    evaluator.update(heat, target)
    return evaluator.compute()


def disc(side=32, radius=9.0):
    y, x = np.mgrid[:side, :side]
    return (np.hypot(y - side / 2, x - side / 3) < radius).astype(np.uint8)


@st.composite
def pairs(draw):
    """A map and a target; maps with ties, with infinite values, of two types."""
    shape = draw(SHAPES)
    values = draw(
        st.sampled_from(
            [
                st.sampled_from([-2.0, -0.0, 0.0, 0.5, 1.0]),
                st.sampled_from([-math.inf, -1.0, 0.0, 3.0, math.inf]),
                st.floats(-1e6, 1e6, width=32),
                st.sampled_from([-1e308, 1e308, 1e300, 0.0, -5e-324, 5e-324]),
                st.integers(-50, 50).map(float),
            ]
        )
    )
    heat = draw(hnp.arrays(np.float64, shape, elements=values))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    with np.errstate(over="ignore"):
        heat = heat.astype(kind)
    return heat, draw(hnp.arrays(np.uint8, shape, elements=TARGETS))


@given(pairs(), st.sampled_from([0.01, 0.25, 0.5, 1.0]), st.sampled_from([0, 1, 1.5, 2.3, 100]))
@example((np.zeros((1, 1), np.float32), np.ones((1, 1), np.uint8)), 0.25, 15)
@example((np.zeros((3, 2), np.float32), np.full((3, 2), 255, np.uint8)), 0.25, 15)
@example((np.zeros((3, 2), np.float64), np.zeros((3, 2), np.uint8)), 0.25, 15)
@example((np.full((1, 3), -np.inf), np.array([[0, 1, 255]], np.uint8)), 0.5, 0)
@example((np.zeros((4, 4), np.float32), np.eye(4, dtype=np.uint8)), 0.25, 1)
@settings(deadline=None, max_examples=600)
def test_measures_equal_the_plain_ones(pair, share, radius):
    heat, target = pair
    found = evaluated(heat, target, share=share, radius=radius)
    expected = plain.measures(heat, target, share, radius)
    assert set(found.mean) == set(MEASURES)
    assert found.per_image.pixels[0] == (target == 1).sum()
    assert found.per_image.counted[0] == (target != 255).sum()
    if expected is None:
        assert found.without_target == 1
        assert all(map(math.isnan, found.mean.values()))
        assert not any(found.counted.values())
        return
    kept = heat[target != 255]
    for name, value in expected.items():
        assert found.mean[name] == pytest.approx(value, abs=1e-9, nan_ok=True), name
        assert found.counted[name] == (not math.isnan(value))
    assert found.constant == (kept.min() == kept.max())
    assert found.infinite == (not np.isfinite(kept).all())
    assert found.covered == (not (target == 0).any())
    assert found.without_energy == (kept.max() <= 0)


@given(pairs())
@settings(deadline=None, max_examples=200)
def test_ignored_pixels_are_in_no_measure(pair):
    heat, target = pair
    other = np.where(target == 255, heat.dtype.type(np.inf), heat)
    assert (
        evaluated(heat, target, radius=1).as_dict() == evaluated(other, target, radius=1).as_dict()
    )


def test_large_maps_equal_the_plain_ones():
    rng = np.random.default_rng(0)
    for number, kind in enumerate((np.float32, np.float64, np.float32)):
        heat = rng.standard_normal((40, 50)).astype(kind)
        target = rng.choice([0, 0, 1, 255], (40, 50)).astype(np.uint8)
        if number == 2:
            heat = np.round(heat, 1)
        expected = plain.measures(heat, target, radius=2)
        found = evaluated(heat, target, radius=2).mean
        for name, value in expected.items():
            assert found[name] == pytest.approx(value), name


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("outlier", [1e30, -1e30, 1.5])
def test_values_that_lie_close_together_are_ordered_all_the_same(kind, outlier):
    """Beside one far value, the highest digits of all others are the same."""
    rng = np.random.default_rng(1)
    heat = (1 + rng.integers(0, 8192, (40, 40)) * 2.0**-23).astype(kind)
    heat[7, 7] = outlier
    target = rng.choice([0, 0, 1, 255], heat.shape).astype(np.uint8)
    target[7, 7] = 0
    expected = plain.measures(heat, target, radius=2)
    found = evaluated(heat, target, radius=2).mean
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name


def test_the_truth_scores_100_wherever_it_can():
    target = disc()
    target[:3] = 255
    share = (target == 1).sum() / (target != 255).sum()
    found = evaluated(ground_truth(target), target, share=share)
    assert found.mean == pytest.approx(dict.fromkeys(MEASURES, 100))
    pooled = found.pooled
    assert (pooled.average_precision, pooled.roc_auc, pooled.iou) == (100, 100, 100)
    assert (pooled.average_precision_error, pooled.roc_auc_error, pooled.iou_error) == (0, 0, 0)
    assert pooled.pixels == (target != 255).sum()
    worst = evaluated(-ground_truth(target), target).mean
    for name in ("pointing_game", "energy", "rank_accuracy", "roc_auc", "iou_share"):
        assert worst[name] == 0


def test_a_constant_map_scores_the_share_of_the_object():
    target = disc()
    share = 100 * target.mean()
    for value in (0, 0.1, -3):
        found = evaluated(np.full((32, 32), value), target)
        for name in ("pointing_game", "rank_accuracy", "average_precision", "iou_upper_bound"):
            assert found.mean[name] == pytest.approx(share), name
        assert found.mean["roc_auc"] == 50
        assert found.mean["iou_mean"] == 0  # nothing is above the mean
        assert found.mean["energy"] == pytest.approx(share if value > 0 else 0)
        assert found.pooled.average_precision == pytest.approx(share)
        assert (found.constant, found.without_energy) == (1, value <= 0)


def test_a_random_map_scores_the_share_in_expectation():
    target = disc(16, 5.0)
    evaluator = LocalizationEvaluator()
    for number in range(2000):
        evaluator.update(random((16, 16), f"image {number}"), target)
    found, share = evaluator.compute().mean, 100 * target.mean()
    for name, tolerance in (("pointing_game", 4), ("rank_accuracy", 0.5), ("energy", 0.5)):
        assert found[name] == pytest.approx(share, abs=tolerance), name
    assert found["roc_auc"] == pytest.approx(50, abs=0.5)


def test_the_tolerance_is_a_disc_around_the_object():
    target = np.zeros((40, 40), np.uint8)
    target[20, 20] = 1
    for y, x, near in ((20, 35, 100), (20, 36, 0), (29, 32, 100), (30, 32, 0), (5, 20, 100)):
        heat = np.zeros((40, 40), np.float32)
        heat[y, x] = 1
        found = evaluated(heat, target).mean
        assert (found["pointing_game"], found["pointing_game_near"]) == (0, near), (y, x)


def pooled_plainly(heats, targets):
    """Average precision, AUC and best IoU of all pixels, each map brought to 0..1, no bins."""
    values, inside = [], []
    for heat, target in zip(heats, targets, strict=True):
        kept = target != 255
        if (target == 1).any():
            low, high = heat[kept].min(), heat[kept].max()
            step = high - low if high > low else 1
            values += ((heat[kept].astype(np.float64) - low) / step).tolist()
            inside += (target[kept] == 1).tolist()
    order = np.argsort(-np.array(values), kind="stable")
    values, inside = np.array(values)[order], np.array(inside)[order]
    ends = np.append(np.flatnonzero(np.diff(values)), len(values) - 1)
    hit, found = np.cumsum(inside)[ends], ends + 1
    gain = np.diff(hit, prepend=0)
    others = np.diff(found - hit, prepend=0)
    auc = (gain * (others[::-1].cumsum()[::-1] - others / 2)).sum()
    return {
        "average_precision": 100 * (gain * hit / found).sum() / hit[-1],
        "roc_auc": 100 * auc / (hit[-1] * others.sum()),
        "iou": 100 * (hit / (hit[-1] + found - hit)).max(),
    }


@pytest.mark.parametrize("power", [1, 5, 60])
def test_pooled_measures_are_as_near_as_they_say(power):
    rng = np.random.default_rng(power)
    heats = (rng.random((6, 48, 48)) ** power).astype(np.float32)
    heats[0] = 7 if power == 60 else heats[0]
    targets = (rng.random((6, 48, 48)) < 0.4 * heats + 0.1).astype(np.uint8)
    targets[rng.random(targets.shape) < 0.1] = 255
    targets[5] = 0
    found = evaluated(heats, targets).pooled
    for name, exact in pooled_plainly(heats, targets).items():
        error = getattr(found, f"{name}_error")
        assert abs(getattr(found, name) - exact) <= error + 1e-9, name
        assert error < {1: 0.5, 5: 5, 60: 60}[power], name
    assert found.iou_error >= 0
    assert 0 <= found.threshold < 1
    assert found.bins == 16384


@pytest.mark.parametrize(
    "kind",
    ["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">f4"],
)
def test_types_of_maps_give_one_answer(kind):
    rng = np.random.default_rng(3)
    heats = rng.integers(0, 2 if kind == "?" else 100, (4, 12, 13))
    targets = rng.choice([0, 1, 255], (4, 12, 13)).astype(np.uint8)
    expected = evaluated(heats.astype(np.float64), targets).as_dict()
    assert evaluated(heats.astype(kind), targets).as_dict() == expected
    if kind[0] not in "u>" or kind == "u1":
        tensor = torch.from_numpy(heats.astype(kind)).requires_grad_(kind[0] == "f")
        assert evaluated(tensor, torch.from_numpy(targets)).as_dict() == expected


def test_tensors_lists_and_batches_give_one_answer():
    rng = np.random.default_rng(4)
    heats = rng.integers(-100, 100, (5, 12, 13)).astype(np.float32)
    targets = rng.choice([0, 1, 255], (5, 12, 13)).astype(np.uint8)
    expected = evaluated(heats, targets).as_dict()
    for form in (
        (torch.from_numpy(heats).bfloat16(), torch.from_numpy(targets).long()),
        (list(heats), list(targets)),
        ([torch.from_numpy(h) for h in heats], targets),
        (heats.transpose(2, 0, 1).copy().transpose(1, 2, 0), targets.astype(np.int32)),
    ):
        assert evaluated(*form).as_dict() == expected
    for workers in (1, 3):
        assert evaluated(np.tile(heats, (20, 1, 1)), np.tile(targets, (20, 1, 1)), workers=workers)
    single = LocalizationEvaluator()
    for heat, target in zip(heats[:, ::-1], targets[:, ::-1], strict=True):
        single.update(heat, target)
    assert single.compute().mean["roc_auc"] == expected["mean"]["roc_auc"]
    one, two = (rng.random(shape) for shape in ((3, 4), (5, 2)))
    mixed = evaluated([one, two], [one > 0.5, two > 0.5])
    assert mixed.images == 2
    assert mixed.per_image.counted.tolist() in ([12, 10], [10, 12])


def scenes(count=24):
    rng = np.random.default_rng(5)
    heats = rng.random((count, 9, 8)).astype(np.float32)
    targets = rng.choice([0, 0, 1, 255], (count, 9, 8)).astype(np.uint8)
    targets[2], targets[3], heats[4] = 0, 1, -1
    heats[5, 0, 0], targets[5, 0, 0] = np.inf, 0
    ids = rng.integers(1, 4, count)
    ids[2] = 0
    return heats, targets, ids, [f"image {k:02}" for k in range(count)]


def test_any_split_of_the_work_gives_the_same_numbers():
    heats, targets, ids, names = scenes()
    for given_names in (names, None):
        whole = LocalizationEvaluator(4)
        whole.update(heats, targets, ids, given_names)
        expected = whole.compute()
        parts = [LocalizationEvaluator(4, workers=1) for _ in range(3)]
        for number in np.random.default_rng(0).permutation(len(heats)).tolist():
            name = given_names and given_names[number]
            part = parts[number % 3]
            part.update(heats[number], targets[number], int(ids[number]), name)
        parts[2].merge(parts[0])
        parts[2].merge(pickle.loads(pickle.dumps(parts[1])))
        found = parts[2].compute()
        assert found.as_dict() == expected.as_dict()
        assert found.per_image.names == expected.per_image.names
        for measure in MEASURES:
            own, other = found.per_image.values[measure], expected.per_image.values[measure]
            assert np.array_equal(own, other, equal_nan=True)
        own, other = (m.classes.values["energy"] for m in (found, expected))
        assert np.array_equal(own, other, equal_nan=True)
    assert expected.images == 24
    assert (expected.without_target, expected.covered, expected.infinite) == (1, 1, 1)
    assert (expected.constant, expected.without_energy) == (1, 1)
    assert expected.counted["energy"] == 22
    assert expected.counted["roc_auc"] == 22
    assert expected.counted["average_precision"] == 23


def test_macro_is_the_mean_over_classes():
    heats, targets, ids, names = scenes()
    evaluator = LocalizationEvaluator(4, names=["a", "b", "c", "d"])
    evaluator.update(heats, targets, ids, names)
    found = evaluator.compute()
    for name in MEASURES:
        values = {}
        for heat, target, label in zip(heats, targets, ids, strict=True):
            scores = plain.measures(heat, target)
            if scores and not math.isnan(scores[name]):
                values.setdefault(label, []).append(scores[name])
        means = {label: np.mean(column) for label, column in values.items()}
        assert found.macro[name] == pytest.approx(np.mean(list(means.values())))
        assert found.macro_classes[name] == 3
        table = found.classes.values[name]
        assert [table[k - 1] for k in (1, 2, 3)] == pytest.approx([means[k] for k in (1, 2, 3)])
        assert math.isnan(table[3])
    assert found.classes.ids.tolist() == [1, 2, 3, 4]
    assert found.classes.names == ("a", "b", "c", "d")
    assert found.classes.images.sum() == 23
    free = LocalizationEvaluator()
    free.update(heats, targets, ids * 1000, names)
    assert free.compute().classes.ids.tolist() == [1000, 2000, 3000]
    assert free.compute().macro == found.macro


def test_numbers_go_into_json():
    heats, targets, _, _ = scenes()
    found = evaluated(heats, targets).as_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["macro"] == {}
    empty = evaluated(heats[2], targets[2]).as_dict()
    assert set(empty["mean"].values()) == {None}
    assert empty["pooled"]["roc_auc"] is None


def test_baselines_repeat_and_lie_where_they_should():
    assert set(BASELINES) == {"constant", "random", "center_gaussian", "ground_truth"}
    assert np.array_equal(random((4, 5), "a"), random((4, 5), "a"))
    assert not np.array_equal(random((4, 5), "a"), random((4, 5), "b"))
    assert not np.array_equal(random((4, 5), "a"), random((4, 5), "a", seed=1))
    assert random((2, 2), "ILSVRC2012_val_00000001").ravel().tolist() == pytest.approx(
        [0.23120248, 0.68044776, 0.87686932, 0.78916156], abs=1e-7
    )
    bell = center_gaussian((41, 21))
    assert np.unravel_index(bell.argmax(), bell.shape) == (20, 10)
    assert np.array_equal(bell, bell[::-1, ::-1])
    assert bell[20, 10] == 1
    assert (constant((3, 4)) == 1).all()
    assert ground_truth(np.array([[0, 1, 255]])).tolist() == [[0, 1, 0]]
    for bad in (0, -1, math.nan):
        with pytest.raises(UsageError, match="above 0"):
            center_gaussian((3, 3), bad)


ZERO = np.zeros((2, 3), np.float32)
ONE = np.ones((2, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((np.zeros((2, 3)), np.zeros((3, 2), np.uint8)), r"\(2, 3\), its target \(3, 2\)"),
        (
            (np.zeros((2, 2, 3)), np.zeros((1, 2, 3), np.uint8)),
            r"maps of shape \(2, 2, 3\), targets of shape \(1, 2, 3\)",
        ),
        ((np.full((2, 3), np.nan), ONE, None, "cat"), "cat: the map holds NaN"),
        (([ZERO, ZERO * np.nan], [ONE, ONE]), "image 1 of this call: the map holds NaN"),
        ((ZERO, ONE * 2, None, "cat"), "cat: the target holds 2"),
        ((ZERO, ONE * np.int64(256)), "the target holds 256"),
        ((ZERO, -ONE.astype(np.int8)), "the target holds -1"),
        ((ZERO, ONE / 1), "target of type float64"),
        ((ZERO.astype(complex), ONE), "map of type complex128"),
        ((ZERO.astype(np.int64) + 2**60, ONE), "beyond 2"),
        ((np.zeros(3), np.zeros(3, np.uint8)), "must be H x W"),
        (([np.zeros(3)], [np.zeros(3, np.uint8)]), "must be H x W"),
        ((ZERO, ONE, [1, 2]), "give one integer for each"),
        ((ZERO, ONE, 1.5), "give one integer for each"),
        ((ZERO, ONE, -1), "target id -1"),
        ((ZERO, ONE, None, ["a", "b"]), "2 names for 1 maps"),
    ],
)
def test_bad_input_is_refused_and_adds_nothing(arguments, words):
    evaluator = LocalizationEvaluator()
    with pytest.raises(UsageError, match=words):
        evaluator.update(*arguments)
    assert evaluator.images == 0
    evaluator.update(ZERO, ONE)
    assert evaluator.compute().pooled.pixels == 6


def test_bad_set_ups_are_refused():
    for options in ({"share": 0}, {"share": 1.1}, {"radius": -1}, {"radius": math.inf}):
        with pytest.raises(UsageError, match="share"):
            LocalizationEvaluator(**options)
    with pytest.raises(UsageError, match="at least 1"):
        LocalizationEvaluator(0)
    with pytest.raises(UsageError, match="1 names for 2 classes"):
        LocalizationEvaluator(2, ["a"])
    with pytest.raises(UsageError, match="no image"):
        LocalizationEvaluator().compute()
    with pytest.raises(UsageError, match="cannot merge"):
        LocalizationEvaluator(share=0.5).merge(LocalizationEvaluator())
    with pytest.raises(UsageError, match="needs its target id"):
        LocalizationEvaluator(2).update(ZERO, ONE)
    with pytest.raises(UsageError, match=r"target id 3: with 2 classes ids are 0\.\.2"):
        LocalizationEvaluator(2).update(ZERO, ONE, 3)
    with pytest.raises(UsageError, match="cat: the target has an object"):
        LocalizationEvaluator(2).update(ZERO, ONE, 0, "cat")


def test_an_image_that_comes_twice_is_told():
    evaluator = LocalizationEvaluator()
    evaluator.update(ZERO, ONE, 1, "cat")
    evaluator.update(ZERO, ONE, 2, "cat")  # another object of the same image
    assert evaluator.compute().images == 2
    evaluator.merge(evaluator)
    with pytest.raises(UsageError, match="2 images are there twice, such as cat"):
        evaluator.compute()
