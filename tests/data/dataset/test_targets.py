"""The mask of the label: by the image's own ILSVRC class, through the merges, never by folder."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from beside import SHARED, needs_shared
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tiny import OUTSIDE, Tiny, tiny
from torch.utils.data import DataLoader
from world import World

from imagenets import CenterCrop, ImageNetS, Loader, collate, masks
from imagenets.classes import ilsvrc_classes
from imagenets.data.dataset.sample import Sample
from imagenets.data.dataset.targets import labels_of, target_of
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.pixels.ragged import RaggedBatch
from imagenets.tiers import TIERS

MERGED = {
    "n04356056": "n04355933",
    "n04493381": "n02808440",
    "n03642806": "n03832673",
    "n04008634": "n03773504",
    "n03887697": "n15075141",
}


def plain_target(ids: np.ndarray[Any, Any], wanted: int) -> np.ndarray[Any, Any]:
    made = np.zeros(ids.shape, np.uint8)
    for place in np.ndindex(ids.shape):
        if ids[place] == 1000:
            made[place] = 255
        elif wanted > 0 and ids[place] == wanted:
            made[place] = 1
    return made


@given(
    arrays.arrays(np.int16, (3, 4, 5), elements=st.sampled_from([0, 1, 2, 256, 919, 1000])),
    st.lists(st.sampled_from([0, 1, 2, 256, 919]), min_size=3, max_size=3),
)
def test_a_target_is_what_a_plain_loop_says(ids: np.ndarray[Any, Any], wanted: list[int]) -> None:
    expected = [plain_target(mask, one) for mask, one in zip(ids, wanted, strict=True)]
    found = target_of(torch.from_numpy(ids), torch.tensor(wanted))
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found, np.stack(expected))
    one = target_of(torch.from_numpy(ids[0].astype(np.int64)), wanted[0])
    np.testing.assert_array_equal(one, expected[0])


def test_merged_labels_share_an_id() -> None:
    assert dict(TIERS["919"].merges) == MERGED
    wnids = ilsvrc_classes()
    classes = tuple(wnid for wnid in wnids[:850] + wnids[995:] if wnid not in MERGED)
    labels = labels_of("919", classes, wnids)
    for old, new in MERGED.items():
        if new in classes:
            pair = sorted([wnids.index(old), wnids.index(new)])
            class_id = 1 + classes.index(new)
            assert labels.ids[pair].tolist() == [class_id, class_id]
            assert labels.indices[class_id].tolist() == pair
    assert labels.ids[900] == 0
    assert 900 in labels.indices[0]
    assert len(labels.indices) == 1 + len(classes)
    assert sum(map(len, labels.indices)) == 1000
    assert (
        labels_of("300", classes, wnids).ids[wnids.index("n04356056")] == 0
    )  # merged in 919 alone
    assert not labels.ids.flags.writeable


@pytest.fixture(scope="module")
def world() -> Tiny:
    return tiny(train=8, val=4)  # what `tiny_root` was made from


def sources(world: Tiny, split: str) -> dict[str, str]:
    pairs = (line.split() for line in world.lists[f"mapping-{split}"])
    return {Path(source).stem: source[:9] for source, _ in pairs}


@pytest.mark.parametrize("split", ["validation", "train-semi"])
def test_a_sample_has_the_target_of_its_label(tiny_root: Path, world: Tiny, split: str) -> None:
    data = ImageNetS(tiny_root, split, "3", target="label")
    own = {} if split == "train-semi" else sources(world, split)
    strangers = 0
    for index, sample in enumerate(data):
        stem = sample["name"].partition("/")[2]
        wnid = own.get(stem, stem[:9])
        wanted = 1 + world.classes.index(wnid) if wnid in world.classes else 0
        assert sample["target_id"] == wanted == data.target_ids[index]
        assert sample["target"].dtype == torch.uint8
        np.testing.assert_array_equal(sample["target"], plain_target(data.mask(index), wanted))
        assert sample["present"] is bool((sample["target"] == 1).any())
        strangers += sample["target_id"] != sample["class_id"]
    assert strangers if split == "validation" else not strangers


def test_a_label_outside_the_tier_has_no_target(tiny_root: Path, world: Tiny) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    outside = [s for s in data if sources(world, "validation")[s["name"][10:]] == OUTSIDE]
    assert outside
    assert all(s["target_id"] == 0 and not s["present"] for s in outside)
    assert all(set(s["target"].unique().tolist()) <= {0, 255} for s in outside)


def test_views_keep_the_target(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    view = data.subset([5, 2])
    assert view[0]["target_id"] == data[5]["target_id"]
    assert view.target_ids.tolist() == data.target_ids[[5, 2]].tolist()
    assert torch.equal(view[1]["target"], data[2]["target"])


def test_present_is_of_what_the_transform_leaves(tiny_root: Path) -> None:
    def corner(sample: Sample) -> Sample:
        return {**sample, "target": sample["target"][-1:, -1:]}

    data = ImageNetS(tiny_root, "validation", "3", transform=corner, target="label")
    before = ImageNetS(tiny_root, "validation", "3", target="label")
    assert any(sample["present"] for sample in before)
    assert not any(sample["present"] for sample in data)


def test_a_batch_of_torch_has_them(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    (batch,) = DataLoader(data, len(data), collate_fn=collate)
    assert batch["target_id"].tolist() == data.target_ids.tolist()
    assert batch["present"].tolist() == [sample["present"] for sample in data]
    assert all(map(torch.equal, batch["target"], (sample["target"] for sample in data)))
    (plain,) = DataLoader(ImageNetS(tiny_root, "validation", "3"), len(data), collate_fn=collate)
    assert not {"target", "target_id", "present"} & plain.keys()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_the_targets_of_its_crops(tiny_root: Path, workers: int) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    seen = 0
    for batch in Loader(data, 5, crop=CenterCrop(8, 64), workers=workers, backend="threads"):
        assert isinstance(batch.targets, torch.Tensor)
        assert batch.target_ids is not None
        ids = batch.target_ids.tolist()
        expected = [plain_target(m.numpy(), i) for m, i in zip(batch.crop_masks, ids, strict=True)]
        np.testing.assert_array_equal(batch.targets, np.stack(expected))
        assert batch.present.tolist() == [bool((one == 1).any()) for one in expected]
        assert ids == data.target_ids[batch.indices].tolist()
        seen += len(batch)
    assert seen == len(data)
    whole = [sample["present"] for sample in data]
    crops = Loader(data, len(data), crop=CenterCrop(2, 64))
    assert next(iter(crops)).present.tolist() != whole  # an object that the crop has lost


def test_objects_as_quantus_wants_them(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    batch = next(iter(Loader(data, 5, crop=CenterCrop(8, 64))))
    assert isinstance(batch.targets, torch.Tensor)
    assert batch.s_batch.shape == (5, 1, 8, 8)
    assert batch.s_batch.dtype == np.bool_
    np.testing.assert_array_equal(batch.s_batch[:, 0], batch.targets == 1)
    with pytest.raises(UsageError, match="crop"):
        _ = next(iter(Loader(data, 5))).s_batch


def test_a_loader_gives_the_targets_of_whole_images(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    (batch,) = Loader(data, len(data))
    assert isinstance(batch.targets, RaggedBatch)
    assert all(map(torch.equal, batch.targets, (sample["target"] for sample in data)))
    assert batch.present.tolist() == [sample["present"] for sample in data]


def test_a_loader_without_targets_says_so(tiny_root: Path) -> None:
    batch = next(iter(Loader(ImageNetS(tiny_root, "validation", "3"), 2)))
    assert batch.target_ids is None
    for name in ("targets", "present"):
        with pytest.raises(UsageError, match='target="label"'):
            getattr(batch, name)


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_masks_no_targets(tiny_root: Path, split: str) -> None:
    with pytest.raises(UsageError, match="no masks"):
        ImageNetS(tiny_root, split, "3", target="label")


def test_masks_left_out_and_unknown_targets_are_refused(tiny_root: Path) -> None:
    with pytest.raises(UsageError, match="masks=False"):
        ImageNetS(tiny_root, "validation", "3", masks=False, target="label")
    wrong: Any = "class"
    with pytest.raises(UsageError, match=r"'class'.*\"label\""):
        ImageNetS(tiny_root, "validation", "3", target=wrong)


@pytest.fixture
def tree(tmp_path: Path, world: Tiny) -> Path:
    made = World(tmp_path, world)
    assert made.run("--layout", "tree") == 0
    return made.root


def test_a_tree_without_lists_refuses_and_says_where_they_are(
    tree: Path, tiny_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    both = [ImageNetS(root, "validation", "3", target="label") for root in (tree, tiny_root)]
    assert both[0].target_ids.tolist() == both[1].target_ids.tolist()
    shutil.rmtree(tree / "downloads")
    with pytest.raises(MissingError, match=r"lists of tier 3.*--download-only"):
        ImageNetS(tree, "validation", "3", target="label")
    semi = ImageNetS(tree, "train-semi", "3", target="label")  # stems tell it
    assert semi.target_ids.tolist() == semi.class_ids.tolist()
    blind = ImageNetS(tree, "validation", "3")
    with pytest.raises(MissingError, match="cannot be told"):
        _ = blind.target_ids
    told = [line for line in caplog.messages if "class folder" in line]
    assert len(told) == 2  # once a data set


def test_a_tree_with_an_image_that_no_list_names_refuses(tree: Path) -> None:
    known = next((tree / "ImageNetS3" / "validation").rglob("*.JPEG"))
    for folder, suffix in (("validation", ".JPEG"), ("validation-segmentation", ".png")):
        source = (tree / "ImageNetS3" / folder / known.parent.name / known.stem).with_suffix(suffix)
        shutil.copy(source, source.with_name(f"ILSVRC2012_val_99999999{suffix}"))
    with pytest.raises(MissingError, match="do not name 1 image"):
        ImageNetS(tree, "validation", "3", target="label")


def test_raw_folders_give_the_same_targets(tmp_path: Path, tiny_root: Path, world: Tiny) -> None:
    for stem, data in world.val.items():
        (tmp_path / f"{stem}.JPEG").write_bytes(data)
    (zipped,) = tiny_root.parent.glob("ImageNetS3-*.zip")
    index = tiny_root.parent / "index"
    raw = ImageNetS.from_folders(tmp_path, zipped, "validation", "3", index=index, target="label")
    packed = ImageNetS(tiny_root, "validation", "3", target="label")
    for one, other in zip(raw, packed, strict=True):
        assert one["target_id"] == other["target_id"]
        assert torch.equal(one["target"], other["target"])
    with pytest.raises(UsageError, match="no masks"):
        ImageNetS.from_folders(tmp_path, None, "validation", "3", index=index, target="label")


def test_masks_of_another_make_give_their_own_targets(tmp_path: Path, tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    data = data.subset(np.flatnonzero(data.target_ids)[:1])
    name, target_id = data[0]["name"], data[0]["target_id"]
    ids = np.full(data.mask(0).shape, target_id, np.uint16)
    (tmp_path / name).parent.mkdir()
    (tmp_path / f"{name}.png").write_bytes(masks.encode(ids))
    assert (data.with_masks(tmp_path)[0]["target"] == 1).all()


# Of the published lists: images, those whose label is another class than their folder's, those
# without a target, the least and the most images a class, and digests (SHA-256, first 16 digits)
# of the labels and target ids in canonical order and of the counts of each target id.
FACTS = {
    ("919", "validation"): (
        *(12_419, 1_623, 175, 4, 23),
        *("3dd77d9d458c9a43", "aed2d31cc13a5dd7", "6beee921995fac99"),
    ),
    ("919", "test"): (
        *(27_423, 3_516, 396, 10, 41),
        *("058388c923c4be7d", "d331c60adb2a39e1", "9aca1d55e66e07d4"),
    ),
    ("300", "validation"): (
        *(4_097, 529, 404, 3, 17),
        *("626d0a193d891e92", "27becdcee4cb4b87", "4a7ef443135292ab"),
    ),
    ("300", "test"): (
        *(9_088, 1_196, 871, 11, 36),
        *("67eb4f7124cf9023", "a5eddc75ed2235a0", "d668fb045c6d1b88"),
    ),
    ("50", "validation"): (
        *(752, 136, 136, 8, 17),
        *("4371ec8872633326", "467c04136723f561", "96771d3eac21792f"),
    ),
    ("50", "test"): (
        *(1_682, 291, 288, 11, 35),
        *("4094c46be4b512ce", "56485c6b65118297", "570aada3d31f1027"),
    ),
}


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    with tarfile.open(SHARED / "data/imagenet-s-index.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    return folder


@needs_shared
@pytest.mark.parametrize(("tier", "split"), list(FACTS))
def test_every_label_of_the_published_lists(
    lists: Path, tmp_path: Path, tier: str, split: str
) -> None:
    mapping = (lists / f"mapping/ImageNetS_im{tier}_mapping_{split}.txt").read_text().split()
    for name in mapping[1::2]:
        image = tmp_path / f"ImageNetS{tier}" / split / name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
    (tmp_path / "downloads").symlink_to(lists)
    data = ImageNetS(tmp_path, split, tier, layout="tree")

    categories = (lists / f"categories/ImageNetS_categories_im{tier}.txt").read_text().split()
    ids = {wnid: number for number, wnid in enumerate(sorted(categories), 1)}
    own = {Path(image).stem: source[:9] for source, image in zip(*[iter(mapping)] * 2, strict=True)}
    wnids = [own[name.partition("/")[2]] for name in data.names]
    labels = [sorted(ilsvrc_classes()).index(wnid) for wnid in wnids]
    merged = MERGED if tier == "919" else {}
    assert data.ilsvrc.tolist() == labels
    assert data.target_ids.tolist() == [ids.get(merged.get(wnid, wnid), 0) for wnid in wnids]

    targets, counts = data.target_ids, np.bincount(data.target_ids, minlength=int(tier) + 1)
    digests = [
        hashlib.sha256(values.astype(kind).tobytes()).hexdigest()[:16]
        for values, kind in ((data.ilsvrc, "<i2"), (targets, "<i2"), (counts, "<i4"))
    ]
    strangers = int((targets != data.class_ids).sum())
    found = (len(data), strangers, counts[0], counts[1:].min(), counts[1:].max(), *digests)
    assert found == FACTS[tier, split]


def filled(sample: Sample) -> Sample:
    """As a rotation that fills masks with 1000: bytes keep it modulo 256."""
    mask, target = sample["mask"].clone(), sample["target"].clone()
    mask[:2], target[:2] = 1000, 1000 % 256
    return {**sample, "mask": mask, "target": target}


def test_what_a_transform_ignores_is_ignored_in_the_target(tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", transform=filled, target="label")
    for sample in data:
        np.testing.assert_array_equal(sample["target"] == 255, sample["mask"] == 1000)
        assert set(sample["target"].unique().tolist()) <= {0, 1, 255}


def test_a_target_resized_as_an_image_is_refused(tiny_root: Path) -> None:
    def blurred(sample: Sample) -> Sample:
        return {**sample, "target": sample["target"] // 2}

    data = ImageNetS(tiny_root, "validation", "3", transform=blurred, target="label")
    with pytest.raises(UsageError, match=r"target holds 127.*nearest"):
        list(data)


def test_a_transform_that_is_no_function_is_refused(tiny_root: Path) -> None:
    name: Any = "resize256-crop224"
    with pytest.raises(UsageError, match=r"'resize256-crop224'.*views\.named"):
        ImageNetS(tiny_root, "validation", "3", transform=name)


def test_labels_that_are_none_of_imagenet_1k_are_told(
    tiny_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ImageNetS(tiny_root, "validation", "3")
    assert not caplog.messages
    ImageNetS(tiny_root, "validation", "3", target="label")
    assert "no ImageNet-1k label" in caplog.text


def test_a_mask_of_another_tier_is_refused_when_it_is_read(tmp_path: Path, tiny_root: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3")[:1]
    path = tmp_path / f"{data.names[0]}.png"
    path.parent.mkdir()
    path.write_bytes(masks.encode(np.full(data.mask(0).shape, 77, np.uint16)))
    with pytest.raises(CorruptError, match=rf"{path}.*has id 77; ids of this tier are 0 to 3"):
        data.with_masks(tmp_path)[0]


@pytest.mark.parametrize(
    ("split", "arguments", "message"),
    [
        ("validation", {"masks": False}, "leave masks=False out"),
        ("test", {}, "only those of train-semi, validation are published"),
    ],
)
def test_why_there_is_no_mask(
    tiny_root: Path, split: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ImageNetS(tiny_root, split, "3", target="label", **arguments)
