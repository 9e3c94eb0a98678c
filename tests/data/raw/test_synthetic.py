"""The generated sample: the published forms, learnable content, the same bytes on every run."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagenets import masks
from imagenets.classes import ilsvrc_classes
from imagenets.data.lists import read_lists
from imagenets.data.raw import synthetic as sample
from imagenets.data.raw import synthetic_images as drawing
from imagenets.data.raw.synthetic import SyntheticSet, generate
from imagenets.data.raw.synthetic_server import serve
from imagenets.errors import UsageError
from imagenets.tiers import get_tier, list_paths


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticSet:
    """A whole sample with a sixth of the training images, so that drawing takes a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sample, "TRAIN", 14)
        patch.setattr(sample, "SEMI", 5)
        patch.setattr(sample, "VALIDATION", 6)
        patch.setattr(sample, "TEST", 6)
        return generate(tmp_path_factory.mktemp("sample") / "deeper" / "still")


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_raw_folders_are_ilsvrcs(made: SyntheticSet) -> None:
    assert made.name == "6"
    folders = sorted(path.name for path in (made.raw / "train").iterdir())
    assert folders == list(sample.WNIDS) == sorted(sample.WNIDS)
    assert not set(folders) & set(ilsvrc_classes())
    for folder in folders:
        names = [path.name for path in (made.raw / "train" / folder).iterdir()]
        assert len(names) == 14
        assert all(name.startswith(f"{folder}_") and name.endswith(".JPEG") for name in names)
    validation = [path.name for path in (made.raw / "val").iterdir()]
    assert len(validation) == 6 * (6 + 6)
    assert all(len(name) == len("ILSVRC2012_val_00000001.JPEG") for name in validation)
    assert sorted(path.name for path in made.raw.parent.iterdir()) == sorted(
        ["raw", "index", made.archive.name, "synthetic.json"]
    )


def test_the_lists_read_as_published_ones_do(made: SyntheticSet) -> None:
    lists = read_lists(get_tier("6", made.index), made.index)
    assert lists.classes == sample.WNIDS
    for split, count in (("train-semi", 5), ("validation", 6), ("test", 6)):
        filed = Counter(lists.splits[split].wnids.tolist())
        assert filed == {wnid.encode(): count for wnid in sample.WNIDS}
    for split in ("validation", "test"):
        records = lists.splits[split]
        assert 0 < (records.wnids != records.sources).sum() < len(records.stems) / 4
    for path in list_paths("6").values():
        assert not (made.index / path).read_bytes().endswith(b"\n")
    places = {
        "train-semi": "train/{}/{}.JPEG",
        "validation": "val/{1}.JPEG",
        "test": "val/{1}.JPEG",
    }
    for split, place in places.items():
        records = lists.splits[split]
        for wnid, stem in zip(records.wnids.tolist(), records.stems.tolist(), strict=True):
            assert (made.raw / place.format(wnid.decode(), stem.decode())).is_file()


def read_masks(made: SyntheticSet) -> dict[str, np.ndarray[Any, Any]]:
    with zipfile.ZipFile(made.archive) as archive:
        return {name: masks.decode(archive.read(name)) for name in archive.namelist()}


def test_the_archive_is_named_by_its_md5_and_holds_the_listed_masks(made: SyntheticSet) -> None:
    md5 = hashlib.md5(made.archive.read_bytes()).hexdigest()
    assert made.archive.name == f"ImageNetS6-{md5}.zip"
    lists = read_lists(get_tier("6", made.index), made.index)
    wanted = {
        f"ImageNetS6/{split}-segmentation/{wnid.decode()}/{stem.decode()}.png"
        for split in ("train-semi", "validation")
        for wnid, stem in zip(lists.splits[split].wnids, lists.splits[split].stems, strict=True)
    }
    assert set(read_masks(made)) == wanted
    with zipfile.ZipFile(made.archive) as archive:
        facts = {(info.date_time, info.external_attr) for info in archive.infolist()}
    assert facts == {((2022, 1, 1, 0, 0, 0), 0o644 << 16)}


