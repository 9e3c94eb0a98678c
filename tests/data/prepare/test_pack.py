"""Shards hold the raw bytes, in the plan's order, whatever happened on the way."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import OUTSIDE, Tiny, jpeg, tiny
from world import SPLITS, World

from imagenets import masks
from imagenets.core.pool import Pool
from imagenets.data.dataset.shard_store import ShardStore
from imagenets.data.lists import read_lists
from imagenets.data.prepare.archive import digest
from imagenets.data.prepare.inspect import check_decodes, inspect, shrink, store_mask
from imagenets.data.prepare.pack import Packing, pack
from imagenets.data.prepare.pack_shard import Options
from imagenets.data.prepare.plan import Plan
from imagenets.data.prepare.planning import make_plan
from imagenets.data.prepare.tree import build_tree
from imagenets.data.prepare.verify import verify
from imagenets.data.raw import open_sources
from imagenets.data.shards import ShardReader
from imagenets.errors import CorruptError, UsageError
from imagenets.pixels.jpeg import decode_crop

SMALL = Options(shard_samples=4)


def make(path: Path, world: Tiny | None = None) -> World:
    return World(path, world, form="tars")


def packed(
    world: World, options: Options = SMALL, workers: int = 1, plan: Plan | None = None
) -> Packing:
    masks = (world.masks, digest(world.archive))
    state = world.path / "state"
    chosen = plan or world.plan
    return pack(chosen, world.images, masks, world.shards, state, options, Pool(workers))


def digests(world: World) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(world.shards.iterdir())
    }


def test_shards_hold_the_raw_bytes_and_the_masks_ids(tmp_path: Path) -> None:
    world = make(tmp_path)
    packing = packed(world)
    raw = world.tiny.train | world.tiny.val
    for info in packing.manifest.shards:
        with ShardReader(world.shards / info.file, verify=True) as reader:
            for index, row in enumerate(reader.samples):
                stem = row["name"].decode()
                assert bytes(reader.image(index)) == raw[stem]
                assert Image.open(io.BytesIO(raw[stem])).size == (row["width"], row["height"])
                mask = reader.mask(index)
                assert (mask is not None) == (info.group in ("train-semi", "validation"))
                if mask is not None:
                    member = f"ImageNetS3/{info.group}-segmentation/{row['wnid'].decode()}/{stem}"
                    published = masks.decode(world.tiny.members[f"{member}.png"])
                    assert np.array_equal(masks.decode(mask), published)
    assert packing.oddities == {"CMYK": 2, "greyscale": 2}  # both are in train and train-semi


def test_a_split_goes_to_another_process_with_its_tables_in_one_array(tmp_path: Path) -> None:
    """joblib's workers map one large array; they would get 1300 small ones with each task."""
    world = make(tmp_path)
    store = ShardStore(world.shards, packed(world).manifest, "train")
    state = store.__getstate__()
    assert [len(reader.samples) for reader in state["_readers"]] == [0] * 5
    assert len({id(reader.samples) for reader in state["_readers"]}) == 1  # pickled once
    copy: ShardStore = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copy.class_ids, store.class_ids)
    for row in range(18):
        assert copy.name(row) == store.name(row)
        assert bytes(copy.image(row)) == bytes(store.image(row))


def test_shards_follow_the_plan(tmp_path: Path) -> None:
    world = make(tmp_path)
    manifest = packed(world).manifest
    assert [shard.samples for shard in manifest.of_split("train")] == [4, 4, 4, 4, 2]
    names = []
    for shard in manifest.of_split("train"):
        names += ShardReader(world.shards / shard.file).samples["name"].tolist()
    assert names == world.plan.splits["train"].stems.tolist()
    assert manifest.splits["validation"].masks
    assert not manifest.splits["test"].masks
    assert manifest.options == {
        "resize": None,
        "quality": None,
        "restart": False,
        "shard_samples": 4,
    }


