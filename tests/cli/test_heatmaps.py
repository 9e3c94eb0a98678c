"""`imagenets heatmaps`: stored heat maps in every form, measured against targets."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from tiny import CLASSES, Tiny, jpeg, tiny
from world import World

from imagenets import ImageNetS, masks
from imagenets.cli import evaluate, main
from imagenets.data.dataset.views import named
from imagenets.evaluation.localization import BASELINES, MEASURES, LocalizationEvaluator

Maps = dict[str, npt.NDArray[Any]]


@pytest.fixture(scope="module")
def data(tiny_root: Path) -> ImageNetS:
    return ImageNetS(tiny_root, "validation", "3", target="label")


@pytest.fixture(scope="module")
def maps(data: ImageNetS) -> Maps:
    """The target with noise: whole numbers of 8 bits, which every form holds."""
    rng = np.random.default_rng(0)
    made = {}
    for sample in data:
        noise = rng.integers(0, 160, sample["target"].shape)
        made[sample["name"]] = (noise + 90 * (sample["target"].numpy() == 1)).astype(np.uint8)
    return made


def each(suffix: str, write: Callable[[Path, npt.NDArray[Any]], object]) -> Any:
    def into(folder: Path, maps: Maps) -> Path:
        for name, values in maps.items():
            path = folder / f"{name}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, values)
        return folder

    return into


def flat(folder: Path, maps: Maps) -> Path:
    return Path(each(".npy", np.save)(folder, {name[10:]: one for name, one in maps.items()}))


def one_npz(folder: Path, maps: Maps) -> Path:
    np.savez_compressed(folder / "all.npz", allow_pickle=False, **maps)
    return folder / "all.npz"


def one_hdf5(folder: Path, maps: Maps) -> Path:
    with h5py.File(folder / "all.h5", "w") as file:
        for name, values in maps.items():
            file[name] = values
    return folder / "all.h5"


FORMS: dict[str, Callable[[Path, Maps], Path]] = {
    "npy": each(".npy", np.save),
    "npy of floats": each(".npy", lambda path, one: np.save(path, one.astype(np.float16))),
    "npy of 1 x H x W": each(".npy", lambda path, one: np.save(path, one[None])),
    "npy without class folders": flat,
    "npz": each(".npz", lambda path, one: np.savez(path, heat=one)),
    "png": each(".png", lambda path, one: Image.fromarray(one).save(path)),
    "png of 16 bits": each(
        ".png", lambda path, one: Image.fromarray(one.astype(np.uint16) * 256).save(path)
    ),
    "tiff": each(".tiff", lambda path, one: Image.fromarray(one).save(path)),
    "tif of 16 bits": each(
        ".tif", lambda path, one: Image.fromarray(one.astype(np.uint16)).save(path)
    ),
    "tif of floats": each(
        ".tif", lambda path, one: Image.fromarray(one.astype(np.float32)).save(path)
    ),
    "one npz": one_npz,
    "one hdf5": one_hdf5,
}


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main.main(["heatmaps", *map(str, words)])
    told = capsys.readouterr()
    return code, told.out, told.err


def scored(
    capsys: pytest.CaptureFixture[str], path: Path, root: Path, *more: object
) -> dict[str, Any]:
    code, out, err = run(capsys, "--maps", path, "--root", root, "--json", *more)
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def expected(data: ImageNetS, maps: Maps, view: str | None = None) -> dict[str, Any]:
    """The same by hand, as the documents show it."""
    evaluator = LocalizationEvaluator()
    seen = None if view is None else named(view)
    for sample in data:
        heat, target = maps[sample["name"]], sample["target"].numpy()
        if seen is not None:
            heat, target = seen.heat(heat, target.shape[::-1]), seen.target(target)
        evaluator.update(heat, target, sample["target_id"], sample["name"])
    return evaluator.compute().as_dict()


@pytest.mark.parametrize("form", list(FORMS))
def test_every_form_gives_the_same_numbers(
    data: ImageNetS,
    maps: Maps,
    tiny_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    path = FORMS[form](tmp_path, maps)
    found = scored(capsys, path, tiny_root)
    by_hand = expected(data, maps)
    for name in MEASURES:
        assert found["maps"]["mean"][name] == pytest.approx(by_hand["mean"][name], abs=1e-6)
    assert found["maps"]["without_target"] == by_hand["without_target"] > 0
    assert found["maps"]["macro"].keys() == MEASURES.keys()
    assert found["baselines"].keys() == BASELINES.keys()
    assert found["baselines"]["ground_truth"]["mean"]["average_precision"] == 100


def test_one_array_of_all_maps(
    data: ImageNetS, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    view = named("squash24")
    seen = {s["name"]: np.float32(view.target(s["target"]).numpy() == 1) for s in data}
    with h5py.File(tmp_path / "all.hdf5", "w") as file:
        file["maps"] = np.stack(list(seen.values()))
        file["names"] = list(seen)
    found = scored(capsys, tmp_path / "all.hdf5", tiny_root, "--view", "squash24")
    assert found["maps"]["mean"]["rank_accuracy"] == 100
    assert found["resized"] == 0


@pytest.mark.parametrize("view", ["resize32-crop24", "squash24", "pad40-bicubic"])
def test_maps_of_the_images_size_are_brought_into_the_view(
    data: ImageNetS,
    maps: Maps,
    tiny_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    view: str,
) -> None:
    FORMS["npy"](tmp_path, maps)
    code, out, err = run(capsys, "--maps", tmp_path, "--root", tiny_root, "--view", view, "--json")
    assert code == 0
    found, by_hand = json.loads(out), expected(data, maps, view)
    for name in MEASURES:
        assert found["maps"]["mean"][name] == pytest.approx(by_hand["mean"][name], abs=1e-6)
    assert found["view"] == view
    assert f"{found['resized']} maps of their image's size are resized bilinearly" in err


def test_the_table_shows_the_baselines(
    maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FORMS["npy"](tmp_path / "maps", maps)
    words = ["--csv", tmp_path / "classes.csv", "--per-image", tmp_path / "images.csv"]
    code, out, _ = run(
        capsys, "--maps", tmp_path / "maps", "--root", tiny_root, "--bootstrap", 20, *words
    )
    assert code == 0
    for text in ("maps  constant    random  Gaussian    target", "pointing game", "16,384 bins"):
        assert text in out
    assert re.search(r"rank_accuracy +\d+\.\d\d +\d+\.\d\d to \d+\.\d\d", out)
    classes = list(csv.DictReader((tmp_path / "classes.csv").read_text().splitlines()))
    assert [row["id"] for row in classes] == ["1", "2", "3"]
    assert classes[0]["name"] == "n90000001"
    images = list(csv.DictReader((tmp_path / "images.csv").read_text().splitlines()))
    assert {row["name"] for row in images} == set(maps)
    lacking = [row for row in images if row["pixels"] == "0"]
    assert lacking
    assert all(row["energy"] == "" for row in lacking)


def test_only_the_images_of_a_list(
    data: ImageNetS, maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = data.subset_present()[:3]
    few.save_list(tmp_path / "few.txt")
    FORMS["npy"](tmp_path / "maps", {name: maps[name] for name in few.names})
    found = scored(capsys, tmp_path / "maps", tiny_root, "--list", tmp_path / "few.txt")
    assert found["maps"]["images"] == 3


def test_an_image_without_its_object_needs_no_map(
    data: ImageNetS, maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = set(data.subset_present().names)
    FORMS["npy"](tmp_path, {name: one for name, one in maps.items() if name in there})
    found = scored(capsys, tmp_path, tiny_root)
    assert found["maps"]["images"] == len(data)
    assert found["maps"]["without_target"] == len(data) - len(there)


def test_what_is_wrong_is_listed_and_nothing_measured(
    data: ImageNetS, maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, small, odd, broken, coloured, *_ = data.subset_present().names
    FORMS["npy"](tmp_path, {name: one for name, one in maps.items() if name != lost})
    np.save(tmp_path / f"{small}.npy", maps[small][::2, ::2])
    values = maps[odd].astype(np.float32)
    values[3, 4] = np.nan
    np.save(tmp_path / f"{odd}.npy", values)
    (tmp_path / f"{broken}.npy").write_bytes(b"no array")
    (tmp_path / f"{coloured}.npy").unlink()
    Image.new("RGB", maps[coloured].shape[::-1]).save(tmp_path / f"{coloured}.png")
    code, out, err = run(capsys, "--maps", tmp_path, "--root", tiny_root, "--view", "squash99")
    assert code == 1
    assert not out
    assert "5 fault(s)" in err
    assert f"missing: {lost} has no heat map" in err
    height, width = maps[small].shape
    assert (
        f"{small}.npy is {-(-width // 2)} x {-(-height // 2)} pixels (W x H), the image is " in err
    )
    assert f"{width} x {height}, the view 99 x 99" in err
    assert f"not finite: {tmp_path / odd}.npy" in err
    assert f"unreadable: {tmp_path / broken}.npy: not a readable heat map" in err
    assert f"{coloured}.png: not a readable heat map" in err
    assert "its mode is RGB, not one grey channel" in err
    assert f"found: {tmp_path} holds" in err
    assert "Traceback" not in err


def test_constant_and_foreign_maps_are_named(
    data: ImageNetS, maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = data.subset_present().names[0]
    given = {**maps, name: np.zeros_like(maps[name]), "n90000001/other": np.zeros((2, 2))}
    FORMS["npy"](tmp_path, given)
    code, _, err = run(capsys, "--maps", tmp_path, "--root", tiny_root)
    assert code == 0
    assert f"1 maps are constant: they point nowhere: {name}" in err
    assert "1 maps belong to no image, and are left out: n90000001/other" in err
    found = scored(capsys, tmp_path, tiny_root)
    assert (found["constant"], found["extra"]) == ([name], ["n90000001/other"])


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--maps", "none"], 1, "none: there is no such file or folder of heat maps"),
        (["--maps", "empty"], 1, "empty: there is no heat map in it"),
        (["--maps", "text.txt"], 2, "text.txt: give a folder of heat maps"),
        (["--maps", "bad.h5"], 1, "bad.h5: not a readable HDF5 file"),
        (["--maps", "bad.npz"], 1, "bad.npz: not a readable .npz"),
        (["--maps", "empty", "--view", "crop224"], 2, "there is no view 'crop224'"),
        (["--maps", "empty", "--bootstrap", "1"], 2, "at least 2 samples"),
        (["--maps", "empty", "--csv", "no/a.csv"], 1, "there is no folder no"),
        (["--maps", "empty", "--split", "50"], 1, "Tier 3 is here"),
        (["--maps", "empty", "--list", "text.txt"], 1, "text.txt: not a list of a subset"),
    ],
)
def test_mistakes_are_told(
    tiny_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for name in ("text.txt", "bad.h5", "bad.npz"):
        Path(name).write_text("no heat maps")
    found, out, err = run(capsys, *words, "--root", tiny_root)
    assert (found, out) == (code, "")
    assert "error: " in err
    assert message in err


def test_two_files_of_one_image_are_refused(
    data: ImageNetS, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in (".npy", ".png"):
        FORMS[suffix[1:]](tmp_path, {data.names[0]: np.zeros((4, 4), np.uint8)})
    code, _, err = run(capsys, "--maps", tmp_path, "--root", tiny_root)
    assert code == 2
    assert "two heat maps of one image" in err


@pytest.mark.parametrize("door", ["evaluate", "tree"])
def test_two_methods_are_compared(
    maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], door: str
) -> None:
    FORMS["npy"](tmp_path / "a", {name: np.zeros_like(one) for name, one in maps.items()})
    FORMS["npy"](tmp_path / "b", maps)
    words = ["heatmaps", "compare", tmp_path / "a", tmp_path / "b", "--root", tiny_root]
    words += ["--bootstrap", 99]
    call = evaluate.main if door == "evaluate" else main.main
    assert call([*map(str, words), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["roc_auc"]["a"] == 50
    assert found["roc_auc"]["b"] > 60
    assert found["roc_auc"]["low"] > 0
    assert found["roc_auc"]["p"] <= 0.05
    assert call(list(map(str, words))) == 0
    assert re.search(r"roc_auc +50\.00 +\d+\.\d\d +\+\d+.* \*\n", capsys.readouterr().out)


def test_the_size_that_maps_have_can_be_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path / "world", squares())
    assert world.run() == 0
    capsys.readouterr()
    data = ImageNetS(world.root, "validation", "3", target="label").subset_present()
    rng = np.random.default_rng(0)
    maps = {name: rng.random((32, 32), np.float32) for name in data.names}
    FORMS["npy"](tmp_path / "maps", maps)
    words = (tmp_path / "maps", world.root, "--view", "resize64-crop32")
    unclear, image, view = (
        scored(capsys, *words, *more)
        for more in ((), ("--maps-at", "image"), ("--maps-at", "view"))
    )
    assert (unclear["unclear"], image["unclear"], view["unclear"]) == (len(data), 0, 0)
    assert (unclear["resized"], image["resized"], view["resized"]) == (0, len(data), 0)
    assert unclear["maps"] == view["maps"] != image["maps"]
    code, _, err = run(capsys, "--maps", *words[:1], "--root", *words[1:])
    assert code == 0
    assert f"{len(data)} images have the size of the view resize64-crop32" in err
    code, _, err = run(capsys, "--maps", *words[:1], "--root", *words[1:2], "--maps-at", "view")
    assert code == 2
    assert "--maps-at view: name the view as well" in err
    code, _, err = run(capsys, "--maps", *words[:1], "--root", *words[1:], "--maps-at", "view")
    assert "taken as seen" not in err


def squares() -> Tiny:
    """All validation images of 32 x 32 pixels."""
    made = tiny(train=8, val=4)
    made.val = {stem: jpeg(number, (32, 32)) for number, stem in enumerate(made.val)}
    made.members = {
        name: masks.encode(np.full((32, 32), 1 + CLASSES.index(name.split("/")[-2])))
        if "validation" in name
        else data
        for name, data in made.members.items()
    }
    return made


def test_maps_of_images_outside_the_list_are_no_strangers(
    data: ImageNetS, maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data.subset_present()[:3].save_list(tmp_path / "few.txt")
    FORMS["npy"](tmp_path / "maps", maps)
    words = ["--maps", tmp_path / "maps", "--root", tiny_root, "--list", tmp_path / "few.txt"]
    code, _, err = run(capsys, *words)
    assert code == 0
    assert f"{len(data) - 3} maps of images outside the list are not used" in err
    assert "belong to no image" not in err


def test_a_view_without_any_object_is_refused(
    maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FORMS["npy"](tmp_path, maps)
    code, out, err = run(
        capsys, "--maps", tmp_path, "--root", tiny_root, "--view", "resize999-crop2"
    )
    assert (code, out) == (2, "")
    assert "none of the 12 images shows its object in resize999-crop2" in err


def test_maps_without_energy_are_told(
    maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FORMS["npy"](tmp_path, {name: -one.astype(np.float32) - 1 for name, one in maps.items()})
    _, _, err = run(capsys, "--maps", tmp_path, "--root", tiny_root)
    assert "maps have no value above 0: their energy counts 0" in err


def test_names_with_the_suffix_of_the_image_are_known(
    data: ImageNetS, maps: Maps, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    FORMS["npy"](tmp_path, {f"{name}.JPEG": one for name, one in maps.items()})
    assert scored(capsys, tmp_path, tiny_root)["maps"]["images"] == len(data)


def test_one_array_without_names_is_told(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["maps"] = np.zeros((4, 3, 3))
    code, _, err = run(capsys, "--maps", tmp_path / "all.h5", "--root", tiny_root)
    assert code == 1
    assert "`maps` has no `names` beside it" in err


def test_a_folder_of_other_files_says_what_it_holds(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.pt").touch()
    _, _, err = run(capsys, "--maps", tmp_path, "--root", tiny_root)
    assert "It holds others, such as a.pt." in err


def test_a_misspelt_word_of_the_door_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main(["heatmap", "--maps", "x"]) == 2
    assert "there is no 'heatmap'. Did you mean 'heatmaps'?" in capsys.readouterr().err