def test_masks_fit_their_images_and_the_largest_class_names_the_folder(made: SyntheticSet) -> None:
    lists = read_lists(get_tier("6", made.index), made.index)
    validation = lists.splits["validation"]
    sources = dict(zip(validation.stems.tolist(), validation.sources.tolist(), strict=True))
    seen: Counter[str] = Counter()
    for name, ids in read_masks(made).items():
        _, split, wnid, file = name.split("/")
        stem = file.removesuffix(".png")
        place = "val" if split.startswith("val") else f"train/{wnid}"
        with Image.open(made.raw / place / f"{stem}.JPEG") as image:
            assert ids.shape == (image.height, image.width)
        areas = {int(value): int((ids == value).sum()) for value in np.unique(ids)}
        objects = {value: area for value, area in areas.items() if 1 <= value <= 6}
        assert set(areas) - set(objects) <= {0, 1000}
        assert 1 <= len(objects) <= 2
        largest = max(objects, key=objects.__getitem__)
        assert sample.WNIDS[largest - 1] == wnid
        assert 0.05 < objects[largest] / ids.size < 0.65
        own = sources.get(stem.encode(), wnid.encode()).decode()
        assert sample.WNIDS.index(own) + 1 in objects  # the ILSVRC class is in the picture, too
        seen.update({"ring": 1000 in areas, "pair": len(objects) == 2, "all": True})
    assert 0.1 < seen["ring"] / seen["all"] < 0.6
    assert 0.05 < seen["pair"] / seen["all"] < 0.4


def test_the_images_are_as_varied_as_real_ones(made: SyntheticSet) -> None:
    modes: Counter[str] = Counter()
    sizes = set()
    for path in made.raw.rglob("*.JPEG"):
        with Image.open(path) as image:
            assert image.format == "JPEG"
            modes[image.mode] += 1
            sizes.add(image.size)
            assert 96 <= min(image.size) <= max(image.size) <= 320
    assert modes["CMYK"] == 1
    assert 0 < modes["L"] < 0.12 * modes.total()
    assert len(sizes) > 0.9 * modes.total()


def test_no_colour_is_flat(made: SyntheticSet) -> None:
    """Inside the objects and outside them, the picture varies, not only across their border."""
    for name, ids in list(read_masks(made).items())[::7]:
        _, split, wnid, file = name.split("/")
        place = "val" if split.startswith("val") else f"train/{wnid}"
        path = made.raw / place / file.replace(".png", ".JPEG")
        with Image.open(path) as image:
            grey = np.asarray(image.convert("L")).astype(float)
        for value in np.unique(ids):
            if value != 1000:
                assert grey[ids == value].std() > 8, (path, value)


def test_the_classes_differ_by_colour_yet_not_by_colour_alone() -> None:
    """Mean object colours: the nearest class mean is mostly right, and sometimes wrong."""
    colours, labels = [], []
    for category in range(len(drawing.CATEGORIES)):
        for number in range(14):
            scene = drawing.draw(np.random.default_rng([5, category, number]), category)
            colours.append(scene.rgb[scene.ids == category + 1].mean(0))
            labels.append(category)
    table, truth = np.array(colours), np.array(labels)
    means = np.stack([table[truth == category].mean(0) for category in range(6)])
    guess = ((table[:, None] - means[None]) ** 2).sum(-1).argmin(1)
    assert 0.5 < (guess == truth).mean() < 1.0


