"""Voting over segments, and settings of prediction that change after training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imagenets import ImageNetS, masks
from imagenets.core import lock
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.methods.pass_.presets import LATER, PRESETS
from imagenets.methods.pass_.regions import Regions, vote
from imagenets.methods.pass_.score import used_by
from imagenets.methods.pass_.settings import Changes, make_config
from imagenets.methods.semi.presets import PRESETS as SEMI_PRESETS
from imagenets.protocols import judge

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def regions(tiny_root: Path, tmp_path: Path) -> Path:
    """Four columns an image; the first one is no segment. Every other file has 16 bits."""
    data = ImageNetS(tiny_root, "validation", 3)
    for number, (name, (width, height)) in enumerate(
        zip(data.names, data.sizes.tolist(), strict=True)
    ):
        columns = np.arange(width) * 4 // width * (300 if number % 2 else 60)
        kind = np.uint16 if number % 2 else np.uint8
        save(tmp_path / "regions" / f"{name}.png", np.tile(columns, (height, 1)).astype(kind))
    return tmp_path / "regions"


def save(path: Path, segments: npt.NDArray[np.integer]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(segments).save(path)


def predicted(run: Path) -> dict[str, npt.NDArray[np.uint16]]:
    folder = run / "predict" / "validation"
    return {
        str(path.relative_to(folder).with_suffix("")): masks.load(path)
        for path in sorted(folder.rglob("*.png"))
    }


def test_a_segment_takes_the_id_of_most_of_its_pixels() -> None:
    rng = np.random.default_rng(0)
    ids = rng.choice(np.array([0, 3, 919], np.uint16), (40, 50))
    segments = rng.choice(np.array([0, 1, 2, 255, 65535], np.uint16), (40, 50))
    expected = ids.copy()
    for segment in (1, 2, 255, 65535):
        inside = segments == segment
        expected[inside] = np.bincount(ids[inside]).argmax()
    assert np.array_equal(vote(ids, segments), expected)
    assert vote(ids, segments).dtype == np.uint16
    tie = vote(np.array([[5, 2, 2, 5]], np.uint16), np.ones((1, 4), np.uint16))
    assert tie.tolist() == [[2] * 4]
    nothing = np.zeros_like(ids)
    assert np.array_equal(vote(ids, nothing), ids)


def test_segments_of_both_depths_are_read(tmp_path: Path) -> None:
    wide = np.array([[0, 300, 65535]], np.uint16)
    save(tmp_path / "n1" / "wide.png", wide)
    save(tmp_path / "n1" / "narrow.png", wide.astype(np.uint8))
    palette = Image.fromarray(np.array([[2, 0, 1]], np.uint8))
    palette.putpalette([9, 9, 9, 9, 9, 9, 0, 0, 0])  # colours mean nothing
    palette.save(tmp_path / "n1" / "palette.png")
    found = Regions(tmp_path)
    assert found.read("n1/wide", (3, 1)).tolist() == [[0, 300, 65535]]
    assert found.read("n1/narrow", (3, 1)).tolist() == [[0, 44, 255]]
    assert found.read("n1/palette", (3, 1)).tolist() == [[2, 0, 1]]


def test_segments_that_do_not_fit_are_named(tmp_path: Path) -> None:
    found = Regions(tmp_path)
    save(tmp_path / "a.png", np.zeros((4, 5), np.uint8))
    save(tmp_path / "colour.png", np.zeros((4, 5, 3), np.uint8))
    Image.new("L", (5, 4)).save(tmp_path / "photo.png", "JPEG")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:45])
    for name, said in (
        ("a", r"a\.png: 5 x 4 pixels, but its image has 4 x 5"),
        ("colour", r"colour\.png: segments are a grey PNG .* PNG of mode RGB"),
        ("photo", r"photo\.png: .* JPEG of mode L"),
        ("cut", r"cut\.png: does not decode"),
    ):
        with pytest.raises(CorruptError, match=said):
            found.read(name, (4, 5) if name == "a" else (5, 4))
    with pytest.raises(MissingError, match=r"none\.png: not there"):
        found.read("none", (5, 4))
    with pytest.raises(MissingError, match=r"2 of 3 images have no segments there, such as x\.png"):
        found.check(["a", "x", "y"])
    with pytest.raises(MissingError, match="no such folder"):
        Regions(tmp_path / "no").check(["a"])


def test_a_trained_run_votes_over_regions(
    run: Path, regions: Path, tiny_root: Path, call: Call
) -> None:
    before = predicted(run)
    place = ("--root", tiny_root, "--run", run)
    words = ("predict", *place, "--subset", "validation", "--device", "cpu")
    given = ("--regions", regions, "--regions-from", "sam")
    code, _, err = call(*words, *given)
    assert code == 0, err
    assert "predict: made anew, since other than before: files, settings.regions" in err
    data = ImageNetS(tiny_root, "validation", 3)
    sizes = dict(zip(data.names, map(tuple, data.sizes.tolist()), strict=True))
    after = predicted(run)
    assert after.keys() == before.keys()
    for name, ids in after.items():
        assert np.array_equal(ids, vote(before[name], Regions(regions).read(name, sizes[name])))
    assert any(not np.array_equal(after[name], before[name]) for name in after)
    assert "predict: done" in call(*words)[2]  # the run keeps it
    changed = Regions(regions).path(data.names[0])
    old = changed.read_bytes()
    Image.fromarray(np.full(sizes[data.names[0]][::-1], 7, np.uint8)).save(changed)
    assert "predict: made anew, since other than before: files.regions" in call(*words)[2]
    elected = next(ids for name, ids in predicted(run).items() if name == data.names[0])
    assert len(np.unique(elected)) == 1
    changed.write_bytes(old)
    assert "made anew, since other than before: files.regions" in call(*words)[2]
    assert call("score", *place)[0] == 0
    scores = json.loads((run / "scores.json").read_text())
    assert scores["used"]["regions"] == "sam"
    assert scores["provenance"]["settings"]["regions"] == str(regions)
    assert scores["valid_for"]["free"]["valid"] is True
    assert scores["valid_for"]["unsupervised"]["valid"] is False
    assert "regions of sam" in scores["valid_for"]["unsupervised"]["why"]
    code, _, err = call("submit", *place, "--out", run.parent / "s.zip")
    assert code == 2
    assert "not valid for the protocol fully unsupervised: regions of sam" in err
    assert call(*words, "--set", "regions=", "--set", "regions_from=")[0] == 0
    for name, ids in predicted(run).items():
        assert np.array_equal(ids, before[name])


def test_missing_regions_are_told_before_work_begins(
    run: Path, regions: Path, tiny_root: Path, call: Call
) -> None:
    next(regions.rglob("*.png")).unlink()
    words = ("predict", "--root", tiny_root, "--run", run, "--subset", "validation")
    code, _, err = call(*words, "--regions", regions, "--regions-from", "superpixels")
    assert code == 1
    assert "1 of " in err
    assert "images have no segments there" in err
    assert (run / "predict" / "validation").is_dir(), "the masks that were there stay"
    assert "regions" not in json.loads((run / "config.json").read_bytes())


def test_masks_of_other_settings_are_not_scored(run: Path, tiny_root: Path, call: Call) -> None:
    place = ("--root", tiny_root, "--run", run)
    assert call("predict", *place, "--subset", "test", "--set", "flip=true")[0] == 0
    code, _, err = call("score", *place)
    assert code == 1
    assert "made with another flip" in err
    assert "predict --subset validation" in err
    assert call("predict", *place, "--subset", "validation")[0] == 0
    assert call("score", *place)[0] == 0


def test_photographs_are_predicted_with_other_settings(
    run: Path, regions: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    """The run itself stays as it is."""
    data = ImageNetS(tiny_root, "validation", 3)
    Image.fromarray(data[0]["image"].permute(1, 2, 0).numpy()).save(tmp_path / "one.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "one.png").rename(tmp_path / "photos" / "one.png")
    kept = (run / "config.json").read_bytes()
    words = ("predict", "--run", run, "--images", tmp_path / "photos", "--out", tmp_path / "out")
    given = ("--regions", tmp_path / "segments", "--regions-from", "superpixels")
    code, _, err = call(*words, *given)
    assert code == 1
    assert "no such folder" in err
    height, width = data[0]["image"].shape[1:]
    save(tmp_path / "segments" / "one.png", np.ones((height, width), np.uint8))
    code, _, err = call(*words, *given, "--set", "refine=2", "--set", "scales=[1,2]")
    assert code == 0, err
    assert len(np.unique(masks.load(tmp_path / "out" / "masks" / "one.png"))) == 1
    assert (run / "config.json").read_bytes() == kept


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "side=64"), "the run was trained with its side"),
        (("--set", "flipp=true"), "Did you mean flip"),
        (("--set", "scales=[0]"), "scales are above 0"),
        (("--regions", "x"), "give --regions and --regions-from together"),
        (("--regions-from", "sam"), "give --regions and --regions-from together"),
        (("--set", "regions=x", "--set", "regions_from=magic"), "superpixels, sam, other"),
    ],
)
def test_bad_settings_of_prediction_get_one_line(
    words: tuple[str, ...], said: str, finished: Path, tiny_root: Path, call: Call
) -> None:
    kept = (finished / "config.json").read_bytes()
    code, _, err = call("predict", "--root", tiny_root, "--run", finished, *words)
    assert code == 2
    assert said in err
    assert (finished / "config.json").read_bytes() == kept


def test_a_run_of_semi_is_told_that_it_has_no_such_settings(
    tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    config = {"tier": "3", **SEMI_PRESETS["few"].to_json()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    code, _, err = call("predict", "--root", tiny_root, "--run", tmp_path, "--set", "flip=true")
    assert code == 2
    assert "for runs of `imagenets train`" in err


def test_training_takes_regions(tiny_root: Path, tmp_path: Path, call: Call) -> None:
    words = ("train", "--root", tiny_root, "--split", "3", "--out", tmp_path / "run")
    code, _, err = call(*words, "--regions", "segments")
    assert code == 2
    assert "give --regions and --regions-from together" in err
    more = ("--stages", "pretrain", "--epochs", "0", "--batch-size", "4", "--device", "cpu")
    given = ("--regions", tmp_path / "x" / ".." / "segments", "--regions-from", "other")
    assert call(*words, *more, *given)[0] == 0
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (kept["regions"], kept["regions_from"]) == (str(tmp_path / "segments"), "other")


def test_regions_decide_the_protocol(tmp_path: Path) -> None:
    settings = {"tier": "50", "pretrain_split": "train"}
    for made_by, valid in (("", True), ("superpixels", True), ("sam", False), ("other", False)):
        found = judge(used_by(tmp_path, settings | {"regions_from": made_by}))
        assert found["unsupervised"].valid is valid
        assert found["free"].valid is True
    with pytest.raises(UsageError, match="--regions and --regions-from together"):
        make_config("sample", Changes(regions="x"))
    config = make_config("sample", Changes(regions="x", regions_from="sam"))
    assert config.to_json()["regions"] == "x"


def test_the_published_presets_have_all_of_it_off() -> None:
    for name, config in PRESETS.items():
        if not name.startswith("pass") and name != "sample":
            continue
        assert {key: getattr(config, key) for key in LATER} == dict(LATER)


def test_a_run_at_work_keeps_its_settings(run: Path, tiny_root: Path, call: Call) -> None:
    kept = (run / "config.json").read_bytes()
    words = ("predict", "--root", tiny_root, "--run", run, "--subset", "validation")
    with lock.hold(run / ".lock", run):
        code, _, err = call(*words, "--set", "flip=true")
    assert code == 1
    assert "at work" in err
    assert (run / "config.json").read_bytes() == kept
