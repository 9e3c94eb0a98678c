"""What `from_folders` reads is what a prepared set of the same files gives, sample for sample."""

from __future__ import annotations

import io
import os
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside import SHARED, needs_shared
from PIL import Image
from tiny import OUTSIDE, tiny
from torch.utils.data import DataLoader

from imagenets import CenterCrop, ImageNetS, Loader, masks
from imagenets.cli import prepare
from imagenets.data.dataset.originals import Cells
from imagenets.errors import CorruptError, DependencyError, MissingError, UsageError
from imagenets.tiers import list_paths

Given = tuple[Path, Path | None]
WORLD = tiny(train=8, val=4)  # what `tiny_root` was made from
SPLITS = ("validation", "train-semi", "test")


def lines(what: str) -> list[list[str]]:
    return [line.split() for line in WORLD.lists[what]]


def images_of(split: str) -> dict[str, bytes]:
    return WORLD.train if split.startswith("train") else WORLD.val


def flat(folder: Path, split: str, suffix: str = ".JPEG") -> Path:
    folder.mkdir(parents=True)
    for stem, data in images_of(split).items():
        (folder / f"{stem}{suffix}").write_bytes(data)
    return folder


def by_class(folder: Path, split: str, field: int) -> Path:
    """Class folders by ILSVRC class (field 0 of a mapping) or by that of ImageNet-S (1)."""
    if split == "train-semi":
        pairs = [(stem[:9], stem) for stem in WORLD.train]
    else:
        pairs = [(line[field][:9], Path(line[0]).stem) for line in lines(f"mapping-{split}")]
    for wnid, stem in pairs:
        path = folder / "data" / wnid / f"{stem}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(images_of(split)[stem])
    return folder


def littered(folder: Path, split: str) -> Path:
    """Traces of operating systems and notebooks, masks beside images, a link that leads back."""
    by_class(folder, split, 1)
    for path in list(folder.rglob("*.JPEG")):
        path.with_name(f"._{path.name}").write_bytes(b"Mac OS X")
        path.with_suffix(".png").write_bytes(b"a mask, not the image")
        old = path.parent / ".ipynb_checkpoints" / path.name
        old.parent.mkdir(exist_ok=True)
        old.write_bytes(b"an old copy")
        for name in (f"{split}-segmentation", "$RECYCLE.BIN", "__MACOSX"):
            other = folder / name / path.name
            other.parent.mkdir(exist_ok=True)
            other.write_bytes(b"a drawing, or thrown away")
    for name in (".DS_Store", "Thumbs.db", "readme.txt"):
        (folder / name).write_bytes(b"litter")
    (folder / "data" / "again").symlink_to(folder, target_is_directory=True)
    return folder


def unpacked(folder: Path) -> Path:
    for member, data in WORLD.members.items():
        path = folder / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def mirror(folder: Path, split: str, *, with_masks: bool = True, group: int = 2) -> Path:
    """Two parquet files as the mirror has them, in another order than that of names."""
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'imagenets[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder.mkdir(parents=True)
    drawn = {Path(name).stem: data for name, data in WORLD.members.items()}
    rows = []
    for stem, data in reversed(images_of(split).items()):
        row: dict[str, Any] = {"image": {"bytes": data}, "label": 0, "filename": f"{stem}.JPEG"}
        if with_masks:
            row["mask"] = {"bytes": drawn.get(stem, b"none is published")}
        rows.append(row)
    for number in range(2):
        table = pyarrow.Table.from_pylist(rows[number::2])
        name = "train" if split.startswith("train") else "validation"
        path = folder / f"{name}-0000{number}-of-00002.parquet"
        parquet.write_table(table, path, row_group_size=group)
    return folder


def archive(root: Path) -> Path:
    return next(root.parent.glob("ImageNetS3-*.zip"))