def test_the_same_seed_gives_the_same_bytes(
    made: SyntheticSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TRAIN", 3), ("SEMI", 2), ("VALIDATION", 1), ("TEST", 1)):
        monkeypatch.setattr(sample, name, value)
    first = generate(tmp_path / "first", seed=3)
    second = generate(tmp_path / "second", seed=3)
    assert digest(first.raw.parent) == digest(second.raw.parent)
    assert first.archive.name == second.archive.name
    other = generate(tmp_path / "first", seed=4)  # replaces the one of another seed
    assert other.archive.name != first.archive.name
    assert not first.archive.exists()
    assert len(list(other.raw.rglob("*.JPEG"))) == 6 * 5
    assert digest(other.raw.parent) == digest(generate(tmp_path / "third", seed=4).raw.parent)


def test_a_second_run_draws_nothing(made: SyntheticSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "draw", None)
    assert generate(made.raw.parent) == made


def test_an_interrupted_run_is_begun_anew_and_leaves_no_half_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TRAIN", 3), ("SEMI", 2), ("VALIDATION", 1), ("TEST", 1)):
        monkeypatch.setattr(sample, name, value)
    draw, calls = drawing.draw, []

    def interrupted(*arguments: Any) -> drawing.SyntheticImage:
        calls.append(1)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(drawing, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["synthetic.part"]
    again = generate(tmp_path)
    assert len(list(again.raw.rglob("*.JPEG"))) == 6 * 5
    assert not (tmp_path / ".sample.part").exists()


def test_what_was_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(UsageError, match=r"raw: is in the way.*another folder"):
        generate(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "raw"]


def test_damaged_samples_are_told_or_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TRAIN", 3), ("SEMI", 2), ("VALIDATION", 1), ("TEST", 1)):
        monkeypatch.setattr(sample, name, value)
    first = generate(tmp_path)
    before = digest(tmp_path)
    first.archive.unlink()
    shutil.rmtree(first.raw)
    assert generate(tmp_path) == first
    assert digest(tmp_path) == before
    (tmp_path / "synthetic.json").write_text('{"seed": ')
    with pytest.raises(UsageError, match=r"raw: is in the way"):
        generate(tmp_path)


# ---- the server --------------------------------------------------------------------------------


def get(url: str, **headers: str) -> tuple[int, Any, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5) as answer:
        return answer.status, answer.headers, answer.read()


def test_lists_and_archive_are_served_with_ranges(made: SyntheticSet) -> None:
    with serve(made.raw.parent) as url:
        for path in list_paths("6").values():
            assert get(f"{url}/{path}")[2] == (made.index / path).read_bytes()
        archive, data = f"{url}/{made.archive.name}", made.archive.read_bytes()
        status, headers, content = get(archive)
        assert (status, content) == (200, data)
        assert headers["Accept-Ranges"] == "bytes"
        assert int(headers["Content-Length"]) == len(data)
        for asked, part, shown in (
            ("bytes=100-", data[100:], f"bytes 100-{len(data) - 1}/{len(data)}"),
            ("bytes=5-9", data[5:10], f"bytes 5-9/{len(data)}"),
            ("bytes=-7", data[-7:], f"bytes {len(data) - 7}-{len(data) - 1}/{len(data)}"),
        ):
            status, headers, content = get(archive, Range=asked)
            assert (status, content, headers["Content-Range"]) == (206, part, shown)
        assert get(archive, Range="pages=1-2")[:1] == (200,)
        with pytest.raises(urllib.error.HTTPError, match="416") as refused:
            get(archive, Range=f"bytes={len(data)}-")
        assert refused.value.headers["Content-Range"] == f"bytes */{len(data)}"
        refused.value.close()
        request = urllib.request.Request(archive, method="HEAD")
        with urllib.request.urlopen(request, timeout=5) as answer:
            assert int(answer.headers["Content-Length"]) == len(data)
            assert answer.read() == b""
    with pytest.raises(urllib.error.URLError):
        get(archive)


@pytest.mark.parametrize("path", ["nothing.txt", "../secret", "index/../../secret", "", "raw/"])
def test_nothing_else_is_served(made: SyntheticSet, path: str) -> None:
    (made.raw.parent.parent / "secret").write_text("x")
    with serve(made.raw.parent) as url:
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            get(f"{url}/{path}")
        refused.value.close()


def test_the_marker_names_seed_and_archive(made: SyntheticSet) -> None:
    marker = json.loads((made.raw.parent / "synthetic.json").read_text())
    assert marker == {"archive": made.archive.name, "seed": 0}
