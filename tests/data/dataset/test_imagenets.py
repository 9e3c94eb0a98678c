"""ImageNetS gives the same samples in the same order from shards and from a tree."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import re
import shutil
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import tiny
from torch.utils.data import DataLoader

from imagenets import collate, masks
from imagenets.classes import ilsvrc_classes
from imagenets.data.dataset import opening, tree_store
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.shards import (
    SAMPLE_DTYPE,
    Manifest,
    ShardInfo,
    ShardSample,
    SplitInfo,
    write_shard,
)
from imagenets.errors import CorruptError, ImageNetSError, MissingError, UsageError
from imagenets.palette import palette
from imagenets.tiers import Tier, list_paths

CLASSES = ("n90000001", "n90000002", "n90000003")
SOURCES = (*CLASSES, "n90000009")  # the last is outside the tier
SPLITS = {"train": 4, "train-semi": 2, "validation": 3, "test": 1}


def jpeg(rng: np.random.Generator, mode: str = "RGB") -> tuple[bytes, int, int]:
    width, height = (int(side) for side in rng.integers(20, 60, 2))
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue(), width, height


def make_samples(split: str, rng: np.random.Generator) -> list[ShardSample]:
    """Samples in canonical order; validation images of the last class have another source."""
    samples = []
    for rank, wnid in enumerate(CLASSES):
        for number in range(SPLITS[split]):
            training = split.startswith("train")
            base = {"validation": 100, "test": 200}.get(split, 0)
            stem = (
                f"{wnid}_{number}" if training else f"ILSVRC2012_val_{base + number * 7:05d}{rank}"
            )
            source = 3 if not training and rank == 2 and number == 0 else rank
            data, width, height = jpeg(rng, ("RGB", "L", "CMYK", "RGB")[number % 4])
            mask = None
            if split in ("train-semi", "validation"):
                ids = rng.choice([0, rank + 1, 1000], (height, width))
                mask = masks.encode(ids)
            samples.append(ShardSample(stem, wnid, rank + 1, source, width, height, data, mask))
    return samples


def write_set(root: Path) -> None:
    """Writes the same samples as shards, as a tree, and their lists below `downloads`."""
    rng = np.random.default_rng(0)
    shards = root / "ImageNetS3.shards"
    shards.mkdir(parents=True)
    infos, splits = [], {}
    for split in SPLITS:
        samples = make_samples(split, rng)
        splits[split] = SplitInfo([split], len(samples), samples[0].mask is not None)
        for number, first in enumerate(range(0, len(samples), 5)):
            path = shards / f"{split}-{number:05d}.h5"
            write_shard(path, samples[first : first + 5], {"group": split})
            count = len(samples[first : first + 5])
            infos.append(ShardInfo(path.name, split, count, path.stat().st_size, "0" * 64))
        write_tree(root / "ImageNetS3", split, samples)
        write_lists(root / "downloads", split, samples)
    Manifest("3", list(CLASSES), list(SOURCES), splits, infos).save(shards)


def write_tree(tree: Path, split: str, samples: list[ShardSample]) -> None:
    for sample in samples:
        for kind, data, end in (("", sample.image, "JPEG"), ("-segmentation", sample.mask, "png")):
            if data is not None:
                path = tree / f"{split}{kind}" / sample.wnid / f"{sample.name}.{end}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


def write_lists(index: Path, split: str, samples: list[ShardSample]) -> None:
    paths = list_paths("3")
    lines = {"categories": list(CLASSES)}
    names = [f"{s.wnid}/{s.name}" for s in samples]
    lines[f"names-{split}"] = [f"{name}.JPEG {name}.png" for name in names]
    sources = [f"{SOURCES[s.ilsvrc]}/{s.name}" for s in samples]
    pairs = zip(sources, names, strict=True)
    lines[f"mapping-{split}"] = [f"{source}.JPEG {name}.JPEG" for source, name in pairs]
    for what in paths.keys() & lines.keys():
        (index / paths[what]).parent.mkdir(parents=True, exist_ok=True)
        (index / paths[what]).write_text("\n".join(lines[what]))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set") / "root"
    write_set(root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "root"))


def same(one: Any, other: Any) -> bool:
    tensors = {key for key, value in one.items() if isinstance(value, torch.Tensor)}
    rest = one.keys() - tensors
    return (
        one.keys() == other.keys()
        and all(torch.equal(one[key], other[key]) for key in tensors)
        and all(one[key] == other[key] for key in rest)
    )


@pytest.mark.parametrize("split", list(SPLITS))
def test_shards_and_tree_give_the_same_samples_in_the_same_order(made: Path, split: str) -> None:
    shards = ImageNetS(made, split, 3, layout="shards")
    tree = ImageNetS(made, split, 3, layout="tree")
    assert len(shards) == len(tree) == 3 * SPLITS[split]
    assert list(shards.names) == list(tree.names) == sorted(shards.names)
    assert all(same(a, b) for a, b in zip(shards, tree, strict=True))
    for fact in ("class_ids", "ilsvrc", "sizes"):
        np.testing.assert_array_equal(getattr(shards, fact), getattr(tree, fact))
    assert shards.classes == tree.classes == CLASSES
    assert shards.source_classes == tree.source_classes == SOURCES
    assert shards.class_ids.dtype == shards.ilsvrc.dtype == np.int16


def test_a_sample_is_what_pillow_decodes(made: Path) -> None:
    dataset = ImageNetS(made, "validation", 3)
    for index, sample in enumerate(dataset):
        wnid, stem = sample["name"].split("/")
        folder = made / "ImageNetS3"
        with Image.open(folder / "validation" / wnid / f"{stem}.JPEG") as image:
            wanted = np.asarray(image.convert("RGB"))
        assert sample["image"].dtype == torch.uint8
        assert sample["image"].is_contiguous()
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), wanted)
        assert sample["mask"].dtype == torch.int64
        ids = masks.decode(folder / "validation-segmentation" / wnid / f"{stem}.png")
        np.testing.assert_array_equal(sample["mask"], ids)
        assert sample["class_id"] == 1 + CLASSES.index(wnid) == dataset.class_ids[index]
        assert tuple(dataset.sizes[index]) == (wanted.shape[1], wanted.shape[0])


@pytest.mark.parametrize("lists", [True, False])
def test_folders_that_name_no_class_are_left_out(
    root: Path, lists: bool, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = ImageNetS(root, "validation", 3, layout="tree")
    for split in ("train", "validation", "validation-segmentation"):
        strange = root / "ImageNetS3" / split / ".ipynb_checkpoints"
        shutil.copytree(root / "ImageNetS3" / split / CLASSES[0], strange)
    if lists:  # they name the classes of the tier: one of another tier is a stranger, too
        unlisted = root / "ImageNetS3" / "validation" / "n00000001"
        shutil.copytree(root / "ImageNetS3" / "validation" / CLASSES[0], unlisted)
    else:
        shutil.rmtree(root / "downloads")
    found = ImageNetS(root, "validation", 3, layout="tree")
    assert found.classes == CLASSES
    assert list(found.names) == list(wanted.names)
    assert np.array_equal(found.class_ids, wanted.class_ids)
    folder = root / "ImageNetS3" / "validation"
    told = [line for line in caplog.messages if line.startswith(f"{folder}: ")]
    told = [line for line in told if "are left out" in line]
    assert len(told) == 1
    assert ".ipynb_checkpoints" in told[0]


def test_ilsvrc_is_the_images_own_class_from_the_mapping(root: Path) -> None:
    first_of_last_class = 2 * SPLITS["validation"]
    for layout in ("shards", "tree"):
        dataset = ImageNetS(root, "validation", 3, layout=layout)  # type: ignore[arg-type]
        assert dataset[first_of_last_class]["ilsvrc"] == SOURCES.index("n90000009")
    shutil.rmtree(root / "downloads")
    blind = ImageNetS(root, "validation", 3, layout="tree")
    assert blind[first_of_last_class]["ilsvrc"] == CLASSES.index("n90000003")
    assert blind.classes == CLASSES


def test_masks_can_be_left_out(made: Path) -> None:
    assert "mask" not in ImageNetS(made, "validation", 3, masks=False)[0]
    assert "mask" not in ImageNetS(made, "test", 3)[0]
    assert not ImageNetS(made, "test", 3).has_masks


def test_indices(made: Path) -> None:
    dataset = ImageNetS(made, "train", 3)
    assert same(dataset[-1], dataset[11])
    assert same(dataset[np.int64(3)], dataset[3])  # type: ignore[call-overload]
    assert [s["name"] for s in dataset.__getitems__([5, 1])] == [dataset.names[5], dataset.names[1]]
    for index in (12, -13):
        with pytest.raises(IndexError, match="train of tier 3 has 12 images"):
            dataset[index]
    with pytest.raises(TypeError):
        dataset["1"]  # type: ignore[call-overload]


@given(st.slices(12), st.slices(12))
@settings(max_examples=60, deadline=None)
def test_slices_are_views_that_behave_like_lists(made: Path, first: slice, second: slice) -> None:
    dataset = ImageNetS(made, "train", 3)
    view = dataset[first][second]
    names = list(dataset.names)[first][second]
    assert list(view.names) == names == list(dataset.names[first][second])
    assert len(view) == len(names) == len(view.class_ids) == len(view.sizes)
    assert [CLASSES[i - 1] for i in view.class_ids] == [name.split("/")[0] for name in names]


def test_select_keeps_classes_only(made: Path) -> None:
    dataset = ImageNetS(made, "train", 3)
    assert {name[:9] for name in dataset.select(1, "n90000003").names} == {CLASSES[0], CLASSES[2]}
    assert (
        list(dataset[::2].select(2).names) == [n for n in dataset.names if n[:9] == CLASSES[1]][::2]
    )
    for wrong in (4, -1, "n00000000"):
        with pytest.raises(UsageError, match="no class of tier 3"):
            dataset.select(wrong)


def test_a_transform_gets_the_whole_sample(made: Path) -> None:
    dataset = ImageNetS(made, "validation", 3, transform=lambda sample: sorted(sample))
    assert dataset[0] == ["class_id", "ilsvrc", "image", "mask", "name"]


def test_plot_shows_photo_and_overlay_side_by_side(made: Path, tmp_path: Path) -> None:
    dataset = ImageNetS(made, "validation", 3)
    sample = dataset[4]
    picture = np.asarray(dataset.plot(4, tmp_path / "plot.png"))
    photo = sample["image"].permute(1, 2, 0).numpy()
    width = photo.shape[1]
    assert picture.shape == (photo.shape[0], 2 * width, 3)
    np.testing.assert_array_equal(picture[:, :width], photo)
    changed = (picture[:, width:] != photo).any(-1)
    assert not changed[sample["mask"] == 0].any()
    assert changed[sample["mask"] == 2].mean() > 0.9
    with Image.open(tmp_path / "plot.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), picture)
    assert ImageNetS(made, "test", 3).plot(0).size == tuple(ImageNetS(made, "test", 3).sizes[0])


def test_plot_names_the_classes_below(made: Path) -> None:
    dataset = ImageNetS(made, "validation", 3)
    plain, named = np.asarray(dataset.plot(4)), np.asarray(dataset.plot(4, names=True))
    assert named.shape == (plain.shape[0] + 16, *plain.shape[1:])  # one class, ignored aside
    np.testing.assert_array_equal(named[: len(plain)], plain)
    assert (named[len(plain) + 8, 8] == palette()[2]).all()
    assert (named[len(plain) :, 20:].min(axis=-1) < 128).any()  # there is a text
    test = ImageNetS(made, "test", 3)  # has no masks
    assert test.plot(0, names=True).size == test.plot(0).size


def test_class_names_are_those_of_wordnet(made: Path, tmp_path: Path) -> None:
    assert ImageNetS(made, "validation", 3).class_names == CLASSES  # none of ILSVRC's
    photos = tmp_path / "photos"
    photos.mkdir()
    world = tiny(train=1, val=1)
    for old, new in zip(CLASSES, ("n01440764", "n02012849", "n03126707"), strict=True):
        world = world.renamed(old, new)
    for stem, data in world.val.items():
        (photos / f"{stem}.JPEG").write_bytes(data)
    index = world.index(tmp_path / "index")
    data = ImageNetS.from_folders(photos, split="validation", classes=3, index=index)
    assert data.class_names == ("tench", "crane (bird)", "crane (machine)")


def test_the_palette_tells_classes_apart() -> None:
    colours = palette()
    assert colours.shape == (1001, 3)
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1000].tolist() == [255, 255, 255]
    near = colours[1:51].astype(int)
    distances = np.abs(near[:, None] - near[None]).sum(-1) + 999 * np.eye(50, dtype=int)
    assert distances.min() > 20


def ident(samples: list[Any]) -> list[Any]:
    return samples


@pytest.mark.parametrize(
    ("layout", "context"), [("shards", "fork"), ("tree", "fork"), ("shards", "spawn")]
)
def test_workers_read_the_same(made: Path, layout: Any, context: str) -> None:
    dataset = ImageNetS(made, "validation", 3, layout=layout)
    before = [
        dataset[index] for index in range(len(dataset))
    ]  # opens files that must not be shared
    loader = DataLoader(
        dataset, batch_size=2, num_workers=1, collate_fn=ident, multiprocessing_context=context
    )
    after = [sample for batch in loader for sample in batch]
    assert all(same(a, b) for a, b in zip(before, after, strict=True))


def test_nothing_open_is_pickled_and_memory_stays_small(made: Path) -> None:
    dataset = ImageNetS(made, "train", 3)
    dataset[0]
    data = pickle.dumps(dataset)
    images = sum(path.stat().st_size for path in (made / "ImageNetS3" / "train").rglob("*.JPEG"))
    assert len(data) < images / 2
    assert same(pickle.loads(data)[5], dataset[5])


def test_a_forked_child_opens_the_files_for_itself(made: Path) -> None:
    dataset = ImageNetS(made, "train", 3)
    wanted = dataset[0]["image"]
    reader = dataset._store._readers[0]  # type: ignore[attr-defined]
    handle = reader._map

    def child(queue: Any) -> None:
        image = dataset[0]["image"]
        queue.put((torch.equal(image, wanted), reader._map is handle))

    queue = (context := multiprocessing.get_context("fork")).SimpleQueue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    equal, shared = queue.get()
    process.join()
    assert equal
    assert not shared


def test_only_so_many_shards_stay_open(tmp_path: Path) -> None:
    linked_shards(tmp_path, 300, 2)
    dataset = ImageNetS(tmp_path, "train")
    for index in (*range(600), 0):
        assert bytes(dataset.encoded(index).image) == b"x"
    readers = dataset._store._readers  # type: ignore[attr-defined]
    assert sum(reader._map is not None for reader in readers) == 256
    copy = pickle.loads(pickle.dumps(dataset))
    assert not copy._store._mapped


# ---- train-full --------------------------------------------------------------------------------


MERGED = {"n04493381": "n02808440"}


@pytest.fixture
def full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tier of two ILSVRC classes, beside one merged into the first and one outside."""
    for module in (opening, tree_store):
        tiers = {"2": Tier("2", (), None, {"train-full": 8}, MERGED)}
        monkeypatch.setattr(module, "TIERS", tiers)
    rng = np.random.default_rng(1)
    classes = ("n02808440", "n03773504")
    groups: dict[str, list[ShardSample]] = {"train": [], "train-rest": []}
    for wnid in (*classes, "n04009552", "n04493381"):
        folder = MERGED.get(wnid, wnid)
        class_id = classes.index(folder) + 1 if folder in classes else 0
        for number in range(2):
            data, width, height = jpeg(rng)
            rank = ilsvrc_classes().index(wnid)
            sample = ShardSample(f"{wnid}_{number}", folder, class_id, rank, width, height, data)
            groups["train" if class_id else "train-rest"].append(sample)
            write_tree(tmp_path / "ImageNetS2", "train-full", [replace(sample, wnid=wnid)])
    groups["train"].sort(key=lambda sample: (sample.wnid, sample.name))
    write_tree(tmp_path / "ImageNetS2", "train", groups["train"])
    shards = tmp_path / "ImageNetS2.shards"
    shards.mkdir()
    infos = []
    for group, samples in groups.items():
        write_shard(shards / f"{group}-00000.h5", samples, {"group": group})
        infos.append(ShardInfo(f"{group}-00000.h5", group, len(samples), 0, ""))
    splits = {
        "train": SplitInfo(["train"], 6, masks=False),
        "train-full": SplitInfo(["train", "train-rest"], 8, masks=False),
    }
    Manifest("2", list(classes), list(ilsvrc_classes()), splits, infos).save(shards)
    return tmp_path