FORMS: dict[str, Callable[[Path, Path, str], Given]] = {
    "flat, zip": lambda at, root, split: (flat(at / "val", split), archive(root)),
    "flat .jpg, masks": lambda at, root, split: (
        flat(at / "val", split, ".jpg"),
        unpacked(at / "m") / "ImageNetS3" / f"{split}-segmentation",
    ),
    "by ILSVRC class, folder of the set": lambda at, root, split: (
        by_class(at / "val", split, 0),
        unpacked(at / "m") / "ImageNetS3",
    ),
    "by class, folder above": lambda at, root, split: (
        by_class(at / "val", split, 1),
        unpacked(at / "m"),
    ),
    "litter, zip": lambda at, root, split: (littered(at / "val", split), archive(root)),
    "names of the Hub, zip": lambda at, root, split: (
        flat(at / "val", split, f"_{OUTSIDE}.JPEG"),
        archive(root),
    ),
    "parquet": lambda at, root, split: (mirror(at / "hub" / "data", split).parent, None),
    "pattern of parquet, zip": lambda at, root, split: (
        mirror(at / "hub", split, with_masks=False) / "*.parquet",
        archive(root),
    ),
}


def opened(root: Path, given: Given, split: str = "validation", **more: Any) -> ImageNetS:
    images, drawn = given
    index = root.parent / "index"
    return ImageNetS.from_folders(images, drawn, split, classes=3, index=index, **more)


def same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    for key, value in one.items():
        equal = torch.equal(value, other[key]) if torch.is_tensor(value) else value == other[key]
        assert equal, key


@pytest.fixture
def plain(tiny_root: Path, tmp_path: Path) -> tuple[Path, Given]:
    """The prepared root, and its validation images and masks as plain folders."""
    drawn = unpacked(tmp_path / "m") / "ImageNetS3" / "validation-segmentation"
    return tiny_root, (flat(tmp_path / "val", "validation"), drawn)


