"""The shard format: what is written is read, and damage never passes for another sample."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import re
import threading
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagenets import ShardReader, ShardWriter
from imagenets.data.shards import (
    SAMPLE_DTYPE,
    Manifest,
    ShardInfo,
    ShardSample,
    SplitInfo,
    write_shard,
)
from imagenets.errors import CorruptError, MissingError, UsageError


def make_samples(count: int, seed: int = 0) -> list[ShardSample]:
    """Samples of random bytes; every third one has no mask."""
    rng = np.random.default_rng(seed)
    return [
        ShardSample(
            f"n01440764_{number}",
            "n01440764",
            number + 1,
            number,
            500 + number,
            375,
            rng.bytes(int(rng.integers(1, 3000))),
            None if number % 3 == 1 else rng.bytes(int(rng.integers(1, 300))),
            None if number % 2 == 1 else rng.bytes(2 * int(rng.integers(1, 40))),
        )
        for number in range(count)
    ]


def read_all(reader: ShardReader) -> list[ShardSample]:
    return [
        ShardSample(
            row["name"].decode(),
            row["wnid"].decode(),
            int(row["class_id"]),
            int(row["ilsvrc"]),
            int(row["width"]),
            int(row["height"]),
            bytes(reader.image(index)),
            None if (mask := reader.mask(index)) is None else bytes(mask),
            None if (segments := reader.segments(index)) is None else segments.tobytes(),
        )
        for index, row in enumerate(reader.samples)
    ]


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shard") / "train-00000.h5"
    write_shard(path, make_samples(9), {"tier": "50", "group": "train"})
    return path


texts = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=9)
samples = st.builds(
    ShardSample,
    name=texts,
    wnid=texts,
    class_id=st.integers(0, 1000),
    ilsvrc=st.integers(0, 999),
    width=st.integers(1, 2**32 - 1),
    height=st.integers(1, 2**32 - 1),
    image=st.binary(min_size=1, max_size=200),
    mask=st.none() | st.binary(min_size=1, max_size=50),
)


@given(st.lists(samples, max_size=6))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[ShardSample]
) -> None:
    path = tmp_path_factory.mktemp("written") / "shard.h5"
    write_shard(path, written, {})
    with ShardReader(path, verify=True) as reader:
        assert read_all(reader) == written
        assert len(reader) == len(written)


def test_the_same_samples_give_the_same_bytes(shard: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "again.h5", make_samples(9), {"group": "train", "tier": "50"})
    assert (tmp_path / "again.h5").read_bytes() == shard.read_bytes()


def test_attributes_and_layout_are_as_documented(shard: Path) -> None:
    facts = {"format": "imagenets-shard", "version": 1, "tier": "50", "group": "train"}
    assert ShardReader(shard).attributes == facts
    with h5py.File(shard) as file:
        assert set(file) == {"images", "masks", "segments", "samples"}
        assert file["samples"].dtype == SAMPLE_DTYPE
        for name in ("images", "masks", "segments"):
            assert file[name].chunks is None
            assert not file[name].id.get_create_plist().get_obj_track_times()
            assert file[name].id.get_offset() is not None
        assert file["images"][:5].tobytes() == make_samples(1)[0].image[:5]
        assert file["images"].shape == (file["samples"]["image_size"].sum(),)


def test_views_outlive_the_reader(shard: Path) -> None:
    reader = ShardReader(shard)
    view = reader.image(3)
    reader.close()
    del reader
    assert bytes(view) == make_samples(9)[3].image
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1


def test_indices_out_of_range(shard: Path) -> None:
    reader = ShardReader(shard)
    for index in (9, -1):
        with pytest.raises(IndexError, match=f"no sample {index}, there are 9"):
            reader.image(index)


def test_a_writer_whose_block_raises_leaves_nothing(tmp_path: Path) -> None:
    first, *_ = make_samples(1)

    def fail() -> None:
        with ShardWriter(tmp_path / "a.h5") as writer:
            writer.add(first)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
    writer = ShardWriter(tmp_path / "b.h5", {"tier": "8"})
    with writer:
        writer.add(first)
    assert [path.name for path in tmp_path.iterdir()] == ["b.h5"]
    assert read_all(ShardReader(tmp_path / "b.h5")) == [first]
    with pytest.raises(UsageError, match="closed"):
        writer.add(first)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "x" * 33}, "1 to 32 ASCII"),
        ({"name": "naïve"}, "1 to 32 ASCII"),
        ({"wnid": ""}, "1 to 9 ASCII"),
        ({"image": b""}, "empty file"),
        ({"class_id": -1}, "0..32767"),
        ({"ilsvrc": 40_000}, "0..32767"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    good, *_ = make_samples(1)
    with pytest.raises(UsageError, match=words):
        write_shard(tmp_path / "a.h5", [replace(good, **change)], {})
    assert list(tmp_path.iterdir()) == []


# ---- processes and threads ---------------------------------------------------------------------


def test_a_pickled_reader_carries_no_map(shard: Path) -> None:
    reader = ShardReader(shard, verify=True)
    reader.image(0)
    copy = pickle.loads(pickle.dumps(reader))
    assert copy._map is None
    assert copy.verify
    assert read_all(copy) == make_samples(9)


def test_a_forked_child_maps_the_file_anew(shard: Path) -> None:
    reader = ShardReader(shard)
    reader.image(0)
    opened = reader._map

    def child(queue: Any) -> None:
        queue.put((read_all(reader) == make_samples(9), reader._map is opened))

    queue = (context := multiprocessing.get_context("fork")).SimpleQueue()
    process = context.Process(target=child, args=(queue,))
    process.start()
    assert queue.get() == (True, False)
    process.join()
    assert reader._map is opened


def test_threads_share_a_reader(shard: Path) -> None:
    reader, wanted, wrong = ShardReader(shard), make_samples(9), []

    def read() -> None:
        for _ in range(20):
            if read_all(reader) != wanted:
                wrong.append(1)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- files of other programs, and damaged ones -------------------------------------------------


def rewrite(shard: Path, path: Path, **options: Any) -> None:
    """Copies a shard as another HDF5 program would, with chunks or compression say."""
    with h5py.File(shard) as old, h5py.File(path, "w") as new:
        for key, value in old.attrs.items():
            new.attrs[key] = value
        for name in old:
            data = new.create_dataset(name, data=old[name][()], **options)
            for key, value in old[name].attrs.items():
                data.attrs[key] = value


@pytest.mark.parametrize(
    "options", [{"chunks": True}, {"compression": "gzip"}, {"chunks": True, "shuffle": True}]
)
def test_what_cannot_be_mapped_is_refused(
    shard: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    path = tmp_path / "other.h5"
    rewrite(shard, path, **options)
    with pytest.raises(CorruptError, match=f"{path}: `images` is not one byte range of the file"):
        ShardReader(path).image(0)


def test_a_plain_rewrite_is_mapped(shard: Path, tmp_path: Path) -> None:
    rewrite(shard, tmp_path / "other.h5")
    assert read_all(ShardReader(tmp_path / "other.h5")) == make_samples(9)


def test_bytes_that_lie_in_another_file_are_refused(shard: Path, tmp_path: Path) -> None:
    """Their offset counts in that file, not in the one that is mapped."""
    path = tmp_path / "other.h5"
    rewrite(shard, path)
    with h5py.File(path, "r+") as file:
        images = file["images"][()]
        del file["images"]
        (tmp_path / "images.bin").write_bytes(images.tobytes())
        spans = [("images.bin", 0, len(images))]
        file.create_dataset("images", images.shape, images.dtype, external=spans)
    with pytest.raises(CorruptError, match=f"{path}: `images` is not one byte range of the file"):
        ShardReader(path).image(0)


def test_the_page_of_the_format_describes_the_table() -> None:
    """docs/format.md tells the columns in their order, each with its type."""
    page = (Path(__file__).parents[3] / "docs" / "format.md").read_text("utf-8")
    kinds = {"int16": "<i2", "uint32": "<u4", "uint32 each": "<u4", "uint64": "<u8"}
    told = []
    for names, kind in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([\w ,]+) \|", page, re.MULTILINE):
        length = re.match(r"(\d+) bytes", kind)
        told += [
            (name, f"S{length[1]}" if length else kinds[kind])
            for name in re.findall(r"\w+", names)
            if length or kind in kinds
        ]
    assert np.dtype(told) == SAMPLE_DTYPE
    assert f"has {SAMPLE_DTYPE.itemsize} bytes, little-endian and without padding" in page


def test_verify_names_the_damaged_sample(shard: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    data = bytearray(shard.read_bytes())
    index = ShardReader(shard)._known()
    data[index.starts["image"] + int(index.samples[4]["image_offset"])] ^= 1
    data[index.starts["mask"] + int(index.samples[5]["mask_offset"])] ^= 1
    data[index.starts["segment"] + int(index.samples[2]["segment_offset"])] ^= 1
    path.write_bytes(data)
    reader = ShardReader(path, verify=True)
    cases = ((reader.image, 4, "image"), (reader.mask, 5, "mask"), (reader.segments, 2, "segment"))
    for read, number, what in cases:
        where = f"sample {number} (n01440764/n01440764_{number}): the {what} does not have"
        with pytest.raises(CorruptError, match=re.escape(f"{path}: {where}")):
            read(number)
    assert bytes(reader.image(5)) == make_samples(9)[5].image
    assert len(ShardReader(path).image(4)) == len(make_samples(9)[4].image)  # not asked to check


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("image_offset", 10**9, "sample 2.*image lies outside"),
        ("image_offset", 0, "sample 2.*image lies outside"),  # another sample's bytes
        ("image_size", 2**32 - 1, "sample 2.*image lies outside"),
        ("image_size", 0, "sample 2.*image lies outside"),
        ("mask_offset", 2**64 - 1, "sample 2.*mask lies outside"),
    ],
)
def test_wrong_offsets_are_refused(
    shard: Path, tmp_path: Path, field: str, value: int, words: str
) -> None:
    path = tmp_path / "wrong.h5"
    rewrite(shard, path)
    with h5py.File(path, "r+") as file:
        table = file["samples"][()]
        table[field][2] = value
        file["samples"][...] = table
        file["samples"].attrs["crc32"] = np.uint32(zlib.crc32(table.tobytes()))  # a consistent lie
    with pytest.raises(CorruptError, match=f"{path}: {words}"):
        ShardReader(path).image(0)


def test_other_files_are_refused(shard: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    with pytest.raises(MissingError, match=f"{path}: this shard is missing"):
        ShardReader(path).image(0)
    for content in (b"", b"no HDF5 at all", shard.read_bytes()[:100]):
        path.write_bytes(content)
        with pytest.raises(CorruptError, match=f"{path}: not a readable shard"):
            ShardReader(path).image(0)
    for key, value, words in (
        ("version", 2, "format version 2, this release reads version 1"),
        ("format", "b", "its format is 'b'"),
    ):
        rewrite(shard, path)
        with h5py.File(path, "r+") as file:
            file.attrs[key] = np.bytes_(value) if isinstance(value, str) else value
        with pytest.raises(CorruptError, match=words):
            ShardReader(path).image(0)
    with h5py.File(path, "w") as file:
        file["images"] = [1, 2]
    with pytest.raises(CorruptError, match="not a readable shard"):
        ShardReader(path).image(0)


def test_a_file_replaced_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_shard(path, make_samples(3), {})
    reader = ShardReader(path)
    assert len(reader) == 3
    write_shard(path, make_samples(4, seed=1), {})
    with pytest.raises(CorruptError, match="changed since it was opened"):
        reader.image(0)


def check_damaged(path: Path, wanted: list[ShardSample]) -> None:
    """Reads everything of a damaged file: each sample is right, or an error names the file."""
    try:
        reader = ShardReader(path, verify=True)
        rows = reader.samples
    except CorruptError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
        return
    assert len(rows) == len(wanted)
    for index, sample in enumerate(wanted):
        try:
            assert rows[index]["name"].decode() == sample.name
            assert bytes(reader.image(index)) == sample.image
            mask = reader.mask(index)
            assert (None if mask is None else bytes(mask)) == sample.mask
        except CorruptError as error:
            assert f"sample {index} (" in str(error)  # noqa: PT017


@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), max_size=4))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_flipped_bits_never_pass(shard: Path, flips: list[tuple[float, int]]) -> None:
    data = bytearray(shard.read_bytes())
    for place, bits in flips:
        data[int(place * len(data))] ^= bits
    path = shard.with_name("flipped.h5")
    path.write_bytes(data)
    check_damaged(path, make_samples(9))


@pytest.mark.slow
def test_every_byte_of_the_structure_may_flip(shard: Path) -> None:
    """All bytes outside the data, one at a time: HDF5's own, the attributes and the table."""
    data = bytearray(shard.read_bytes())
    index = ShardReader(shard)._known()
    ends = {what: index.samples[f"{what}_size"].sum() for what in ("image", "mask", "segment")}
    spans = [range(index.starts[name], index.starts[name] + int(ends[name])) for name in ends]
    path = shard.with_name("flipped.h5")
    places = [place for place in range(len(data)) if not any(place in span for span in spans)]
    for place in places[::3]:
        data[place] ^= 0x41
        path.write_bytes(data)
        check_damaged(path, make_samples(9))
        data[place] ^= 0x41