@pytest.mark.parametrize("layout", ["shards", "tree"])
def test_train_full_has_ilsvrcs_own_folders_in_canonical_order(full: Path, layout: Any) -> None:
    dataset = ImageNetS(full, "train-full", 2, layout=layout)
    files = sorted((full / "ImageNetS2" / "train-full").rglob("*.JPEG"))
    assert list(dataset.names) == [f"{path.parent.name}/{path.stem}" for path in files]
    assert dataset.class_ids.tolist() == [1, 1, 2, 2, 0, 0, 1, 1]
    assert [ilsvrc_classes()[rank] for rank in dataset.ilsvrc] == [n[:9] for n in dataset.names]
    for sample, path, size in zip(dataset, files, dataset.sizes, strict=True):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(sample["image"].permute(1, 2, 0), pixels)
        assert tuple(size) == image.size
    train = ImageNetS(full, "train", 2, layout=layout)
    assert [name[:9] for name in train.names] == ["n02808440"] * 4 + ["n03773504"] * 2
    assert [ilsvrc_classes()[rank] for rank in train.ilsvrc] == [n[10:19] for n in train.names]


def test_train_full_belongs_to_919(made: Path) -> None:
    with pytest.raises(MissingError, match="without the split train-full"):
        ImageNetS(made, "train-full", 3)
    with pytest.raises(UsageError, match="no split 'train-full' of tier 50"):
        ImageNetS(made, "train-full", 50)


