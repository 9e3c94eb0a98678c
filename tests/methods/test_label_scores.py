"""The labels of validation at thresholds chosen in three ways; nothing sees what it scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from imagenets import ImageNetS, masks
from imagenets.cli.main import main
from imagenets.errors import CorruptError
from imagenets.evaluation.cross_fit import in_second_half
from imagenets.evaluation.otsu import otsu
from imagenets.evaluation.results import Result
from imagenets.evaluation.sweep import ThresholdSweep
from imagenets.methods.pass_.label_files import PseudoLabels
from imagenets.methods.pass_.label_format import Label, write_labels
from imagenets.methods.pass_.label_scores import label_results
from imagenets.pixels.grids import labels_of_grid, level_of_grid, nearest_of_grid

Truth = dict[str, npt.NDArray[np.int64]]


def rows_of(results: list[Result]) -> dict[str, Result]:
    return {row.protocol: row for row in results}


def written(truth: Truth, folder: Path) -> Path:
    for name, ids in truth.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        masks.save(folder / f"{name}.png", ids)
    return folder


@pytest.fixture
def validation(tiny_root: Path) -> ImageNetS:
    return ImageNetS(tiny_root, "validation", 3)


@pytest.fixture
def blobs(validation: ImageNetS, tmp_path: Path) -> tuple[Path, Truth]:
    """A run whose labels are made up: an object a picture, of its class, a little late or early.

    The attention is 0.4 outside the object and 0.6 inside, and in some pictures lower in a part.
    """
    out, labels, truth = tmp_path / "run", [], {}
    rng = np.random.default_rng(0)
    for row, (name, size) in enumerate(
        zip(validation.names, validation.sizes.tolist(), strict=True)
    ):
        ids = np.full((4, 6), 1 + row % 3, np.uint16)
        attention = np.full((4, 6), 0.4, np.float32)
        attention[1:3, 1:4] = 0.6
        attention[1:3, 4:] = rng.uniform(0.3, 0.55, (2, 2))
        labels.append(Label(row, name, tuple(size), ids, attention))
        truth[name] = labels_of_grid(ids, attention, 0.5, tuple(size)).astype(np.int64)
    (out / "pseudo" / "validation").mkdir(parents=True)
    write_labels(out / "pseudo" / "validation" / "validation-00000.h5", labels, {})
    (out / "pseudo" / "threshold.json").write_text(json.dumps({"best": 0.5}))
    return out, truth


@pytest.fixture
def scored(
    blobs: tuple[Path, Truth], validation: ImageNetS, tmp_path: Path
) -> Callable[[Truth], dict[str, Result]]:
    calls = iter(range(100))

    def score(truth: Truth) -> dict[str, Result]:
        folder = written(truth, tmp_path / f"truth{next(calls)}")
        return rows_of(label_results(validation, blobs[0], folder, workers=1))

    return score


def test_a_level_is_resized_as_labels_are() -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, (5, 7)).astype(np.uint16)
    level = rng.random((5, 7), np.float32)
    for size in ((40, 31), (7, 5), (3, 2), (101, 64)):
        for threshold in (0.2, 0.5, 0.8):
            whole = nearest_of_grid(ids, size) * (level_of_grid(level, size) >= threshold)
            assert np.array_equal(whole, labels_of_grid(ids, level, threshold, size))


def test_labels_that_are_right_at_a_threshold_score_all_of_it(
    blobs: tuple[Path, Truth], scored: Callable[[Truth], dict[str, Result]]
) -> None:
    """By hand: every pixel is right at 0.5, by every protocol that finds a threshold there."""
    found = scored(blobs[1])
    assert found["optimistic"].scores.metrics["mIoU"] == pytest.approx(100)
    assert found["optimistic"].thresholds == (0.5,)
    for at in found["cross-fit"].thresholds:
        assert 0.4 < at <= 0.55
    assert 90 < found["cross-fit"].scores.metrics["mIoU"] <= 100


def test_each_half_is_cut_and_matched_as_the_other_asks(
    blobs: tuple[Path, Truth],
    validation: ImageNetS,
    scored: Callable[[Truth], dict[str, Result]],
) -> None:
    """Against the sweep of each half alone, and its labels counted at the other's threshold."""
    rng = np.random.default_rng(1)
    truth = {name: np.where(rng.random(ids.shape) < 0.2, 0, ids) for name, ids in blobs[1].items()}
    found = scored(truth)["cross-fit"]
    second = in_second_half(validation.names)
    paths = [blobs[0] / "pseudo" / "validation" / "validation-00000.h5"]
    labels = PseudoLabels(paths, validation.rows, 0.5)
    for half, inside in enumerate((second, ~second)):  # those that it is scored with
        sweep = ThresholdSweep(3)
        for row in np.flatnonzero(inside).tolist():
            kept = labels.grid(row, validation.names[row])
            level = level_of_grid(kept.attention, kept.size)
            sweep.update(nearest_of_grid(kept.ids, kept.size), level, truth[kept.name])
        best = sweep.compute()
        assert found.thresholds[half] == best.threshold
        assert found.cross is not None
        assert found.cross.halves[half].matched == best.match


