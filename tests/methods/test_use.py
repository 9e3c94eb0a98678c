"""What a trained run is used for: masks of the test images and of any photographs, submissions."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_run import SMALL, job, run_stages

import imagenets
from imagenets import ImageNetS, masks
from imagenets.cli import baseline
from imagenets.cli.run_submission import _method
from imagenets.data.dataset.pictures import Pictures
from imagenets.errors import FaultsError, MissingError, UsageError
from imagenets.evaluation import matching
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.pictures import predict_pictures
from imagenets.methods.pass_.presets import PRESETS, Config
from imagenets.palette import overlay

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def scored(run: Path, tiny_root: Path, call: Call) -> Path:
    assert call("score", "--root", tiny_root, "--split", "3", "--run", run)[0] == 0
    return run


@pytest.fixture
def truth(tiny_root: Path, tmp_path: Path) -> Path:
    """Masks of the test images, which no one else has."""
    rng = np.random.default_rng(0)
    for name, (width, height) in sizes(tiny_root).items():
        path = tmp_path / "truth" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        masks.save(path, rng.integers(0, 4, (height, width)))
    return tmp_path / "truth"


def sizes(root: Path, split: str = "test") -> dict[str, tuple[int, int]]:
    data = ImageNetS(root, split, 3)
    return dict(zip(data.names, map(tuple, data.sizes.tolist()), strict=True))


@pytest.mark.parametrize("config", [*PRESETS.values(), SMALL])
def test_settings_come_back_from_their_file(config: Config) -> None:
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_the_test_images_get_masks_of_their_sizes(run: Path, tiny_root: Path, call: Call) -> None:
    words = ("predict", "--root", tiny_root, "--run", run, "--device", "cpu")
    code, out, err = call(*words, "--subset", "test")
    assert code == 0, err
    folder = run / "predict-test" / "test"
    assert out == f"{folder}\n"
    found = {path: masks.load(path) for path in sorted(folder.rglob("*.png"))}
    assert {
        str(path.relative_to(folder).with_suffix("")): ids.shape[::-1]
        for path, ids in found.items()
    } == sizes(tiny_root)
    assert max(int(ids.max()) for ids in found.values()) <= 3
    assert "predict-test: done" in call(*words)[2]  # test is the default
    assert "predict: done" in call(*words, "--subset", "validation")[2]
    lost = next(iter(found))
    lost.unlink()
    assert call(*words)[0] == 0
    assert np.array_equal(masks.load(lost), found[lost])
    assert imagenets.predict(tiny_root, run=run, device="cpu", workers=0) == folder
    with pytest.raises(UsageError, match="'train': choose one of validation, test"):
        imagenets.predict(tiny_root, run=run, subset="train")  # type: ignore[arg-type]  # a wrong one


def test_a_submission_of_a_run_is_made_and_valid(
    run: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "submission.zip"
    place = ("--root", tiny_root)
    code, text, err = call("submit", *place, "--run", run, "--out", out, "--device", "cpu")
    assert code == 0, err
    assert f"valid submission of {len(sizes(tiny_root))} masks" in text
    with zipfile.ZipFile(out) as archive:
        assert json.loads(archive.read("match.json")) == json.loads(
            (run / "match.json").read_text()
        )
        lines = archive.read("method.txt").decode().splitlines()
        for name in sizes(tiny_root):
            stored = (run / "predict-test" / "test" / f"{name}.png").read_bytes()
            assert archive.read(f"{name}.png") == stored
    assert lines[0] == "Method name: PASS"
    assert lines[1] == "Training data: ImageNet-S3 train, no labels"
    assert lines[3] == "Networks: resnet18w05"
    checked = ("--check", out, *place, "--split", "3", "--protocol", "unsupervised")
    assert call("submit", *checked)[0] == 0


def test_the_method_of_a_submission_names_what_the_published_baseline_lacks() -> None:
    usual = _method("50", PRESETS["pass50"])["description"]
    assert usual == "pixel attention, clustering, fine-tuning on generated labels"
    options = {"flip": True, "scales": (1.0, 2.0), "regions": "/home/me", "regions_from": "sam"}
    changed: Config = replace(PRESETS["pass50"], **options)  # type: ignore[arg-type]  # all kinds
    told = _method("50", changed)["description"]
    assert told == f"{usual}; scales (1.0, 2.0); flip True; regions_from sam"


def test_the_match_of_an_earlier_network_is_not_submitted(
    scored: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    """Fine-tuned once more, the categories mean something else."""
    right = matching.load(scored / "match.json", 3)
    others = ({0: 0, 1: 2, 2: 3, 3: 1}, {0: 0, 1: 1, 2: 2, 3: 3})
    matching.save(next(one for one in others if one != right), scored / "match.json")
    facts = json.loads((scored / "scores.json").read_text())
    (scored / "scores.json").write_text(json.dumps(facts | {"network": "another"}))
    place = ("--root", tiny_root, "--run", scored)
    code, _, err = call("score", *place, "--subset", "test", "--gt", ".")
    assert code == 1
    assert "imagenets predict --subset test" in err
    call("predict", *place, "--device", "cpu")
    code, _, err = call("score", *place, "--subset", "test", "--gt", ".")
    assert code == 1
    assert "match.json: was found with another network" in err
    out = tmp_path / "s.zip"
    assert call("submit", *place, "--out", out)[0] == 0
    assert json.loads((scored / "scores.json").read_text()) == facts
    with zipfile.ZipFile(out) as archive:
        assert matching.parse(archive.read("match.json"), 3) == right


def test_masks_of_an_earlier_network_are_not_scored(
    finished: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    again = replace(SMALL, finetune=replace(SMALL.finetune, epochs=2))
    (out / "config.json").write_text(json.dumps({"tier": "3", **again.to_json()}))
    run_stages(job(tiny_root, out, again), "finetune")
    code, _, err = call("score", "--root", tiny_root, "--run", out)
    assert code == 1
    assert "are of an earlier network" in err
    assert "predict --subset validation" in err


@pytest.mark.parametrize(
    ("more", "code", "said"),
    [
        (("--protocol", "free"), 2, "is entered for unsupervised"),
        (("--match", "m.json"), 2, "a run has its own match"),
        (("--split", "50"), 2, "this run is of tier 3, not 50"),
        (("--out", "no/s.zip"), 1, "no/s.zip: there is no folder no"),
        (("--device", "warp"), 2, "--device warp"),
    ],
)
def test_what_a_run_decides_itself_is_not_asked(
    more: tuple[str, ...], code: int, said: str, finished: Path, tiny_root: Path, call: Call
) -> None:
    found, _, err = call("submit", "--root", tiny_root, "--run", finished, *more)
    assert found == code
    assert said in err


def test_test_masks_are_scored_with_the_match_of_validation(
    scored: Path, truth: Path, tiny_root: Path, call: Call
) -> None:
    place = ("--root", tiny_root, "--run", scored)
    code, _, err = call("score", *place, "--subset", "test")
    assert code == 2
    assert "--gt" in err
    code, _, err = call("score", *place, "--subset", "test", "--gt", truth)
    assert code == 1
    assert "Run `imagenets predict --subset test`" in err
    assert call("predict", *place, "--device", "cpu")[0] == 0
    before = (scored / "scores.json").read_bytes(), (scored / "match.json").read_bytes()
    code, out, _ = call("score", *place, "--subset", "test", "--gt", truth, "--json")
    assert code == 0
    assert ((scored / "scores.json").read_bytes(), (scored / "match.json").read_bytes()) == before
    found = json.loads(out)
    assert found == json.loads((scored / "scores-test.json").read_text())
    assert found["match_from"] == "all validation images"
    assert "predict-test" in found["provenance"]["results"]
    folder = scored / "predict-test" / "test"
    words = ("--pred", folder, "--gt", truth, "--split", "3", "--root", tiny_root, "--json")
    _, out, _ = call("evaluate", *words, "--match", scored / "match.json")
    expected = json.loads(out)
    assert found["mIoU"] == expected["mIoU"]
    assert found["IoUs"] == expected["IoUs"]


def test_validation_can_be_scored_against_a_folder(
    run: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    place = ("score", "--root", tiny_root, "--run", run, "--json")
    prepared = json.loads(call(*place)[1])
    data = ImageNetS(tiny_root, "validation", 3)
    for index, name in enumerate(data.names):
        path = tmp_path / "gt" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        masks.save(path, data.mask(index))
    found = json.loads(call(*place, "--gt", tmp_path / "gt")[1])
    assert found.pop("ground_truth") == str(tmp_path / "gt")
    assert found == prepared
    zipped = ("submit", "--root", tiny_root, "--run", run, "--out", tmp_path / "s.zip")
    code, _, err = call(*zipped, "--device", "cpu")
    assert code == 0
    assert f"this match was found with the ground truth of {tmp_path / 'gt'}" in err


def test_a_match_of_other_masks_is_found_anew_or_refused(
    scored: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    place = ("--root", tiny_root, "--run", scored)
    before = json.loads((scored / "scores.json").read_bytes())
    words = ("predict", *place, "--subset", "validation", "--device", "cpu")
    assert call(*words, "--set", "scales=[0.3]")[0] == 0
    code, _, err = call("report", *place)
    assert code == 1
    assert "was found on other masks than the run has now" in err
    code, _, err = call("submit", *place, "--out", tmp_path / "s.zip", "--device", "cpu")
    assert (code, "matching the generated classes" in err) == (0, True)
    after = json.loads((scored / "scores.json").read_bytes())
    assert after["masks"] != before["masks"]
    assert call("report", *place)[0] == 0


def test_training_again_goes_back_to_its_own_settings_of_prediction(
    run: Path, tiny_root: Path, call: Call
) -> None:
    place = ("--root", tiny_root, "--run", run, "--device", "cpu")
    assert call("predict", *place, "--subset", "validation", "--set", "flip=true")[0] == 0
    run_stages(job(tiny_root, run), *STAGES)
    assert "flip" not in json.loads((run / "config.json").read_bytes())
    assert call("predict", *place, "--subset", "validation")[2].count("predict: done") == 1


def test_a_run_of_another_tier_is_not_scored(run: Path, tiny_root: Path, call: Call) -> None:
    settings = json.loads((run / "config.json").read_bytes())
    (run / "config.json").write_text(json.dumps(settings | {"tier": "7"}))
    for verb in ("score", "report", "export --stage pretrain --out x.pt"):
        code, _, err = call(*verb.split(), "--root", tiny_root, "--split", "3", "--run", run)
        assert code == 2, verb
        assert "this run is of tier 7, not 3" in err
    assert not (run / "scores.json").exists()


def test_a_damaged_run_hides_no_other(
    scored: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    root = tmp_path / "root"
    (root / "runs" / "many").mkdir(parents=True)
    shutil.copytree(scored, root / "runs" / "broken")
    shutil.copytree(scored, root / "runs" / "many" / "seed-0")
    (root / "runs" / "broken" / "scores.json").write_text("{")
    code, out, _ = call("info", "--root", root)
    assert code == 0
    assert "damaged: " in out
    assert f"{root / 'runs' / 'many' / 'seed-0'} (run): mIoU " in out
    assert out.count("done: pretrain, attention, cluster, pseudo, finetune, predict") == 2


def test_the_page_is_no_folder(scored: Path, tiny_root: Path, tmp_path: Path, call: Call) -> None:
    code, _, err = call("report", "--root", tiny_root, "--run", scored, "--page", tmp_path)
    assert code == 2
    assert f"{tmp_path}: is a folder" in err


def photographs(folder: Path, root: Path) -> None:
    """Two images of the set, one of them held sideways, and what is no photograph."""
    data = ImageNetS(root, "test", 3)
    (folder / "holiday").mkdir(parents=True)
    plain, turned = (Image.fromarray(data[i]["image"].permute(1, 2, 0).numpy()) for i in (0, 1))
    plain.save(folder / "plain.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turned to the right
    turned.rotate(90, expand=True).save(folder / "holiday" / "Turned.TIFF", exif=exif)
    (folder / "notes.txt").write_text("sunny")


def test_photographs_get_the_masks_that_the_set_gets(
    scored: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    folder = tmp_path / "photos"
    photographs(folder, tiny_root)
    out = folder / "out"  # in there, where the next call must not take it for photographs
    words = ("predict", "--run", scored, "--images", folder, "--out", out, "--device", "cpu")
    code, text, err = call(*words)
    assert code == 0, err
    assert text == f"{out}: 2 masks and overlays\n"
    assert "1 other files such as notes.txt are passed over" in err
    assert call(*words)[1] == text
    call("predict", "--root", tiny_root, "--run", scored, "--device", "cpu")
    data = ImageNetS(tiny_root, "test", 3)
    matched = matching.load(scored / "match.json", 3)
    agree = 0
    for index, name in enumerate(("plain", "holiday/Turned")):
        ids = masks.load(out / "masks" / f"{name}.png")
        test = masks.load(scored / "predict-test" / "test" / f"{data.names[index]}.png")
        assert ids.shape == test.shape
        agree += int((ids == matching.apply(matched, test)).sum())
        with Image.open(out / "overlays" / f"{name}.jpg") as shown:
            kinds = len(set(ids[ids > 0].tolist()))
            assert shown.size == (ids.shape[1], ids.shape[0] + 16 * kinds)
    assert agree > 0.99 * sum(w * h for w, h in list(sizes(tiny_root).values())[:2])
    names = json.loads((out / "ids.json").read_text())
    assert names == {"0": "other", "1": "n90000001", "2": "n90000002", "3": "n90000003"}


def test_a_run_that_is_not_scored_gives_categories(
    run: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    folder, out = tmp_path / "photos", tmp_path / "out"
    photographs(folder, tiny_root)
    words = ("predict", "--run", run, "--images", folder, "--out", out, "--overlays", "png")
    code, _, err = call(*words)
    assert code == 0
    assert "ids are generated categories" in err
    assert json.loads((out / "ids.json").read_text())["2"] == "category 2"
    ids = masks.load(out / "masks" / "plain.png")
    photo = ImageNetS(tiny_root, "test", 3)[0]["image"].permute(1, 2, 0).numpy()
    with Image.open(out / "overlays" / "plain.png") as shown:
        assert np.array_equal(np.asarray(shown)[: len(ids)], overlay(photo, ids))
    again = imagenets.predict(run=run, images=folder, out=tmp_path / "again", workers=0)
    assert again == tmp_path / "again" / "masks"
    ours, theirs = (
        {path.name: path.read_bytes() for path in place.rglob("*.png")}
        for place in (again, out / "masks")
    )
    assert ours == theirs


def test_bad_photographs_are_named(tiny_root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such folder"):
        Pictures(tmp_path / "no")
    (tmp_path / "a.heic").write_bytes(b"x")
    with pytest.raises(MissingError, match="no photograph in it"):
        Pictures(tmp_path)
    for name in ("b.jpg", "c.png"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(FaultsError, match=r"(?s)2 of 2 .*b\.jpg.*c\.png.*take them out"):
        Pictures(tmp_path)
    for name in ("b.jpg", "b.png"):
        Image.new("RGB", (9, 8)).save(tmp_path / name)
    with pytest.raises(UsageError, match=r"b\.jpg and b\.png are of one name"):
        Pictures(tmp_path)


def test_a_photograph_that_breaks_off_is_named(
    finished: Path, tiny_root: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    whole = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FaultsError, match=r"cut\.jpg"):
        predict_pictures(job(tiny_root, finished), Pictures(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--images", "photos"), 2, "with --out"),
        (("--images", "photos", "--out", "photos"), 2, "the folder of the photographs"),
        (("--images", "photos", "--out", "o", "--subset", "test"), 2, "not both"),
        (("--images", "photos", "--out", "o", "--run", "none"), 1, "--run"),
        (("--run", "none"), 1, "none/config.json: not there"),
        (("--run", "a", "--out", "b"), 2, "give one of them"),
    ],
)
def test_bad_calls_of_predict_get_one_line(
    words: tuple[str, ...], code: int, said: str, tiny_root: Path, call: Call
) -> None:
    found, _, err = call("predict", "--root", tiny_root, *words)
    assert found == code
    assert said in err


def test_unknown_settings_and_an_unfinished_run_are_told(
    finished: Path, tiny_root: Path, tmp_path: Path, call: Call
) -> None:
    content = json.loads((finished / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content))
    code, _, err = call("predict", "--root", tiny_root, "--run", tmp_path)
    assert code == 1
    assert "finetune: not finished" in err
    (tmp_path / "config.json").write_text(json.dumps(content | {"warp": 9}))
    code, _, err = call("predict", "--root", tiny_root, "--run", tmp_path)
    assert code == 1
    assert "config.json: these are no settings" in err
    assert "warp" in err


def test_the_door_of_the_baseline_leads_there(
    finished: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in baseline.VERBS:
        with pytest.raises(SystemExit):
            baseline.main([verb, "--help"])
        assert f"usage: imagenets-baseline {verb}" in capsys.readouterr().out
    assert baseline.main(["predict", "--run", str(finished / "no")]) == 1
