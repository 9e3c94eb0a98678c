"""`imagenets-evaluate` on folders, trees and shards, good and bad."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from beside import GOLDEN, needs_shared
from PIL import Image
from tiny import tiny

from imagenets import masks
from imagenets.cli import prepare, scoring
from imagenets.cli.evaluate import SORT_KEYS, main
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.shards import Manifest, ShardInfo, ShardSample, SplitInfo, write_shard
from imagenets.evaluation import mask_formats, matching
from imagenets.evaluation.metrics import Evaluator
from imagenets.evaluation.tables import CLASS_KEYS

K = 3
NAMES = ["other", *(f"n0000000{i}" for i in range(1, K + 1))]


def write(path, ids):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(masks.encode(ids))


@pytest.fixture
def folders(tmp_path):
    """Six images in three classes, predictions half right; returns (pred, gt) folders."""
    rng = np.random.default_rng(0)
    for i in range(6):
        gt = np.zeros((20 + i, 30), np.uint16)
        gt[4:15, 5:20] = 1 + i % K
        gt[0] = masks.IGNORED
        pred = np.roll(gt, rng.integers(1, 6), axis=1)
        pred[pred == masks.IGNORED] = 0
        name = f"n0000000{1 + i % K}/ILSVRC2012_val_0000000{i}.png"
        write(tmp_path / "gt" / name, gt)
        write(tmp_path / "pred" / name, pred)
    return tmp_path / "pred", tmp_path / "gt"


def expected(pred, gt):
    evaluator = Evaluator(K)
    for path in sorted(gt.rglob("*.png")):
        evaluator.update(masks.decode(pred / path.relative_to(gt)), masks.decode(path))
    return {**evaluator.compute(), "names": NAMES, "empty": evaluator.empty}


def score(capsys, *arguments):
    code = main([*map(str, arguments), "--json"])
    out = capsys.readouterr()
    assert code == 0, out.err
    return json.loads(out.out)


def failure(capsys, *arguments):
    code = main([*map(str, arguments)])
    out = capsys.readouterr()
    assert code, out.out
    assert not out.out
    return code, out.err


@pytest.mark.slow
def test_json_holds_the_published_figures(folders, capsys):
    pred, gt = folders
    metrics = score(capsys, "--pred", pred, "--gt", gt, "--split", K)
    assert metrics == expected(pred, gt)
    assert 0 < metrics["mBIoU"] < metrics["mIoU"] < 100


def test_the_table_names_figures_and_classes(folders, capsys):
    pred, gt = folders
    assert main(["--pred", str(pred), "--gt", str(gt), "--split", str(K)]) == 0
    out = capsys.readouterr().out
    assert f"{expected(pred, gt)['mIoU']:.2f}" in out
    assert "6 images, 3 classes" in out
    assert "best   3 n00000003" in out


def test_classes_of_ilsvrc_are_shown_in_words(folders, tmp_path, capsys):
    pred, gt = folders
    wnids = ("n01440764", "n02012849", "n03126707")
    for i, wnid in enumerate(wnids, 1):
        for folder in folders:
            (folder / f"n0000000{i}").rename(folder / wnid)
    common = ["--pred", str(pred), "--gt", str(gt), "--split", str(K)]
    names = ["other", "tench", "crane (bird)", "crane (machine)"]
    assert score(capsys, *common)["names"] == names
    assert main([*common, "--per-class", "--csv", str(tmp_path / "classes.csv")]) == 0
    out = capsys.readouterr().out
    assert "best   3 crane (machine) " in out
    table = out.split("\n  id  ")[1].splitlines()
    assert table[0].split()[:3] == ["class", "name", "IoU"]
    assert table[3].startswith("   2  n02012849 crane (bird)    ")
    assert len({len(line) for line in table[1:]}) == 1  # aligned
    with (tmp_path / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == names
    assert [row["name"] for row in rows] == ["other", *wnids]
    flat = gt.with_name("flat")
    flat.mkdir()
    for path in gt.rglob("*.png"):
        shutil.copy(path, flat)
    assert "names" not in score(capsys, "--pred", pred, "--gt", flat, "--split", K)


def test_a_found_match_is_written_and_can_be_given(folders, tmp_path, capsys):
    pred, gt = folders
    before = expected(pred, gt)
    for path in pred.rglob("*.png"):
        write(path, np.array([0, 3, 1, 2])[masks.decode(path)])
    file = tmp_path / "match.json"
    found = score(capsys, "--pred", pred, "--gt", gt, "--split", K, "--find-match", file)
    assert found == before
    assert json.loads(file.read_text()) == {"0": 0, "1": 2, "2": 3, "3": 1}
    given = score(capsys, "--pred", pred, "--gt", gt, "--split", K, "--match", file)
    assert given == before


def test_workers_change_nothing(tmp_path, capsys):
    rng = np.random.default_rng(0)
    for i in range(300):
        gt, pred = rng.integers(0, K + 1, (2, 6, 7))
        write(tmp_path / "gt" / f"{i}.png", gt)
        write(tmp_path / "pred" / f"{i}.png", pred)
    common = ("--pred", tmp_path / "pred", "--gt", tmp_path / "gt", "--split", K)
    assert score(capsys, *common, "--workers", 2) == score(capsys, *common, "--workers", 1)


def test_flat_predictions_are_found_by_their_stem(folders, capsys):
    pred, gt = folders
    before = expected(pred, gt)
    flat = pred.with_name("flat")
    flat.mkdir()
    for path in pred.rglob("*.png"):
        shutil.copy(path, flat)
    assert score(capsys, "--pred", flat, "--gt", gt, "--split", K) == before
    write(gt / "n00000009/ILSVRC2012_val_00000000.png", np.zeros((2, 2), int))
    _, err = failure(capsys, "--pred", flat, "--gt", gt, "--split", K)
    assert "same name" in err.replace("\n", " ")


def test_every_fault_is_listed_and_nothing_is_scored(folders, capsys):
    pred, gt = folders
    files = sorted(pred.rglob("*.png"))
    files[0].unlink()
    write(files[1], np.zeros((3, 4), int))
    write(files[2], np.full(masks.decode(files[2]).shape, K + 1))
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(files[3])
    files[4].write_bytes(files[4].read_bytes()[:60])
    files[5].write_text("no picture")
    code, err = failure(capsys, "--pred", pred, "--gt", gt, "--split", K)
    assert code == 1
    assert "6 fault(s) in the masks of 6 image(s); nothing was scored" in err
    lines = err.splitlines()
    for file, words in zip(
        files,
        ("missing", "is 4 x 3 pixels (W x H), not 30 x", "holds 4", "mode L", "PNG", "PNG"),
        strict=True,
    ):
        stem = file.relative_to(pred).as_posix()
        assert any(stem in line and words in line for line in lines), (stem, words)


def test_faults_of_the_ground_truth_are_named(folders, capsys):
    pred, gt = folders
    code, err = failure(capsys, "--pred", pred, "--gt", gt, "--split", 2)
    assert code == 1
    assert str(gt / "n00000003") in err
    assert "ids are 0..2" in err
    assert "--split" in err


def test_extra_predictions_are_a_warning(folders, capsys):
    pred, gt = folders
    before = expected(pred, gt)
    write(pred / "n00000001/spare.png", np.zeros((2, 2), int))
    assert main(["--pred", str(pred), "--gt", str(gt), "--split", str(K), "--json"]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out) == before
    assert "1 masks have no ground truth and are left out: n00000001/spare.png" in out.err


def test_a_match_that_lacks_ids_lists_the_masks(folders, tmp_path, capsys):
    pred, gt = folders
    file = tmp_path / "match.json"
    file.write_text('{"1": 1}')
    _, err = failure(capsys, "--pred", pred, "--gt", gt, "--split", K, "--match", file)
    assert err.count("for which the match has no class") == 4


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"--pred": "nowhere"}, 1, "no such folder"),
        ({"--pred": "empty"}, 1, "no mask in it"),
        ({"--split": "x"}, 2, "number of classes"),
        ({"--split": "1000"}, 2, "1 to 999"),
        ({"--workers": "0"}, 2, "at least 1"),
        ({"--match": "nowhere.json"}, 1, "nowhere.json"),
        ({"--csv": "nowhere/out.csv"}, 1, "there is no folder nowhere"),
        ({"--bootstrap": "1"}, 2, "at least 2"),
        ({"--bootstrap": "9", "--level": "2"}, 2, "between 0 and 1"),
    ],
)
def test_bad_calls_say_what_to_do(folders, tmp_path, capsys, monkeypatch, change, code, words):
    pred, gt = folders
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    options = {"--pred": pred, "--gt": gt, "--split": K} | change
    found, err = failure(capsys, *(word for option in options.items() for word in option))
    assert found == code
    assert words in err


def test_a_prepared_tree_is_the_ground_truth(folders, tmp_path, capsys, monkeypatch):
    pred, gt = folders
    before = expected(pred, gt)
    (tmp_path / "imagenet-s" / f"ImageNetS{K}").mkdir(parents=True)
    gt.rename(tmp_path / "imagenet-s" / f"ImageNetS{K}" / "validation-segmentation")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IMAGENETS_ROOT", raising=False)
    assert score(capsys, "--pred", pred, "--split", K) == before


def shards(root, gt, masked=True):
    folder = root / f"ImageNetS{K}.shards"
    folder.mkdir(parents=True)
    files = sorted(gt.rglob("*.png"))
    infos = []
    for number, part in enumerate((files[:4], files[4:])):
        name = f"validation-{number:05}.h5"
        samples = [
            ShardSample(f.stem, f.parent.name, 1, 0, 30, 20, b"jpeg", f.read_bytes() * masked)
            for f in part
        ]
        write_shard(folder / name, samples, {"tier": str(K)})
        infos.append(ShardInfo(name, "validation", len(part), 1, "0" * 64))
    splits = {"validation": SplitInfo(["validation"], len(files), masked)}
    Manifest(str(K), [f"n0000000{i}" for i in range(1, K + 1)], [], splits, infos).save(folder)


def test_prepared_shards_are_the_ground_truth(folders, tmp_path, capsys):
    pred, gt = folders
    shards(tmp_path / "root", gt)
    metrics = score(capsys, "--pred", pred, "--split", K, "--root", tmp_path / "root")
    assert metrics == expected(pred, gt)


def test_shards_without_masks_are_named(folders, tmp_path, capsys):
    pred, gt = folders
    shards(tmp_path / "root", gt, masked=False)
    _, err = failure(capsys, "--pred", pred, "--split", K, "--root", tmp_path / "root")
    assert "validation of tier 3 has no masks" in err


def test_no_ground_truth_says_how_to_prepare(folders, tmp_path, capsys):
    _, err = failure(capsys, "--pred", folders[0], "--split", K, "--root", tmp_path / "none")
    assert "imagenets-prepare --split 3" in err


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("case", ["eval50", "eval50p"])
def test_golden_folders(case, capsys):
    folder = GOLDEN / case
    expected = json.loads((folder / "expected.json").read_text())
    common = ("--pred", folder / "pred", "--gt", folder / "gt", "--split", 50)
    plain = score(capsys, *common)
    matched = score(capsys, *common, "--match", folder / "match.json")
    for metrics, kind in ((plain, "unmatched"), (matched, "matched")):
        assert set(metrics) - {"warnings", "empty"} == set(expected[kind])
        for name, value in expected[kind].items():
            assert metrics[name] == pytest.approx(value, abs=1e-3), name


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_of_classes_and_images(folders, tmp_path, capsys):
    pred, gt = folders
    files = {"--csv": tmp_path / "classes.csv", "--per-image": tmp_path / "images.csv"}
    options = (word for option in files.items() for word in option)
    metrics = score(capsys, "--pred", pred, "--gt", gt, "--split", K, *options)
    classes = read_csv(files["--csv"])
    assert [float(row["iou"]) for row in classes] == metrics["IoUs"]
    assert [row["name"] for row in classes] == ["other", *(f"n0000000{i}" for i in (1, 2, 3))]
    assert [row["images"] for row in classes] == ["6", "2", "2", "2"]
    images = read_csv(files["--per-image"])
    values = [float(row["iou"]) for row in images]
    assert values == sorted(values)
    name = images[0]["name"]
    p, g = masks.decode(pred / f"{name}.png"), masks.decode(gt / f"{name}.png")
    kept = g != masks.IGNORED
    ids = np.unique(g[kept])
    one = [(kept & (p == i) & (g == i)).sum() / (kept & ((p == i) | (g == i))).sum() for i in ids]
    assert values[0] == pytest.approx(100 * np.mean(one))
    assert int(images[0]["pixels"]) == kept.sum()
    evaluator = Evaluator(K)
    evaluator.update(p, g)
    assert float(images[0]["biou"]) == pytest.approx(evaluator.compute("skip")["mBIoU"])
    assert float(images[0]["fmeasure"]) == pytest.approx(evaluator.compute()["FMeasure"])


def test_the_class_table_is_sorted(folders, capsys):
    assert SORT_KEYS == CLASS_KEYS
    pred, gt = folders
    common = ["--pred", str(pred), "--gt", str(gt), "--split", str(K), "--per-class"]
    for more, order in (
        ([], [0, 1, 2, 3]),
        (["--sort", "iou"], np.argsort(expected(pred, gt)["IoUs"]).tolist()),
        (["--sort", "pixels", "--descending"], [0, 3, 2, 1]),
    ):
        assert main([*common, *more]) == 0
        lines = capsys.readouterr().out.split("  id  ")[1].splitlines()[1:]
        assert [int(line.split()[0]) for line in lines] == order


def test_intervals_are_in_the_table_and_in_json(folders, capsys):
    pred, gt = folders
    common = ("--pred", pred, "--gt", gt, "--split", K, "--bootstrap", 50)
    found = score(capsys, *common)
    item = found["intervals"]["mIoU"]
    assert item["estimate"] == pytest.approx(found["mIoU"])
    assert item["low"] < item["high"]
    assert len(found["intervals"]["IoUs"]) == K + 1
    assert main([*map(str, common), "--level", "0.8"]) == 0
    assert "80 % interval" in capsys.readouterr().out


def test_published_mode_rounds_as_float32(folders, capsys):
    pred, gt = folders
    plain = score(capsys, "--pred", pred, "--gt", gt, "--split", K)
    rounded = score(capsys, "--pred", pred, "--gt", gt, "--split", K, "--published")
    assert rounded["IoUs"][0] == float(np.float32(rounded["IoUs"][0])) != plain["IoUs"][0]
    assert rounded["mIoU"] == pytest.approx(plain["mIoU"], abs=1e-4)


@pytest.mark.parametrize("kind", ["pixel", "majority"])
def test_other_matchings_are_named_as_such(folders, tmp_path, capsys, kind):
    pred, gt = folders
    for path in pred.rglob("*.png"):
        ids = masks.decode(path)
        ids[:8] = np.where(ids[:8] == 1, 2, ids[:8])  # class 1 in two categories
        write(path, ids)
    file = tmp_path / "match.json"
    command = ["--pred", pred, "--gt", gt, "--split", K, "--find-match", file, "--matching", kind]
    assert main([*map(str, command), "--json"]) == 0
    out = capsys.readouterr()
    assert f"{kind} matching is not the benchmark's" in out.err
    matched = matching.load(file, K)
    evaluator, seen = Evaluator(K), Evaluator(K)
    for path in sorted(gt.rglob("*.png")):
        mask, true = masks.decode(pred / path.relative_to(gt)), masks.decode(path)
        evaluator.update(matching.apply(matched, mask), true)
        seen.update(mask, true)
    matrix = matching.pixel_matrix(seen.confusion)
    assert matched == (matching.match if kind == "pixel" else matching.match_majority)(matrix)
    assert json.loads(out.out) == {**evaluator.compute(), "names": NAMES, "empty": evaluator.empty}


def test_two_predictions_are_compared(folders, tmp_path, capsys):
    pred, gt = folders
    better = tmp_path / "better"
    for path in pred.rglob("*.png"):
        ids = masks.decode(gt / path.relative_to(pred))
        write(better / path.relative_to(pred), np.where(ids == masks.IGNORED, 0, ids))
    command = ["compare", pred, better, "--gt", gt, "--split", K, "--bootstrap", 200]
    assert main([*map(str, command), "--json"]) == 0
    item = json.loads(capsys.readouterr().out)["mIoU"]
    assert item["a"] == pytest.approx(expected(pred, gt)["mIoU"])
    assert item["b"] == pytest.approx(100)
    assert item["p"] < 0.1  # 6 images: 2 of 64 swaps
    assert main([*map(str, command), "--find-match"]) == 0
    assert "B - A" in capsys.readouterr().out


def test_scores_that_look_misread_warn(folders, capsys):
    """Ids that start at 0, classes moved down: said on stderr and in the JSON."""
    pred, gt = folders
    for path in gt.rglob("*.png"):
        ids = masks.decode(path)
        ids[ids == masks.IGNORED] = 0
        write(pred / path.relative_to(gt), np.where(ids > 0, ids % K + 1, 0))
    command = ["--pred", str(pred), "--gt", str(gt), "--split", str(K)]
    assert main([*command, "--json"]) == 0
    out = capsys.readouterr()
    (warning,) = json.loads(out.out)["warnings"]
    assert "instead of 25.0" in warning
    assert warning in out.err
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines()[8].split() == ["IoU", "-", "25.00", "25.00", "-"]
    for path in gt.rglob("*.png"):  # a right prediction, without ignored pixels
        ids = masks.decode(path)
        write(gt.with_name("right") / path.relative_to(gt), ids % masks.IGNORED)
    both = ["compare", str(gt.with_name("right")), str(pred), *command[2:], "--bootstrap", "20"]
    assert main([*both, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == {"a": [], "b": [warning]}


@pytest.mark.parametrize("form", ["gray16", "npy"])
def test_other_forms_of_masks_score_the_same(form, folders, tmp_path, capsys):
    pred, gt = folders
    before = expected(pred, gt)
    for path in sorted(pred.rglob("*.png")):
        ids = masks.decode(path)
        to = tmp_path / form / path.relative_to(pred)
        to.parent.mkdir(parents=True, exist_ok=True)
        if form == "npy":
            np.save(to.with_suffix(".npy"), ids.astype(np.int64))
        else:
            Image.fromarray(ids).save(to)
    command = ["--gt", gt, "--split", K, "--pred", tmp_path / form]
    assert score(capsys, *command, "--format", form) == before
    if form == "npy":  # nothing is unpickled
        np.save(next((tmp_path / form).rglob("*.npy")), np.array([{}]), allow_pickle=True)
    else:  # 8 bits could not hold all ids
        Image.new("L", (30, 20)).save(next((tmp_path / form).rglob("*.png")))
    _, err = failure(capsys, *command, "--format", form)
    assert f"not a readable {form} mask" in err


def test_forms_are_those_of_the_scorer():
    assert tuple(mask_formats.SUFFIXES) == scoring.FORMATS


def test_many_faults_show_ten_of_each_kind(folders, capsys):
    pred, gt = folders
    for number in range(30):
        write(gt / f"n00000001/ILSVRC2012_val_000001{number:02}.png", np.zeros((9, 9), int))
    small = sorted(pred.rglob("*.png"))[0]
    write(small, np.zeros((2, 2), int))
    command = ["--pred", pred, "--gt", gt, "--split", K]
    _, short = failure(capsys, *command)
    assert short.count("has no prediction") == 10
    assert "... and 20 more (--all lists them)" in short
    assert f"found: {pred} holds 6 masks such as n00000001/" in short
    assert "missing (30): Write one prediction" in short
    assert "size (1)" in short
    _, every = failure(capsys, *command, "--all")
    assert every.count("has no prediction") == 30


@pytest.mark.parametrize("name", ["8", "birds"])
@pytest.mark.parametrize("layout", ["shards", "tree"])
def test_the_number_of_classes_is_that_of_the_set(name, layout, tmp_path, capsys):
    """A custom tier has any name; `8` may have three classes."""
    world = tiny(train=2, val=2, name=name)
    words = ["--imagenet", world.folders(tmp_path / "raw"), "--index", world.index(tmp_path / "i")]
    words += ["--annotations", world.archive(tmp_path), "--split", name, "--layout", layout]
    place = ["--split", name, "--root", str(tmp_path / "root")]
    assert prepare.main([*map(str, [*words, *place[2:]]), "--workers", "1"]) == 0
    data = ImageNetS(tmp_path / "root", "validation", name)
    for number, sample in enumerate(data.names):
        write(tmp_path / f"pred/{sample}.png", data.mask(number) % masks.IGNORED)
    capsys.readouterr()
    scores = score(capsys, "--pred", tmp_path / "pred", *place)
    assert len(scores["IoUs"]) == 1 + 3
    code, err = failure(capsys, "--pred", tmp_path / "pred", "--split", "fish", *place[2:])
    assert code == 2
    assert f"there: {name}" in err