@pytest.mark.parametrize("split", ["validation", "train-semi"])
@pytest.mark.parametrize("form", FORMS)
def test_the_samples_are_those_of_a_prepared_set(
    tiny_root: Path, tmp_path: Path, form: str, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    prepared = ImageNetS(tiny_root, split, 3)
    data = opened(tiny_root, FORMS[form](tmp_path, tiny_root, split), split)
    assert len(data) == len(prepared) > 5
    assert list(data.names) == list(prepared.names)
    assert data.classes == prepared.classes
    assert data.source_classes == prepared.source_classes
    for column in ("class_ids", "ilsvrc", "sizes"):
        ours, theirs = getattr(data, column), getattr(prepared, column)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    for one, other in zip(data, prepared, strict=True):
        same(one, other)
    assert caplog.messages == []


@pytest.mark.parametrize("form", ["flat, zip", "parquet"])
def test_splits_without_published_masks(tiny_root: Path, tmp_path: Path, form: str) -> None:
    images, _ = FORMS[form](tmp_path, tiny_root, "test")
    data, prepared = opened(tiny_root, (images, None), "test"), ImageNetS(tiny_root, "test", 3)
    assert not data.has_masks
    for one, other in zip(data, prepared, strict=True):
        same(one, other)
    with pytest.raises(UsageError, match="masks of test are not published: leave `masks` out"):
        opened(tiny_root, (images, archive(tiny_root)), "test")
    for split in ("train", "train-full", "val"):
        with pytest.raises(UsageError, match=rf"no list names the images of the split '{split}'"):
            opened(tiny_root, (images, None), split)


def test_masks_may_be_left_out(plain: tuple[Path, Given]) -> None:
    root, (images, _) = plain
    data = opened(root, (images, None))
    assert "mask" not in data[0]
    with pytest.raises(UsageError, match="give `masks` to from_folders"):
        data.mask(0)


def test_the_lists_are_found_in_every_usual_place(
    plain: tuple[Path, Given], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, (images, drawn) = plain
    wanted = list(ImageNetS(root, "validation", 3).names)
    checkout = tmp_path / "ImageNet-S"
    shutil.copytree(root.parent / "index", checkout / "data")
    for index in (checkout, checkout / "data", root, root / "downloads", str(checkout)):
        assert list(ImageNetS.from_folders(images, drawn, classes=3, index=index).names) == wanted
    monkeypatch.setenv("IMAGENETS_ROOT", str(root))
    assert list(ImageNetS.from_folders(str(images), str(drawn), classes="3").names) == wanted


def ident(samples: list[Any]) -> list[Any]:
    return samples


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("form", ["flat .jpg, masks", "flat, zip", "parquet"])
def test_workers_read_the_same(tiny_root: Path, tmp_path: Path, form: str, context: str) -> None:
    data = opened(tiny_root, FORMS[form](tmp_path, tiny_root, "validation"))
    before = list(data)  # opens what must not be shared
    loader = DataLoader(data, 2, num_workers=2, collate_fn=ident, multiprocessing_context=context)
    after = [sample for batch in loader for sample in batch]
    assert len(after) == len(before)
    for one, other in zip(before, after, strict=True):
        same(one, other)


@pytest.mark.parametrize("form", ["flat .jpg, masks", "flat, zip", "parquet"])
def test_nothing_open_is_pickled(tiny_root: Path, tmp_path: Path, form: str) -> None:
    data = opened(tiny_root, FORMS[form](tmp_path, tiny_root, "validation"))
    assert data[0]["image"].shape[1:] == tuple(data.sizes[0, ::-1])  # opens what there is
    copy = pickle.loads(pickle.dumps(data))
    assert copy.digest == data.digest
    for one, other in zip(copy, data, strict=True):
        same(one, other)
    for name, encoded in copy.mask_files().items():  # what scoring sends to its workers
        assert WORLD.members[f"ImageNetS3/validation-segmentation/{name}.png"] == encoded.read()


@pytest.mark.parametrize("backend", ["processes", "threads"])
@pytest.mark.parametrize("form", ["flat .jpg, masks", "flat, zip", "parquet"])
@pytest.mark.parametrize("crop", [None, CenterCrop(12)])
def test_a_loader_gives_the_batches_of_a_prepared_set(
    tiny_root: Path, tmp_path: Path, form: str, crop: Any, backend: Any
) -> None:
    data = opened(tiny_root, FORMS[form](tmp_path, tiny_root, "validation"))
    prepared = ImageNetS(tiny_root, "validation", 3)
    options: dict[str, Any] = {"crop": crop, "seed": 3, "workers": 2, "backend": backend}
    names = []
    for one, other in zip(
        [*Loader(data, 4, **options)], [*Loader(prepared, 4, **options)], strict=True
    ):
        names += one.names
        assert one.names == other.names
        if crop is None:
            assert all(map(torch.equal, one.whole, other.whole))
        else:
            assert torch.equal(one.crops, other.crops)
            assert torch.equal(one.crop_masks, other.crop_masks)
    assert sorted(names) == list(data.names)


def test_a_transform_a_view_and_a_plot(plain: tuple[Path, Given], tmp_path: Path) -> None:
    root, given = plain
    data = opened(root, given, transform=lambda sample: sample["name"])
    assert data[0] == data.names[0]
    data.transform = None
    view = data.select(2)[::2]
    same(view[1], ImageNetS(root, "validation", 3).select(2)[::2][1])
    assert data.plot(0).size == (2 * data.sizes[0, 0], data.sizes[0, 1])


def test_the_digest_tells_other_data(tiny_root: Path, tmp_path: Path) -> None:
    at = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        at[name] = FORMS["flat .jpg, masks"](tmp_path / name, tiny_root, "validation")
    first = opened(tiny_root, at["one"]).digest
    assert opened(tiny_root, at["two"]).digest == first  # wherever it lies
    assert opened(tiny_root, (at["one"][0], None)).digest != first
    data = opened(tiny_root, at["two"])
    _, drawn = at["two"]
    assert drawn is not None
    with (drawn / f"{data.names[3]}.png").open("ab") as file:
        file.write(b"\0")
    assert opened(tiny_root, at["two"]).digest != first


def test_the_digest_of_a_zip_tells_other_bytes_of_the_same_length(
    tiny_root: Path, tmp_path: Path
) -> None:
    images = flat(tmp_path / "val", "validation")
    changed = min(name for name in WORLD.members if "validation" in name)
    digests = []
    for flip in (0, 1):
        path = tmp_path / f"{flip}.zip"
        with zipfile.ZipFile(path, "w") as file:
            for name, data in WORLD.members.items():
                last = data[-1] ^ flip if name == changed else data[-1]
                file.writestr(name, data[:-1] + bytes([last]))
        digests.append(opened(tiny_root, (images, path)).digest)
    assert digests[0] != digests[1]


def test_what_is_missing_is_named(
    plain: tuple[Path, Given], caplog: pytest.LogCaptureFixture
) -> None:
    root, (images, drawn) = plain
    names = list(ImageNetS(root, "validation", 3).names)
    for name in names[:11]:
        (images / f"{Path(name).name}.JPEG").unlink()
    with pytest.raises(MissingError) as caught:
        opened(root, (images, drawn))
    told = str(caught.value)
    assert told.startswith(f"{images}: 11 of the 12 images of validation of tier 3 are not there: ")
    assert all(name in told for name in names[:10])
    assert names[10] not in told
    assert f", and 1 more. It holds {len(WORLD.val) - 11} pictures such as ILSVRC2012_val_" in told
    assert told.endswith("or leave these out with allow_missing=True.")
    assert caplog.messages == []
    data = opened(root, (images, drawn), allow_missing=True)
    assert list(data.names) == names[11:]
    same(data[0], ImageNetS(root, "validation", 3)[11])
    (line,) = caplog.messages
    assert "11 of the 12 images of validation of tier 3 are not there and are left out" in line
    shutil.rmtree(images)
    images.mkdir()
    with pytest.raises(MissingError, match=r"none of the 12 images .* It holds no pictures\."):
        opened(root, (images, drawn), allow_missing=True)


def test_masks_that_are_missing_are_named(
    plain: tuple[Path, Given], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root, (images, drawn) = plain
    assert drawn is not None
    names = list(ImageNetS(root, "validation", 3).names)
    (drawn / f"{names[4]}.png").unlink()
    with pytest.raises(MissingError, match=rf"1 of the 12 masks .*: {names[4]}\. It holds 11 PNGs"):
        opened(root, (images, drawn))
    data = opened(root, (images, drawn), allow_missing=True)
    assert list(data.names) == names[:4] + names[5:]
    same(data[4], ImageNetS(root, "validation", 3)[5])
    assert "1 of the 12 masks" in caplog.text
    short = tmp_path / "short.zip"
    with zipfile.ZipFile(short, "w") as file:
        for name, content in WORLD.members.items():
            if names[4] not in name:
                file.writestr(name, content)
    wanted = rf"short\.zip: 1 of the 12 masks .*: {names[4]}\. It holds 17 members such as ImageN"
    with pytest.raises(MissingError, match=wanted):
        opened(root, (images, short))
    semi = drawn.parent / "train-semi-segmentation"
    with pytest.raises(
        MissingError, match=r"none of the 12 masks .* 6 PNGs such as n90000001/n900"
    ):
        opened(root, (images, semi))


def renamed_tier(drawn: Path) -> Path:
    return drawn.parent.rename(drawn.parent.with_name("ImageNetS50"))


@pytest.mark.parametrize("below", [".", "..", "validation-segmentation"])
def test_masks_of_another_tier_are_told_by_their_folder(
    plain: tuple[Path, Given], below: str
) -> None:
    root, (images, drawn) = plain
    assert drawn is not None
    with pytest.raises(UsageError, match=r"the masks of tier 50, .* or classes=50"):
        opened(root, (images, (renamed_tier(drawn) / below).resolve()))


def test_masks_of_another_tier_are_told_by_the_names_in_their_zip(
    plain: tuple[Path, Given], tmp_path: Path
) -> None:
    root, (images, _) = plain
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        for name, data in WORLD.members.items():
            file.writestr(name.replace("ImageNetS3", "ImageNetS50"), data)
    with pytest.raises(UsageError, match=r"x\.zip: these are the masks of tier 50"):
        opened(root, (images, tmp_path / "x.zip"))


@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_masks_of_another_tier_are_told_by_their_ids(
    tiny_root: Path, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {}
    for name, data in WORLD.members.items():
        ids = masks.decode(data)
        ids[(ids > 0) & (ids < 1000)] += 500
        other[name] = masks.encode(ids)
    monkeypatch.setattr(WORLD, "members", other)
    given: Given = (mirror(tmp_path / "hub", "validation"), None)
    if form == "folder":
        drawn = unpacked(tmp_path / "m") / "ImageNetS3" / "validation-segmentation"
        given = flat(tmp_path / "val", "validation"), drawn.rename(tmp_path / "drawn")
    wanted = (
        r"not the masks of tier 3: that of n90000003/\w+ has the ids \[503\], and not 3, the id"
    )
    with pytest.raises(UsageError, match=wanted):
        opened(tiny_root, given)


def test_of_two_copies_the_first_counts_and_is_told(
    plain: tuple[Path, Given], caplog: pytest.LogCaptureFixture
) -> None:
    root, (images, drawn) = plain
    shutil.copytree(images, images / "old")
    for path in (images / "old").iterdir():
        path.write_bytes(b"not this one")
    for one, other in zip(
        opened(root, (images, drawn)), ImageNetS(root, "validation", 3), strict=True
    ):
        same(one, other)
    (line,) = caplog.messages
    assert line.startswith(f"{images}: 12 files are there more than once by name; the first is ")
    assert re.search(r"such as (ILSVRC\w+\.JPEG), not old/\1$", line)


def test_of_two_rows_the_first_counts_and_is_told(
    tiny_root: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = mirror(tmp_path / "hub", "validation")
    with monkeypatch.context() as patched:
        patched.setattr(WORLD, "val", dict.fromkeys(WORLD.val, b"not this one"))
        for path in mirror(tmp_path / "other", "validation").iterdir():
            path.rename(hub / f"z{path.name}")
    for one, other in zip(
        opened(tiny_root, (hub, None)), ImageNetS(tiny_root, "validation", 3), strict=True
    ):
        same(one, other)
    assert caplog.messages == [
        f"{hub}: 12 rows are there more than once by name; the first is taken"
    ]


def test_cells_are_read_file_by_file_and_front_to_back() -> None:
    file, row = np.array([1, 0, 1, 0], np.int16), np.array([5, 9, 2, 3])
    order = Cells([], file, row).storage_order(np.array([0, 1, 2, 3]))
    assert order.tolist() == [3, 1, 2, 0]


def test_png_images(tiny_root: Path, tmp_path: Path) -> None:
    for stem, data in WORLD.val.items():
        with Image.open(io.BytesIO(data)) as image:
            (tmp_path / "png").mkdir(exist_ok=True)
            image.convert("RGB").save(tmp_path / "png" / f"{stem}.png")
    data = opened(tiny_root, (tmp_path / "png", archive(tiny_root)))
    for one, other in zip(data, ImageNetS(tiny_root, "validation", 3), strict=True):
        same(one, other)


def test_folders_given_the_wrong_way_round(plain: tuple[Path, Given]) -> None:
    root, (images, drawn) = plain
    assert drawn is not None
    with pytest.raises(UsageError, match=r"-segmentation: a folder of masks. Give it as `masks`"):
        opened(root, (drawn, images))
    other = drawn.rename(drawn.with_name("drawn"))
    with pytest.raises(UsageError, match=r"found as image and as mask\. Give two folders"):
        opened(root, (other, other))
    with pytest.raises(MissingError, match=r"none of the 12 masks .* It holds no PNGs\."):
        opened(root, (images, images))


def test_paths_that_lead_to_nothing_of_use(plain: tuple[Path, Given], tmp_path: Path) -> None:
    root, (images, drawn) = plain
    tars = WORLD.tars(tmp_path / "tars")
    nowhere = tmp_path / "nowhere"
    for given, error, wanted in (
        ((nowhere, drawn), MissingError, "nowhere: no such file or folder. Give the folder of the"),
        ((images, nowhere), MissingError, "nowhere: no such file or folder. .* or the zip of them"),
        (
            (tars, drawn),
            MissingError,
            r"no pictures; of archives it holds ILSVRC2012_img_train.tar",
        ),
        ((tars / "ILSVRC2012_img_val.tar", drawn), UsageError, "Unpack an archive first"),
        (
            (images, archive(root).parent),
            MissingError,
            r"holds ImageNetS3-\w+\.zip: .* give the zip",
        ),
        ((images / "*.parquet", drawn), MissingError, "must name parquet files, there are none"),
        ((images / "*.JPEG", drawn), MissingError, "there are such as .*JPEG. Give a folder"),
        ((images, images / f"{min(WORLD.val)}.JPEG"), CorruptError, "not a readable zip"),
    ):
        with pytest.raises(error, match=wanted):
            opened(root, given)
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "cat.jpg").write_bytes(b"a cat")
    with pytest.raises(MissingError, match=r"1 pictures such as cat.jpg, but none by its ILSVRC"):
        opened(root, (tmp_path / "cats", drawn))


def test_missing_lists_are_told_with_the_command(
    plain: tuple[Path, Given], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, (images, drawn) = plain
    monkeypatch.setenv("IMAGENETS_ROOT", str(tmp_path / "set"))
    command = f"imagenets-prepare --split 919 --download-only --root {tmp_path / 'set'}"
    with pytest.raises(MissingError) as caught:
        ImageNetS.from_folders(images, drawn)
    assert f"{tmp_path / 'set' / 'downloads'}: lacks lists of tier 919" in str(caught.value)
    assert command in str(caught.value)
    with pytest.raises(UsageError, match=r"no tier '3': .* index=FOLDER with its lists \(categor"):
        ImageNetS.from_folders(images, drawn, classes=3)
    index = Path(shutil.copytree(root.parent / "index", tmp_path / "index"))
    (index / list_paths("3")["mapping-test"]).unlink()
    with pytest.raises(MissingError, match=r"lacks lists of tier 3 \(mapping/\S+test\.txt\)\."):
        ImageNetS.from_folders(images, drawn, classes=3, index=index)


def test_lists_of_a_published_tier_must_be_the_published_ones(
    plain: tuple[Path, Given], tmp_path: Path
) -> None:
    _, (images, drawn) = plain
    for what, place in list_paths("50").items():
        path = tmp_path / "fake" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(WORLD.lists[what]))
    with pytest.raises(CorruptError, match=r"im50\.txt: not the published list: its SHA-256"):
        ImageNetS.from_folders(images, drawn, classes=50, index=tmp_path / "fake")


def test_files_that_go_or_break_after_opening(plain: tuple[Path, Given]) -> None:
    root, (images, drawn) = plain
    assert drawn is not None
    data = opened(root, (images, drawn))
    first, second, third = (images / f"{Path(name).name}.JPEG" for name in data.names[:3])
    first.unlink()
    with pytest.raises(MissingError, match=f"{first}: cannot be read"):
        data[0]
    with pytest.raises(MissingError, match=f"{first}: cannot be read"):
        data.sizes  # noqa: B018 - reads the headers
    with pytest.raises(MissingError, match=f"{first}: cannot be read"):
        data.digest  # noqa: B018 - asks for the sizes of files
    second.write_bytes(b"no image")
    with pytest.raises(CorruptError, match=rf"{second} .*: not a readable image .*raw data"):
        data[1]
    with pytest.raises(CorruptError, match=f"{second}: not a readable image"):
        data.sizes_of(np.array([1]))
    third.write_bytes(WORLD.val[Path(data.names[5]).name])
    with pytest.raises(CorruptError, match="Take image and mask from one source"):
        data[2]
    (drawn / f"{data.names[3]}.png").unlink()
    with pytest.raises(MissingError, match=r"\.png: cannot be read"):
        data[3]


def test_a_zip_that_would_lead_out_of_its_folder(plain: tuple[Path, Given], tmp_path: Path) -> None:
    root, (images, _) = plain
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("../../out.png", b"?")
    with pytest.raises(CorruptError, match="points out of the archive's folder"):
        opened(root, (images, tmp_path / "x.zip"))


def test_parquet_files_that_do_not_serve(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'imagenets[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    hub = mirror(tmp_path / "hub", "validation")
    first = hub / "validation-00000-of-00002.parquet"
    with pytest.raises(
        MissingError, match=r"of the 12 images .* It has \d+ rows such as ILSVRC2012"
    ):
        opened(tiny_root, (first, None))
    nameless = tmp_path / "nameless.parquet"
    parquet.write_table(pyarrow.table({"image": [b"?"], "label": [0]}), nameless)
    with pytest.raises(MissingError, match=r"none of the 12 .* It has 1 rows without file names"):
        opened(tiny_root, (nameless, None))
    labels = tmp_path / "labels.parquet"
    parquet.write_table(pyarrow.table({"label": [0]}), labels)
    with pytest.raises(UsageError, match="nor a parquet file with a column of images"):
        opened(tiny_root, (labels, None))
    data = opened(tiny_root, (hub, None))
    os.utime(first, ns=(1, 1))
    with pytest.raises(CorruptError, match="has changed since its images were listed"):
        list(pickle.loads(pickle.dumps(data)))  # as a spawned worker opens it
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DependencyError, match=r"pip install 'imagenets\[parquet\]'"):
        opened(tiny_root, (hub, None))


def test_files_of_other_splits_and_of_no_images_are_left_alone(
    tiny_root: Path, tmp_path: Path
) -> None:
    hub = mirror(tmp_path / "hub", "validation")
    for name in ("train-00000-of-00294.parquet", "test-00000.parquet", "._validation.parquet"):
        (hub / name).write_bytes(b"PAR1, and then nothing of use")
    assert len(opened(tiny_root, (hub, None))) == 12
    images = flat(tmp_path / "val", "validation")
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"label": [0]})
    pytest.importorskip("pyarrow.parquet").write_table(table, images / "metadata.parquet")
    assert len(opened(tiny_root, (images, archive(tiny_root)))) == 12


@pytest.mark.slow
@needs_shared
def test_photographs_read_in_place_are_those_of_a_prepared_set(tmp_path: Path) -> None:
    """ETH-80: the archive of images unpacked, the zip of masks read where it lies."""
    given = SHARED / "data" / "eth80"
    drawn = next(given.glob("ImageNetS8-*.zip"))
    root, words = tmp_path / "root", ["--split", "8", "--subsets", "validation", "--workers", "1"]
    paths = {"imagenet": given / "ILSVRC2012_img_val.tar", "index": given / "index"}
    options = [f"--{name}={path}" for name, path in paths.items()]
    assert prepare.main([*words, *options, f"--annotations={drawn}", f"--root={root}"]) == 0
    shutil.unpack_archive(given / "ILSVRC2012_img_val.tar", tmp_path / "val", filter="data")
    index = given / "index"
    data = ImageNetS.from_folders(tmp_path / "val", drawn, classes=8, index=index)
    prepared = ImageNetS(root, "validation", 8)
    assert len(data) == 656
    for one, other in zip(data, prepared, strict=True):
        same(one, other)