def test_an_official_tree_without_lists_does_not_guess_class_ids(full: Path) -> None:
    shutil.rmtree(full / "ImageNetS2" / "train" / "n03773504")
    with pytest.raises(MissingError, match=r"1 classes of 2.*categories_im2"):
        ImageNetS(full, "train-full", 2, layout="tree")


def test_a_subset_takes_numbers_or_a_boolean_for_each_sample(made: Path) -> None:
    data = ImageNetS(made, "train", 3)
    chosen = data.subset(data.class_ids == 2)
    assert list(chosen.names) == [
        n for n, c in zip(data.names, data.class_ids, strict=True) if c == 2
    ]
    assert list(data.subset([3, 1, 1]).names) == [data.names[i] for i in (3, 1, 1)]
    assert list(data.subset([]).names) == []
    assert len(data.subset(np.zeros(len(data), np.bool_))) == 0
    for bad in ([True, False], np.ones(len(data) + 1, np.bool_)):
        with pytest.raises(IndexError, match="give one for each"):
            data.subset(bad)
    for wrong in ([0.0, 1.0], ["a"], np.array([0.5])):
        with pytest.raises(UsageError, match="give whole numbers"):
            data.subset(wrong)
    with pytest.raises(IndexError):
        data.subset([len(data)])
    with pytest.raises(TypeError, match="index is True"):
        data[True]
    with pytest.raises(TypeError):
        data[1.0]  # type: ignore[call-overload]
    with pytest.raises(UsageError, match="True is no class"):
        data.select(True)