def test_bytes_depend_on_neither_workers_nor_order_of_runs(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    packed(one)
    packed(two, workers=2, plan=two.plan_of(("validation",)))
    added = packed(two, workers=2, plan=two.plan_of(("train", "train-semi", "test")))
    assert set(added.manifest.splits) == set(SPLITS)  # a later run adds splits
    assert digests(one) == digests(two)


def test_a_second_run_packs_nothing(tmp_path: Path) -> None:
    world = make(tmp_path)
    assert packed(world).packed == 5 + 2 + 3 + 2
    files = digests(world)
    assert packed(world).packed == 0
    assert digests(world) == files


def test_what_is_finished_is_kept_and_leftovers_go(tmp_path: Path) -> None:
    world = make(tmp_path)
    packed(world)
    files = digests(world)
    (world.shards / "manifest.json").unlink()
    (world.shards / "train-00002.h5").unlink()
    (world.shards / "test-00001.h5").write_bytes(b"cut off")
    (world.shards / "train-00002.h5.part").write_bytes(b"half")
    (tmp_path / "state" / "test-00000.h5.json").write_text("{")
    assert packed(world).packed == 3
    assert digests(world) == files


def test_a_changed_plan_packs_only_what_changed(tmp_path: Path) -> None:
    world = make(tmp_path)
    packed(world)
    plan = world.plan_of(SPLITS)
    plan.splits["train"] = plan.splits["train"].take(slice(0, 12))
    packing = packed(world, plan=plan)
    assert packing.packed == 0
    assert not (world.shards / "train-00003.h5").exists()
    assert len(packing.manifest.of_split("train")) == 3
    plan.splits["train"] = plan.splits["train"].take(slice(1, 12))
    assert packed(world, plan=plan).packed == 3


def test_broken_images_are_named_and_the_rest_is_kept(tmp_path: Path) -> None:
    world = tiny()
    broken = sorted(world.train)[5]
    world.train[broken] = world.train[broken][:-200]
    alien = sorted(world.train)[6]
    world.train[alien] = b"no image" * 20
    there = make(tmp_path, world)
    train = tmp_path / "raw" / "ILSVRC2012_img_train.tar"
    with pytest.raises(CorruptError) as caught:
        packed(there)
    assert re.search(rf"{train}: {broken}\.JPEG: does not decode: .*truncated", str(caught.value))
    assert f"{train}: {alien}.JPEG: not an image" in str(caught.value)
    assert len((tmp_path / "root" / "ImageNetS3-broken.txt").read_text().splitlines()) == 2
    assert "manifest.json" not in digests(there)
    assert len(digests(there)) == 11  # all but the one shard that has them
    sound = tiny()
    there.tiny.train[broken], there.tiny.train[alien] = sound.train[broken], sound.train[alien]
    for path in (tmp_path / "raw").iterdir():
        path.unlink()
    (tmp_path / "raw").rmdir()
    there.tiny.tars(tmp_path / "raw")
    del there.images  # they are found anew
    assert packed(there).packed == 1
    assert not (tmp_path / "root" / "ImageNetS3-broken.txt").exists()


def test_no_decode_gives_the_same_bytes_but_proves_less(tmp_path: Path) -> None:
    world = make(tmp_path)
    quick = Options(shard_samples=4, decode=False)
    packed(world, quick)
    files = digests(world)
    assert packed(world, quick).packed == 0
    assert packed(world).packed == 12  # now with the proof
    assert digests(world) == files
    assert packed(world, quick).packed == 0


def test_a_mask_of_another_size_is_a_fault(tmp_path: Path) -> None:
    world = tiny()
    name = sorted(world.members)[0]
    world.members[name] = masks.encode(np.ones((5, 6), int))
    with pytest.raises(CorruptError, match=rf"{name}: the mask has 6 x 5 pixels, its image 2\d x"):
        packed(make(tmp_path, world))


def test_other_options_or_lists_are_refused_where_a_set_lies(tmp_path: Path) -> None:
    world = make(tmp_path)
    packed(world)
    with pytest.raises(UsageError, match="packed with other options"):
        packed(world, Options(resize=8, quality=80))
    world.tiny.lists["mapping-test"].pop()
    with pytest.raises(UsageError, match="packed with other lists"):
        packed(world, plan=world.plan_of(SPLITS))


def test_resizing_brings_image_and_mask_to_one_size(tmp_path: Path) -> None:
    world = make(tmp_path)
    manifest = packed(world, Options(resize=16, quality=90)).manifest
    raw = world.tiny.train | world.tiny.val
    kept = shrunk = 0
    for info in manifest.of_split("validation"):
        with ShardReader(world.shards / info.file) as reader:
            for index, row in enumerate(reader.samples):
                image = Image.open(io.BytesIO(reader.image(index)))
                mask = masks.decode(reader.mask(index) or b"")
                assert image.size == (row["width"], row["height"]) == mask.shape[::-1]
                assert min(image.size) == 16
                original = raw[row["name"].decode()]
                size = Image.open(io.BytesIO(original)).size
                same = bytes(reader.image(index)) == original
                assert same == (min(size) <= 16)  # smaller ones are not enlarged
                kept, shrunk = kept + same, shrunk + (not same)
    assert kept
    assert shrunk


def test_restart_markers_change_no_pixel_and_come_with_an_index(tmp_path: Path) -> None:
    world = make(tmp_path)
    manifest = packed(world, Options(restart=True)).manifest
    assert manifest.options["restart"] is True
    raw = world.tiny.train | world.tiny.val
    marked = 0
    for info in manifest.of_split("train"):
        with ShardReader(world.shards / info.file, verify=True) as reader:
            for index, row in enumerate(reader.samples):
                stored, segments = bytes(reader.image(index)), reader.segments(index)
                original = raw[row["name"].decode()]
                before, after = (Image.open(io.BytesIO(data)) for data in (original, stored))
                assert before.mode == after.mode
                assert np.array_equal(np.asarray(before), np.asarray(after))
                if segments is None:
                    assert stored == original  # it cannot have markers: CMYK
                    continue
                marked += 1
                box = (3, 2, 9, 11)
                crop = decode_crop(stored, segments, box, exact=True)
                whole = np.asarray(before.convert("RGB"))
                assert np.array_equal(crop, whole[2:13, 3:12])
    assert marked == len(world.plan.splits["train"]) - 1
    assert not verify(world.shards, Pool()).faults


def test_masks_are_resized_by_nearest_neighbour_and_keep_their_ids() -> None:
    ids = np.zeros((40, 60), np.uint16)
    ids[:, 30:] = 700
    original, stored = shrink(jpeg(1, (60, 40)), "image", 20, 90)
    assert (stored.width, stored.height) == (30, 20)
    data = store_mask(masks.encode(ids), "mask", 919, original, stored)
    expected = np.zeros((20, 30), np.uint16)
    expected[:, 15:] = 700
    assert np.array_equal(masks.decode(data), expected)


def test_oddities_are_told() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    assert inspect(buffer.getvalue(), "x").oddities == ("PNG named JPEG",)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (8, 4)).save(buffer, "JPEG", exif=exif)
    picture = inspect(buffer.getvalue(), "x")
    assert picture.oddities == ("EXIF orientation",)
    assert (picture.width, picture.height) == (8, 4)  # as decoded, not as turned
    assert inspect(jpeg(1, (4, 4), "CMYK"), "x").oddities == ("CMYK",)
    assert inspect(jpeg(1, (4, 4)), "x").oddities == ()