def test_truncated_files_never_pass(shard: Path) -> None:
    data = shard.read_bytes()
    path = shard.with_name("cut.h5")
    for length in range(0, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptError, match=re.escape(str(path))):
            ShardReader(path).image(0)


# ---- the manifest ------------------------------------------------------------------------------


def make_manifest() -> Manifest:
    return Manifest(
        "8",
        ["n1", "n2"],
        ["n1", "n2", "n3"],
        {"validation": SplitInfo(["validation"], 5, masks=True)},
        [
            ShardInfo("validation-00000.h5", "validation", 3, 123, "ab"),
            ShardInfo("validation-00001.h5", "validation", 2, 45, "cd"),
        ],
        options={"resize": None},
        lists={"categories/x.txt": "ef"},
        archive={"name": "a.zip", "bytes": 1, "md5": "01"},
    )


def test_a_manifest_comes_back_as_saved(tmp_path: Path) -> None:
    make_manifest().save(tmp_path)
    assert Manifest.load(tmp_path) == make_manifest()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    content = (tmp_path / "manifest.json").read_bytes()
    make_manifest().save(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == content
    assert content.endswith(b"}\n")
    read = json.loads(content)
    assert (read["format"], read["version"]) == ("imagenets-shards", 1)
    assert list(read) == sorted(read)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", 2, "format version 2"),
        ("format", "else", "its format is 'else'"),
        ("classes", ..., "not a complete manifest"),
        ("strange", 1, "not a complete manifest"),
        ("shards", [], "split validation has 5 samples, its shards have 0"),
        ("shards", [{"file": "../a"}], "not a complete manifest"),
        ("splits", [], "not a complete manifest"),
    ],
)
def test_manifests_that_are_not_right_are_refused(
    tmp_path: Path, key: str, value: Any, words: str
) -> None:
    make_manifest().save(tmp_path)
    path = tmp_path / "manifest.json"
    content = json.loads(path.read_text())
    content[key] = value
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))
    with pytest.raises(CorruptError, match=f"{path}: .*{words}"):
        Manifest.load(tmp_path)


def test_a_manifest_cut_off_or_missing_or_reaching_outside(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no finished set.*imagenets-prepare"):
        Manifest.load(tmp_path)
    make_manifest().save(tmp_path)
    path = tmp_path / "manifest.json"
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 50):
        path.write_bytes(content[:length])
        with pytest.raises(CorruptError, match=f"{path}: not valid JSON"):
            Manifest.load(tmp_path)
    path.write_bytes(content.replace(b"validation-00000.h5", b"../validation.h5"))
    with pytest.raises(CorruptError, match="not a plain file name"):
        Manifest.load(tmp_path)