def test_masks_are_read_without_their_images(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageNetS(made, "validation", 3)
    expected = {sample["name"]: sample["mask"].numpy() for sample in data}
    monkeypatch.setattr("imagenets.data.dataset.imagenets._decode", None)
    for index, (name, file) in enumerate(data.mask_files().items()):
        assert (data.mask(index) == expected[name]).all()
        assert (masks.decode(bytes(file.read())) == expected[name]).all()
    with pytest.raises(UsageError, match="has no masks"):
        ImageNetS(made, "train", 3).mask(0)


def test_the_digest_of_a_split_is_that_of_its_samples(made: Path) -> None:
    data = ImageNetS(made, "train", 3)
    assert data.digest == ImageNetS(made, "train", 3).digest
    others = [data[1:], data.subset([1, 0]), ImageNetS(made, "validation", 3)]
    assert len({data.digest, *(other.digest for other in others)}) == 4


def test_the_tier_in_place_of_the_split_is_told(made: Path) -> None:
    with pytest.raises(UsageError, match=r"split is 3: .*classes=3"):
        ImageNetS(made, 3)  # type: ignore[call-overload]


def test_whole_images_are_collated(made: Path) -> None:
    data = ImageNetS(made, "validation", 3)
    (batch,) = torch.utils.data.DataLoader(data, len(data), collate_fn=collate)
    assert [tuple(image.shape[1:]) for image in batch["image"]] == [
        tuple(mask.shape) for mask in batch["mask"]
    ]
    assert batch["class_id"].tolist() == data.class_ids.tolist()
    assert batch["name"] == list(data.names)
    plain = collate([ImageNetS(made, "train", 3)[0]])
    assert "mask" not in plain


# ---- what is told when something is wrong ------------------------------------------------------


def test_the_sets_own_folder_will_do(made: Path) -> None:
    for folder in ("ImageNetS3", "ImageNetS3.shards"):
        assert ImageNetS(made / folder).tier == "3"
    with pytest.raises(UsageError, match="of tier 3, not 50"):
        ImageNetS(made / "ImageNetS3", classes=50)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"split": "val"}, UsageError, "no split 'val'.*validation"),
        ({"layout": "zip"}, UsageError, "no layout 'zip'"),
        (
            {"classes": 50},
            MissingError,
            "no ImageNetS50.*Tier 3 is here: classes=3.*--split 50 --root",
        ),
    ],
)
def test_what_is_not_there_is_told_with_a_remedy(
    made: Path, arguments: dict[str, Any], error: type[ImageNetSError], words: str
) -> None:
    with pytest.raises(error, match=words):
        ImageNetS(made, **{"classes": 3, **arguments})