def test_another_edition_than_the_original_is_told(tmp_path: Path) -> None:
    """The one PNG of the original ImageNet, n02105855_2933.JPEG, is a JPEG here."""
    world = tiny().renamed("n90000001_79", "n90000001_2933").renamed("n90000001", "n02105855")
    found = packed(make(tmp_path, world)).oddities
    (strange,) = found.keys() - {"CMYK", "greyscale"}
    assert strange.startswith("re-encoded")
    raw = tmp_path / "raw"
    assert not open_sources([raw]).notes
    raw.rename(tmp_path / "train_blurred")
    assert "edition with blurred" in open_sources([tmp_path / "train_blurred"]).notes[0]


def test_train_full_stores_the_rest_and_keeps_merges_right(tmp_path: Path) -> None:
    world = tiny()
    merged, rest = OUTSIDE, "n90000008"
    world.train |= {f"{merged}_1": jpeg(901, (20, 16)), f"{rest}_1": jpeg(902, (20, 16))}
    world.lists["mapping-test"][0] = world.lists["mapping-test"][0].replace("n90000001", rest, 1)
    there = make(tmp_path, world)
    tier = replace(
        there.plan.tier, merges={merged: "n90000003"}, counts={"train-full": 20, "test": 6}
    )
    lists = read_lists(tier, tmp_path / "index")
    plan = make_plan(tier, lists, there.images, ["train-full"])
    assert plan.missing == {"train": [], "train-full": []}
    manifest = packed(there, plan=plan).manifest
    assert manifest.splits["train-full"].groups == ["train", "train-rest"]
    assert manifest.splits["train-full"].samples == 20
    assert manifest.splits["train"].samples == 19
    rows = {
        row["name"].decode(): (row["wnid"].decode(), int(row["class_id"]), int(row["ilsvrc"]))
        for shard in manifest.shards
        for row in ShardReader(there.shards / shard.file).samples
    }
    assert rows[f"{merged}_1"] == ("n90000003", 3, plan.source_classes.index(merged))
    assert rows[f"{rest}_1"] == (rest, 0, plan.source_classes.index(rest))
    assert not verify(there.shards, Pool()).faults
    build_tree(plan, there.images, None, tmp_path / "tree", "symlink", Pool())
    for place in ("train/n90000003", f"train-full/{merged}"):
        path = tmp_path / "tree" / place / f"{merged}_1.JPEG"
        assert path.read_bytes() == world.train[f"{merged}_1"]
    assert (tmp_path / "tree/train-full" / rest / f"{rest}_1.JPEG").is_file()
    assert not (tmp_path / "tree/train" / rest).exists()


def test_whatever_pillow_decodes_is_sound_and_what_is_cut_off_is_not() -> None:
    rng = np.random.default_rng(0)
    pixels = Image.fromarray(rng.integers(0, 256, (64, 80, 3), np.uint8))
    for mode in ("RGB", "L", "CMYK"):
        for progressive in (False, True):
            buffer = io.BytesIO()
            pixels.convert(mode).save(buffer, "JPEG", progressive=progressive)
            data = buffer.getvalue()
            check_decodes(data, "x")
            check_decodes(data + b"trailing", "x")
            for keep in (0.5, 0.97):
                with pytest.raises(CorruptError, match=r"x: does not decode: .*truncated"):
                    check_decodes(data[: int(len(data) * keep)], "x")
    with pytest.raises(CorruptError, match="x: not an image"):
        check_decodes(b"no picture", "x")
