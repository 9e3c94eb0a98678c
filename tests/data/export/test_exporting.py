"""Exports: read back by plain means, the same bytes, resumed, and errors that say what to do."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from imagenets import ImageNetS, masks
from imagenets.cli.main import main
from imagenets.data.export.exporting import export
from imagenets.data.export.formats import FORMATS, make
from imagenets.errors import CorruptError, UsageError


def files(folder: Path) -> dict[str, bytes]:
    """What an export holds, without its records."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if ".export" not in path.parts
    }


def in_tars(folder: Path) -> dict[str, bytes]:
    """All members of all tars of a folder."""
    members = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                assert file is not None
                members[member.name] = file.read()
                assert (member.mtime, member.uid) == (0, 0)
    return members


def check_fact(fact: dict[str, Any], data: ImageNetS, index: int) -> None:
    sample = data[index]
    assert fact["name"] == sample["name"]
    assert (fact["class_id"], fact["target_id"]) == (sample["class_id"], data.target_ids[index])
    assert (fact["height"], fact["width"]) == tuple(sample["image"].shape[1:])


def test_webdataset(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3")
    done = export(data, make("webdataset", shard_samples=5), tmp_path / "out", workers=1)
    assert (done.samples, done.files, done.made) == (12, 3, 3)
    members = in_tars(tmp_path / "out")
    assert len(members) == 36
    for index, name in enumerate(data.names):
        stored = data.encoded(index)
        assert members[f"{name}.jpg"] == bytes(stored.image)
        assert stored.mask is not None
        assert members[f"{name}.mask.png"] == bytes(stored.mask)
        fact = json.loads(members[f"{name}.json"])
        check_fact(fact, data, index)
        assert fact["ilsvrc"] == data.ilsvrc[index]
        assert fact["label"] == data.source_classes[data.ilsvrc[index]]


def test_parquet(tiny_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for split in ("validation", "train"):
        data = ImageNetS(tiny_root, split, "3")
        export(data, make("parquet", shard_samples=7), out, workers=1)
        word = out / "data" / f"{split}-*.parquet"
        tables = [
            pyarrow.parquet.read_table(path) for path in sorted(out.glob(f"data/{word.name}"))
        ]
        rows = [row for table in tables for row in table.to_pylist()]
        assert len(rows) == len(data)
        for index, row in enumerate(rows):
            stored = data.encoded(index)
            assert row["image"]["bytes"] == bytes(stored.image)
            assert ("mask" in row) == data.has_masks
            if data.has_masks:
                assert stored.mask is not None
                assert row["mask"]["bytes"] == bytes(stored.mask)
            check_fact(row, data, index)
            assert row["label"] == data.ilsvrc[index]
        told = json.loads(tables[0].schema.metadata[b"huggingface"])["info"]["features"]
        assert told["image"] == {"_type": "Image"}
        assert told["label"] == {"names": list(data.source_classes), "_type": "ClassLabel"}
        assert list(told) == tables[0].schema.names
    card = (out / "README.md").read_text()
    assert "license: other" in card
    assert "path: data/train-?????-of-?????.parquet" in card
    assert "| validation | 12 | yes |" in card
    assert "| train | 24 | no |" in card


def test_gray16(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3")
    export(data, make("gray16"), tmp_path, workers=1)
    for index, name in enumerate(data.names):
        with Image.open(tmp_path / "validation" / f"{name}.png") as image:
            assert image.mode in ("I;16", "I")  # the latter: Pillow before 10.3
            np.testing.assert_array_equal(np.asarray(image), data.mask(index))
    assert (data.mask(0) == masks.IGNORED).any()


def test_imagefolder(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    export(data, make("imagefolder"), tmp_path, workers=1)
    made = files(tmp_path)
    assert len(made) == 2 * len(data)
    folders = set()
    for index, sample in enumerate(data):
        wnid = data.source_classes[sample["ilsvrc"]]
        place = f"validation/{wnid}/{sample['name'].partition('/')[2]}"
        folders.add(wnid)
        assert made[f"images/{place}.JPEG"] == bytes(data.encoded(index).image)
        with Image.open(io.BytesIO(made[f"targets/{place}.png"])) as image:
            np.testing.assert_array_equal(np.asarray(image), sample["target"])
    assert not folders <= set(data.classes)  # labels outside the tier have their own folder


@pytest.mark.parametrize("name", FORMATS)
def test_again_nothing_is_done_and_what_is_lost_comes_back(
    name: str, tiny_root: Path, tmp_path: Path
) -> None:
    data = ImageNetS(tiny_root, "validation", "3")
    form = make(name, shard_samples=5 if name in ("webdataset", "parquet") else None)
    first = export(data, form, tmp_path, workers=1)
    assert first.made == first.pieces
    before = files(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*") if path.is_file()}
    assert export(data, form, tmp_path, workers=1).made == 0
    entries = [p for p in times if ".export" not in p.parts]
    assert all(path.stat().st_mtime_ns == times[path] for path in entries)

    spoilt = tmp_path / max(one for one in before if not one.endswith(".md"))
    spoilt.write_bytes(bytes(len(spoilt.read_bytes())))  # as long as it was
    stray = spoilt.with_name(spoilt.name + ".part")
    stray.write_bytes(b"half")
    assert export(data, form, tmp_path, workers=1).made == 1
    assert files(tmp_path) == before
    os.utime(spoilt, ns=(1, 1))  # touched alone: its digest is still right
    assert export(data, form, tmp_path, workers=1).made == 0
    spoilt.unlink()
    assert export(data, form, tmp_path, workers=1).made == 1
    assert files(tmp_path) == before


def test_a_run_that_fails_keeps_its_pieces(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3")

    class Source:
        broken = True

        def read(self, row: int, name: str) -> masks.Ids:
            if self.broken and row == 7:
                raise CorruptError("row 7")
            return data.mask(row)

        def identity(self, names: Iterable[str]) -> str:
            return str(len(list(names)))

    source = Source()
    view = data.with_masks(source)
    form, out = make("webdataset", shard_samples=5), tmp_path / "out"
    with pytest.raises(CorruptError, match="row 7"):
        export(view, form, out, workers=1)
    assert list(files(out)) == ["validation-000000.tar"]
    source.broken = False
    assert export(view, form, out, workers=1).made == 2
    export(view, form, tmp_path / "whole", workers=1)
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.slow
def test_what_stands_beside_the_pieces_names_whole_splits_alone(
    tiny_root: Path, tmp_path: Path
) -> None:
    """A split that was stopped is not on the card of another, until it is finished."""
    out, form = tmp_path / "out", make("parquet", shard_samples=7)
    train, validation = (ImageNetS(tiny_root, split, "3") for split in ("train", "validation"))
    export(train, form, out, workers=1)
    (lost,) = (out / ".export").glob("train-000001.json")
    lost.unlink()  # as if a kill had come before the second piece
    export(validation, form, out, workers=1)
    assert "| train |" not in (out / "README.md").read_text("utf-8")
    export(train, form, out, workers=1)
    assert "| train | 24 | no |" in (out / "README.md").read_text("utf-8")


def test_a_damaged_record_of_another_split_is_told(tiny_root: Path, tmp_path: Path) -> None:
    data, out = ImageNetS(tiny_root, "validation", "3"), tmp_path / "out"
    export(data, make("gray16"), out, workers=1)
    damaged = out / ".export" / "split-test.json"
    damaged.write_text("{}")
    with pytest.raises(CorruptError, match=r"split-test\.json: is damaged. Delete it"):
        export(data, make("gray16"), out, workers=1)
    damaged.unlink()
    assert export(data, make("gray16"), out, workers=1).made == 0


def test_other_masks_are_never_taken_for_done(tiny_root: Path, tmp_path: Path) -> None:
    data, form = ImageNetS(tiny_root, "validation", "3"), make("gray16")
    folder, out = tmp_path / "masks", tmp_path / "out"
    for index, name in enumerate(data.names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(masks.encode(data.mask(index)))
    own = data.with_masks(folder)
    assert export(own, form, out, workers=1).made == 1
    assert export(own, form, out, workers=1).made == 0
    with pytest.raises(UsageError, match="other_masks"):
        export(data, form, out)
    (folder / f"{data.names[3]}.png").write_bytes(masks.encode(np.zeros_like(data.mask(3))))
    with pytest.raises(UsageError, match="other_masks"):
        export(own, form, out)

    class Silent:
        def read(self, row: int, name: str) -> masks.Ids:
            return data.mask(row)

    mute = data.with_masks(Silent())
    for _ in range(2):
        assert export(mute, form, tmp_path / "mute", workers=1).made == 1


@pytest.mark.parametrize("name", ["webdataset", "gray16", "imagefolder"])
def test_a_sample_that_is_there_twice_is_refused(
    name: str, tiny_root: Path, tmp_path: Path
) -> None:
    data = ImageNetS(tiny_root, "validation", "3")
    with pytest.raises(UsageError, match=f"{data.names[4]}: is in this view twice"):
        export(data.subset([4, 0, 4]), make(name), tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()
    assert export(data.subset([4, 0]), make(name), tmp_path / "out", workers=1).samples == 2


def test_names_with_dots_are_no_webdataset(tiny_root: Path, tmp_path: Path) -> None:
    class Dotted(ImageNetS):
        @property
        def names(self) -> Sequence[str]:
            return ("n01/a.b", "n01/a.c")

    data = Dotted(tiny_root, "validation", "3")
    with pytest.raises(UsageError, match=r"n01/a\.b: WebDataset"):
        export(data, make("webdataset"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_same_index_is_the_same_class_in_every_split(tiny_root: Path, tmp_path: Path) -> None:
    for split in ("validation", "train-semi"):
        data = ImageNetS(tiny_root, split, "3", target="label")
        export(data, make("imagefolder"), tmp_path, workers=1)
    folders = [
        sorted(path.name for path in (tmp_path / tree / split).iterdir())
        for tree in ("images", "targets")
        for split in ("validation", "train-semi")
    ]
    assert all(one == sorted(data.source_classes) for one in folders)


def test_any_number_of_workers_writes_the_same(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3")
    for name in ("webdataset", "parquet"):
        form = make(name, shard_samples=3)
        for workers in (1, 2):
            export(data, form, tmp_path / f"{name}{workers}", workers=workers)
        assert files(tmp_path / f"{name}1") == files(tmp_path / f"{name}2")


def test_other_contents_are_refused(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3")
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds files that are no export"):
        export(data, make("gray16"), tmp_path)
    out = tmp_path / "out"
    export(data, make("webdataset"), out, workers=1)
    with pytest.raises(UsageError, match="format webdataset, not gray16"):
        export(data, make("gray16"), out)
    with pytest.raises(UsageError, match="shard_samples"):
        export(data, make("webdataset", shard_samples=3), out)
    with pytest.raises(UsageError, match="samples 12, not 4"):
        export(data.subset([0, 1, 2, 3]), make("webdataset"), out)
    for name in ("coco", "gray16", "imagefolder"):
        with pytest.raises(UsageError, match="has no masks"):
            export(ImageNetS(tiny_root, "train", "3"), make(name), tmp_path / "none")
    with pytest.raises(UsageError, match="no shard_samples"):
        make("gray16", shard_samples=3)
    with pytest.raises(UsageError, match="at least 1"):
        export(data, make("parquet", shard_samples=0), tmp_path / "none")
    with pytest.raises(UsageError, match="choose one of webdataset"):
        make("zip")
    assert not (tmp_path / "none").exists()


def test_the_command_line(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--root", str(tiny_root), "--out", str(tmp_path / "out")]
    sets = [*words, "--to", "coco", "--subsets", "validation", "train-semi"]
    assert main([*sets, "--workers", "1", "--target", "label"]) == 0
    assert "validation, 12 images in 1 files" in capsys.readouterr().out
    assert set(files(tmp_path / "out")) == {
        "instances_validation.json",
        "instances_train-semi.json",
    }
    for wrong, message in (
        ([], "say what to export: --stage STEP"),
        (["--subsets", "train"], "--subsets is for exports of a prepared set"),
        (["--to", "coco", "--stage", "pretrain"], "--stage is for exports of a network"),
        (["--to", "coco", "--run", "x"], "--run is for exports of a network"),
        (["--to", "gray16", "--target", "label"], "--target is for --to coco"),
        (["--to", "gray16", "--shard-samples", "2"], "the format gray16 has no shard_samples"),
    ):
        assert main([*words, *wrong]) == 2
        assert message in capsys.readouterr().err