def test_a_missing_root_a_lacking_split_and_unfinished_shards(root: Path) -> None:
    with pytest.raises(MissingError, match=r"no such folder.*imagenets-prepare --split 919"):
        ImageNetS(root / "nowhere")
    shutil.rmtree(root / "ImageNetS3" / "test")
    with pytest.raises(MissingError, match=r"without the split test.*--subsets test"):
        ImageNetS(root, "test", 3, layout="tree")
    assert len(ImageNetS(root, "test", 3)) == 3  # auto: the shards have it
    (root / "ImageNetS3.shards" / "manifest.json").unlink()
    assert len(ImageNetS(root, "train", 3)) == 12  # auto: the tree stands in
    with pytest.raises(MissingError, match="holds no finished set"):
        ImageNetS(root, "train", 3, layout="shards")


def test_a_lost_shard_and_a_lost_file_are_named(root: Path) -> None:
    lost = next((root / "ImageNetS3.shards").glob("train-0*.h5"))
    lost.unlink()
    with pytest.raises(MissingError, match=re.escape(str(lost))):
        ImageNetS(root, "train", 3)
    tree = ImageNetS(root, "train", 3, layout="tree")
    (root / "ImageNetS3" / "train" / f"{tree.names[3]}.JPEG").unlink()
    with pytest.raises(MissingError, match=f"{tree.names[3]}.JPEG: is missing"):
        tree[3]