@pytest.mark.parametrize("half", [0, 1])
def test_no_image_is_scored_with_a_threshold_or_match_that_saw_it(
    half: int,
    blobs: tuple[Path, Truth],
    validation: ImageNetS,
    scored: Callable[[Truth], dict[str, Result]],
) -> None:
    """Other ground truth in one half moves what the other is scored with, never its own."""
    second = in_second_half(validation.names)
    own = second if half else ~second
    changed = dict(blobs[1])
    for name, inside in zip(validation.names, own.tolist(), strict=True):
        if inside:  # another class, and all of the picture
            changed[name] = np.full_like(changed[name], 1 + changed[name].max() % 3)
    before, after = (scored(truth)["cross-fit"] for truth in (blobs[1], changed))
    assert before.cross is not None
    assert after.cross is not None
    assert after.thresholds[half] == before.thresholds[half]
    assert after.cross.halves[half].matched == before.cross.halves[half].matched
    masks_of = [
        np.bincount(one.cross.halves[half].counts.pred, one.cross.halves[half].counts.pixels)
        for one in (before, after)
        if one.cross
    ]
    assert np.array_equal(*masks_of)  # the very masks, after matching
    assert after.thresholds[1 - half] != before.thresholds[1 - half]
    assert after.cross.halves[1 - half].matched != before.cross.halves[1 - half].matched


def test_otsu_has_seen_no_ground_truth(
    blobs: tuple[Path, Truth], validation: ImageNetS, scored: Callable[[Truth], dict[str, Result]]
) -> None:
    other = {name: (ids + 1) % 4 for name, ids in blobs[1].items()}
    found = [scored(truth)["otsu"].thresholds for truth in (blobs[1], other)]
    paths = [blobs[0] / "pseudo" / "validation" / "validation-00000.h5"]
    labels = PseudoLabels(paths, validation.rows, 0.5)
    grids = [labels.grid(row, name).attention for row, name in enumerate(validation.names)]
    assert found[0] == found[1] == (otsu(np.stack(grids)),)


def test_a_run_says_what_its_labels_score(
    finished: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    place = ["--root", str(tiny_root), "--run", str(run)]
    assert main(["score", *place, "--workers", "1"]) == 0
    said = capsys.readouterr().out
    rows = json.loads((run / "scores.json").read_text())["results"]
    assert [(row["masks"], row["protocol"]) for row in rows] == [
        ("final", "optimistic"),
        ("final", "cross-fit match"),
        ("labels", "optimistic"),
        ("labels", "cross-fit"),
        ("labels", "otsu"),
    ]
    published = json.loads((run / "pseudo" / "threshold.json").read_text())
    assert rows[2]["thresholds"] == [published["best"]]
    assert rows[2]["mIoU"] == pytest.approx(max(published["mIoU"]), abs=1e-3)
    assert len(rows[3]["thresholds"]) == 2
    assert rows[4]["match_from"] == "the other half of the images"
    assert "without ground truth" in rows[4]["threshold_from"]
    for row in rows:
        assert f"{row['masks']}, {row['protocol']}: threshold from" in said
    assert main(["report", *place]) == 0
    page = (run / "report.html").read_text()
    for row in rows:
        name = f'<td>{row["masks"]}</td><th scope="row">{row["protocol"]}</th>'
        assert f'{name}<td class="number">{row["mIoU"]:.2f}</td>' in page


def test_labels_of_another_making_are_refused_and_missing_ones_are_told(
    finished: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(finished, tmp_path / "run")
    place = ["--root", str(tiny_root), "--run", str(run), "--workers", "1"]
    data = ImageNetS(tiny_root, "validation", 3)
    path = run / "pseudo" / "validation" / "validation-00000.h5"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CorruptError, match="validation-00000"):
        label_results(data, run, data.mask_files(), workers=1)
    shutil.rmtree(path.parent)
    assert main(["score", *place]) == 0
    said = capsys.readouterr()
    assert "labels, cross-fit" not in said.out
    assert "step 'pseudo' again" in said.err


def test_attention_that_is_the_same_everywhere_has_no_third_row(
    blobs: tuple[Path, Truth],
    validation: ImageNetS,
    scored: Callable[[Truth], dict[str, Result]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    flat = np.full((4, 6), 0.5, np.float32)
    ids = np.ones((4, 6), np.uint16)
    sizes = validation.sizes.tolist()
    labels = [
        Label(row, name, tuple(size), ids, flat)
        for row, (name, size) in enumerate(zip(validation.names, sizes, strict=True))
    ]
    write_labels(blobs[0] / "pseudo" / "validation" / "validation-00000.h5", labels, {})
    assert set(scored(blobs[1])) == {"optimistic", "cross-fit"}
    assert "the same everywhere" in caplog.text