def test_broken_pixels_are_told_with_the_sample(root: Path) -> None:
    tree = ImageNetS(root, "validation", 3, layout="tree")
    image = root / "ImageNetS3" / "validation" / f"{tree.names[1]}.JPEG"
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(CorruptError, match=f"{tree.names[1]}.*not a readable image"):
        tree[1]
    mask = root / "ImageNetS3" / "validation-segmentation" / f"{tree.names[2]}.png"
    mask.write_bytes(masks.encode(np.zeros((5, 7), np.uint16)))
    with pytest.raises(CorruptError, match=f"{tree.names[2]}.*the mask is 7 x 5, the image"):
        tree[2]
    mask.write_bytes(b"no picture")
    with pytest.raises(CorruptError, match=f"{tree.names[2]}.*not a readable PNG"):
        tree[2]


# ---- true size ---------------------------------------------------------------------------------


def linked_shards(root: Path, count: int, each: int) -> None:
    """Writes a split of equal shards, which are one file."""
    shards = root / "ImageNetS919.shards"
    shards.mkdir()
    sample = ShardSample("n01440764_12345678", "n01440764", 1, 0, 500, 375, b"x")
    write_shard(shards / "first.h5", [sample] * each, {})
    infos = []
    for number in range(count):
        os.link(shards / "first.h5", shards / f"train-{number:05d}.h5")
        infos.append(ShardInfo(f"train-{number:05d}.h5", "train", each, 0, ""))
    splits = {"train": SplitInfo(["train"], count * each, masks=False)}
    Manifest("919", ["n01440764"], ["n01440764"], splits, infos).save(shards)


def test_many_shards_open_fast_and_small(tmp_path: Path) -> None:
    """A quarter of train-full, 320,000 samples of one byte, so that it takes a moment only."""
    count, each = 156, 2048
    linked_shards(tmp_path, count, each)
    start = time.process_time()
    dataset = ImageNetS(tmp_path, "train")
    assert time.process_time() - start < 1.5  # some 0.3 s; the bound allows for a busy machine
    assert len(dataset) == count * each
    assert len(pickle.dumps(dataset)) < 1.1 * len(dataset) * (SAMPLE_DTYPE.itemsize + 4)
    tracemalloc.start()
    again = ImageNetS(tmp_path, "train")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.4 * len(again) * SAMPLE_DTYPE.itemsize  # no table is held twice


def test_a_shard_of_another_length_is_named(tmp_path: Path) -> None:
    linked_shards(tmp_path, 2, 3)
    manifest = Manifest.load(tmp_path / "ImageNetS919.shards")
    manifest.shards[1] = replace(manifest.shards[1], samples=4)
    manifest.splits["train"] = replace(manifest.splits["train"], samples=7)
    manifest.save(tmp_path / "ImageNetS919.shards")
    said = r"train-00001\.h5: holds 3 samples, the manifest says 4\. Delete this file"
    with pytest.raises(CorruptError, match=said):
        ImageNetS(tmp_path, "train")
