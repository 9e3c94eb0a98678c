from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import sys
import tarfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from beside import SHARED, needs_shared

from imagenets.core.files import listing
from imagenets.data.raw import RawImages, open_sources
from imagenets.data.raw.tarwalk import walk
from imagenets.errors import CorruptError, DependencyError, MissingError, UsageError

TRAIN = {
    "n01440764_10026": b"tench one",
    "n01440764_10027": b"tench two",
    "n02085620_1": b"x" * 1500,
}
VALIDATION = {f"ILSVRC2012_val_{i:08d}": b"val %d" % i for i in (1, 2, 293)}
EVERYTHING = TRAIN | VALIDATION


def write_folders(root: Path, images: Mapping[str, bytes], suffix: str = ".JPEG") -> None:
    for stem, data in images.items():
        folder = root / (stem.partition("_")[0] if stem.startswith("n") else "n01440764")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (stem + suffix)).write_bytes(data)


def write_flat(root: Path, images: Mapping[str, bytes]) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for stem, data in images.items():
        (root / f"{stem}.JPEG").write_bytes(data)


def tar_bytes(
    members: Mapping[str, bytes], format: int = tarfile.GNU_FORMAT, mtime: float = 0
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def official(root: Path) -> None:
    classes = sorted({stem.partition("_")[0] for stem in TRAIN})
    root.mkdir(parents=True, exist_ok=True)
    (root / "ILSVRC2012_img_train.tar").write_bytes(
        tar_bytes(
            {
                f"{wnid}.tar": tar_bytes(
                    {f"{s}.JPEG": d for s, d in TRAIN.items() if s.startswith(wnid)}
                )
                for wnid in classes
            }
        )
    )
    (root / "ILSVRC2012_img_val.tar").write_bytes(
        tar_bytes({f"{s}.JPEG": d for s, d in VALIDATION.items()})
    )


def contents(images: RawImages) -> dict[str, bytes]:
    return {bytes(stem).decode(): images.read(i) for i, stem in enumerate(images.stems)}


def test_class_folders_and_their_parts(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", TRAIN)
    write_folders(tmp_path / "val", VALIDATION)
    assert contents(open_sources([tmp_path])) == EVERYTHING
    assert contents(open_sources([tmp_path / "train"])) == TRAIN
    assert contents(open_sources([tmp_path / "val"])) == VALIDATION
    images = open_sources([tmp_path], kind="folders")
    assert [(k, p.name, n) for k, p, n in images.describe()] == [
        ("folders", "train", 3),
        ("folders", "val", 3),
    ]
    where = images.location(int(images.find(np.array([b"n02085620_1"]))[0]))
    assert where == (tmp_path / "train/n02085620/n02085620_1.JPEG", None, None)


def test_bare_class_folders(tmp_path: Path) -> None:
    write_folders(tmp_path, TRAIN)
    images = open_sources([tmp_path])
    assert contents(images) == TRAIN
    assert images.has_training
    assert not images.has_validation


def test_flat_validation(tmp_path: Path) -> None:
    write_flat(tmp_path / "val", VALIDATION)
    for path in (tmp_path, tmp_path / "val"):
        images = open_sources([path])
        assert contents(images) == VALIDATION
        assert images.describe()[0][0] == "flat"
        assert not images.has_training


@pytest.mark.parametrize("cached", [False, True])
def test_official_archives_are_read_in_place(tmp_path: Path, cached: bool) -> None:
    official(tmp_path / "raw")
    cache = tmp_path / "cache" if cached else None
    images = open_sources([tmp_path / "raw"], cache=cache)
    assert contents(images) == EVERYTHING
    archive = tmp_path / "raw/ILSVRC2012_img_train.tar"
    assert contents(open_sources([archive], cache=cache)) == TRAIN
    path, offset, size = images.location(int(images.find(np.array([b"n02085620_1"]))[0]))
    assert path == archive
    assert size == 1500
    assert offset is not None
    assert archive.read_bytes()[offset : offset + 1500] == TRAIN["n02085620_1"]


def test_folder_of_class_archives(tmp_path: Path) -> None:
    for stem, data in TRAIN.items():
        (tmp_path / f"{stem[:9]}.tar").write_bytes(tar_bytes({f"{stem}.JPEG": data}))
    expected = {s: TRAIN[s] for s in ("n01440764_10027", "n02085620_1")}  # one archive a class
    assert contents(open_sources([tmp_path])) == expected


def test_look_up(tmp_path: Path) -> None:
    write_folders(tmp_path / "train", TRAIN)
    write_flat(tmp_path / "val", VALIDATION)
    images = open_sources([tmp_path])
    assert images.stems.dtype == np.dtype("S32")
    assert list(images.stems) == sorted(images.stems)
    wanted = np.array([b"n02085620_1", b"n02085620_2", b"ILSVRC2012_val_00000293", b"zzz"])
    found = images.find(wanted)
    assert found.dtype == np.int64
    assert list(found) == [5, -1, 2, -1]
    assert list(images.find(wanted.astype("S64"))) == [5, -1, 2, -1]
    assert list(images.find(np.array([], "S32"))) == []
    wnids = [name[:9] for name in TRAIN]
    assert [bytes(s).decode() for s in images.training(wnids)] == sorted(TRAIN)
    assert list(images.training(["n02085620", "n99999999"])) == [b"n02085620_1"]
    assert list(images.training([])) == []
    assert list(images.sizes([5, 0])) == [1500, 5]


def test_take_and_pickle(tmp_path: Path) -> None:
    official(tmp_path)
    images = open_sources([tmp_path])
    images.read(0)  # what is open stays here
    small = pickle.loads(pickle.dumps(images.take([4, 1, 4])))
    assert contents(small) == {bytes(images.stems[i]).decode(): images.read(i) for i in (1, 4)}
    images.close()
    assert images.read(0) == b"val 1"


def test_index_is_kept_and_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from imagenets.data.raw import tars

    archive, cache = tmp_path / "val.tar", tmp_path / "cache"
    archive.write_bytes(tar_bytes({f"{s}.JPEG": d for s, d in VALIDATION.items()}))
    assert contents(open_sources([archive], cache=cache)) == VALIDATION
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tars, "walk", None)  # a second opening reads no header
        assert contents(open_sources([archive], cache=cache)) == VALIDATION
    for broken in (b"", whole[:-30], whole[:200] + b"\xff" + whole[201:], b"PK" * 99):
        kept.write_bytes(broken)
        assert contents(open_sources([archive], cache=cache)) == VALIDATION
        assert kept.read_bytes() == whole
    archive.write_bytes(tar_bytes({f"{s}.JPEG": d for s, d in TRAIN.items()}))
    os.utime(archive, ns=(1, 1))
    assert contents(open_sources([archive], cache=cache)) == TRAIN
    assert list(cache.iterdir()) == [kept]


def test_unwritable_cache_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = tmp_path / "val.tar"
    archive.write_bytes(tar_bytes({f"{s}.JPEG": d for s, d in VALIDATION.items()}))
    (tmp_path / "file").touch()
    assert contents(open_sources([archive], cache=tmp_path / "file" / "cache")) == VALIDATION
    assert "the index is not kept" in caplog.text


@pytest.mark.parametrize(
    ("keep", "where"),
    [
        (100, "not a tar archive"),
        (512 + 899, "cut off at member n01440764_10026.JPEG"),
        (512 + 1024 + 200, "cut off after member n01440764_10026.JPEG"),
        (512 + 1024 + 512, "cut off at member n01440764_10027.JPEG"),
        (2 * (512 + 1024) - 125, "cut off at member n01440764_10027.JPEG"),
    ],
)
def test_cut_archive(tmp_path: Path, keep: int, where: str) -> None:
    whole = tar_bytes({f"{s}.JPEG": b"d" * 900 for s in ("n01440764_10026", "n01440764_10027")})
    archive = tmp_path / "n01440764.tar"
    archive.write_bytes(whole[:keep])
    with pytest.raises(CorruptError, match=where) as caught:
        open_sources([archive])
    assert str(caught.value).startswith(f"{archive}: ")
    assert "Fetch" in str(caught.value)


def test_cut_within_a_class_archive(tmp_path: Path) -> None:
    inner = tar_bytes({"n01440764_10026.JPEG": b"d" * 9000})[:4000]
    archive = tmp_path / "train.tar"
    archive.write_bytes(tar_bytes({"n01440764.tar": inner}))
    with pytest.raises(CorruptError, match=r"cut off at member n01440764_10026\.JPEG") as caught:
        open_sources([archive])
    assert str(caught.value).startswith(f"{archive}: member n01440764.tar: ")


def test_cut_at_a_boundary_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = tmp_path / "n01440764.tar"
    archive.write_bytes(tar_bytes({"n01440764_10026.JPEG": b"d" * 512})[:1024])
    assert list(open_sources([archive]).stems) == [b"n01440764_10026"]
    assert "may be cut off after member n01440764_10026.JPEG" in caplog.text


def test_archive_cut_after_it_was_opened(tmp_path: Path) -> None:
    archive = tmp_path / "n01440764.tar"
    archive.write_bytes(tar_bytes({"n01440764_10026.JPEG": b"d" * 900}))
    images = open_sources([archive])
    assert images.read(0) == b"d" * 900
    os.truncate(archive, 600)
    with pytest.raises(CorruptError, match=r"n01440764\.tar: cut off at member n01440764_10026"):
        images.read(0)
    images.close()
    with pytest.raises(CorruptError, match=r"n01440764\.tar: has changed since .* 600 now"):
        images.read(0)
    archive.unlink()
    with pytest.raises(MissingError, match=r"n01440764\.tar: cannot be opened"):
        images.read(0)


@pytest.mark.parametrize("opened", [False, True])
def test_archive_that_was_replaced(tmp_path: Path, opened: bool) -> None:
    """Other bytes of the same size at the same offsets are not taken for those that were listed."""
    archive = tmp_path / "n01440764.tar"
    first = {"n01440764_1.JPEG": b"a" * 900, "n01440764_2.JPEG": b"b" * 900}
    archive.write_bytes(tar_bytes(first))
    images = open_sources([archive], cache=tmp_path / "cache")
    if opened:
        images.read(0)
        images.close()
    archive.write_bytes(tar_bytes(dict(reversed(first.items()))))
    os.utime(archive, ns=(0, 0))
    for held in (images, pickle.loads(pickle.dumps(images))):
        with pytest.raises(CorruptError, match=r"n01440764\.tar: has changed since"):
            held.read(0)
    again = open_sources([archive], cache=tmp_path / "cache")
    assert contents(again) == {"n01440764_1": b"a" * 900, "n01440764_2": b"b" * 900}


def test_missing_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file") as caught:
        open_sources([tmp_path / "nowhere"])
    assert "ILSVRC2012_img_train.tar" in str(caught.value)
    with pytest.raises(MissingError, match="no raw ImageNet"):
        open_sources([tmp_path])
    with pytest.raises(UsageError, match="choose folders"):
        open_sources([tmp_path], kind="zip")


def test_kaggle(tmp_path: Path) -> None:
    base = tmp_path / "ILSVRC/Data/CLS-LOC"
    write_folders(base / "train", TRAIN)
    write_flat(base / "val", VALIDATION)
    (base / "test").mkdir()
    (base / "test/ILSVRC2012_test_00000001.JPEG").touch()
    (tmp_path / "LOC_val_solution.csv").touch()
    for path in (tmp_path, tmp_path / "ILSVRC", tmp_path / "ILSVRC/Data", base):
        images = open_sources([path])
        assert contents(images) == EVERYTHING
        assert {kind for kind, _, _ in images.describe()} == {"kaggle"}
    with pytest.raises(MissingError, match="no raw ImageNet is found there as kaggle"):
        open_sources([base / "train"], kind="kaggle")


def test_webdataset(tmp_path: Path) -> None:
    for number, stem in enumerate(EVERYTHING):
        members = {
            f"{stem}.cls": b"3",
            f"train/{stem}.jpg": EVERYTHING[stem],
            f"{stem}.json": b"{}",
        }
        path = tmp_path / f"imagenet1k-train-{number:04d}.tar"
        path.write_bytes(tar_bytes(members, tarfile.PAX_FORMAT, mtime=1.5))  # a pax header each
    images = open_sources([tmp_path], kind="webdataset")
    assert contents(images) == EVERYTHING
    assert images.describe() == [("webdataset", tmp_path, 6)]


def test_webdataset_without_file_names(tmp_path: Path) -> None:
    path = tmp_path / "imagenet1k-train-0000.tar"
    path.write_bytes(tar_bytes({"000001.jpg": b"?", "000001.cls": b"3", "000002.jpg": b"?"}))
    with pytest.raises(MissingError, match="cannot be identified") as caught:
        open_sources([path], cache=tmp_path / "cache")
    assert str(path) in str(caught.value)
    assert "2 images" in str(caught.value)
    assert "000001.jpg" in str(caught.value)


def test_odd_tars(tmp_path: Path) -> None:
    """Long names, pax names, sizes in base 256, hard links, folders, leading `./`."""
    deep = "/".join(["ein sehr langer Ordner ü" * 3] * 3)
    first, second, third = sorted(TRAIN)
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=format) as tar:
            folder = tarfile.TarInfo("./train")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            for name in (f"{deep}/{first}.JPEG", f"./train/{second}.JPEG", "README.md"):
                info = tarfile.TarInfo(name)
                info.size = 700
                tar.addfile(info, io.BytesIO(Path(name).stem[-1:].encode() * 700))
            link = tarfile.TarInfo(f"train/{third}.JPEG")
            link.type, link.linkname = tarfile.LNKTYPE, f"{deep}/{first}.JPEG"
            tar.addfile(link)
        path = tmp_path / f"{format}.tar"
        path.write_bytes(buffer.getvalue())
        expected = {first: b"6" * 700, second: b"7" * 700, third: b"6" * 700}
        assert contents(open_sources([path])) == expected


def test_the_folders_of_long_paths_are_read_in_ustar_too(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        tar.addfile(tarfile.TarInfo(f"{'a' * 60}/train/{'b' * 60}/x.JPEG"))
    with path.open("rb") as file:
        (member,) = walk(file.fileno(), 0, path.stat().st_size, "x.tar")
    assert member[0].decode() == f"{'a' * 60}/train/{'b' * 60}/x.JPEG"


def test_base_256_size(tmp_path: Path) -> None:
    data = bytearray(tar_bytes({"n01440764_10026.JPEG": b"d" * 900}))
    data[124:136] = b"\x80" + (900).to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "x.tar").write_bytes(data)
    assert contents(open_sources([tmp_path / "x.tar"])) == {"n01440764_10026": b"d" * 900}


def damaged_header(data: bytearray) -> None:
    data[1536 + 5] ^= 1


def negative_size(data: bytearray) -> None:
    data[124:136] = b"\xff" * 11 + b"\x00"
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            damaged_header,
            r"header after member n01440764_10026\.JPEG \(byte 1,536\) is dam",
        ),
        (negative_size, "cut off at member n01440764_10026"),
        (
            lambda data: data.extend(bytes(5 << 20)),
            r"5,\d+,\d+ bytes follow: an incomplete",
        ),
        (lambda data: data.__setitem__(slice(0, 4), b"\x1f\x8b\x08\0"), "compressed, so it cannot"),
        (lambda data: data.__setitem__(slice(0, 4), b"<htm"), "a login page"),
    ],
)
def test_damaged_tars(tmp_path: Path, change: Callable[[bytearray], None], message: str) -> None:
    names = ("n01440764_10026", "n01440764_10027")
    data = bytearray(tar_bytes({f"{s}.JPEG": b"d" * 900 for s in names}))
    change(data)
    path = tmp_path / "n01440764.tar"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=message) as caught:
        open_sources([path])
    assert str(path) in str(caught.value)


def test_sparse_member_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("n01440764_10026.JPEG")
    info.type = b"S"
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(CorruptError, match="is sparse"):
        open_sources([tmp_path / "x.tar"])


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9000"},
        {"GNU.sparse.size": "9000", "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,900"},
        {"GNU.sparse.size": "9000", "GNU.sparse.offset": "0", "GNU.sparse.numbytes": "900"},
        {"SCHILY.realsize": "9000"},
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_sparse_member_of_a_pax_archive_is_refused(
    tmp_path: Path, headers: dict[str, str], inside: bool
) -> None:
    name = "n01440764_10026.JPEG"
    info = tarfile.TarInfo("GNUSparseFile.7/" + name)
    info.size, info.pax_headers = 900, {"GNU.sparse.name": name, **headers}
    data = info.tobuf(tarfile.PAX_FORMAT) + b"d" * 900 + bytes(124 + 1024)
    data = tar_bytes({"n01440764.tar": data}) if inside else data
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(CorruptError, match=rf"x\.tar: .*member {name} is sparse"):
        open_sources([tmp_path / "x.tar"])


def test_two_forms_and_the_first_wins(tmp_path: Path) -> None:
    official(tmp_path / "tars")
    write_folders(tmp_path / "train", {"n02085620_1": b"other bytes", "n02085620_2": b"more"})
    archive = tmp_path / "tars/ILSVRC2012_img_train.tar"
    first = open_sources([archive, tmp_path / "train"])
    assert contents(first) == TRAIN | {"n02085620_2": b"more"}
    assert first.notes == ("1 images are there more than once: the first given is taken",)
    second = open_sources([tmp_path / "train", archive])
    assert contents(second)["n02085620_1"] == b"other bytes"
    assert [kind for kind, _, _ in second.describe()] == ["folders", "tar"]
    only = open_sources([tmp_path], kind="folders")
    assert contents(only) == {"n02085620_1": b"other bytes", "n02085620_2": b"more"}


def test_odd_names(tmp_path: Path) -> None:
    """Suffixes in any case, Hugging Face names, strays, spaces, accents, symlinked folders."""
    real = tmp_path / "bilder für später" / "n01440764"
    real.mkdir(parents=True)
    files = {
        "n01440764_1.JPEG": b"1",
        "n01440764_2.jpeg": b"2",
        "n01440764_3.jpg": b"3",
        "n01440764_4_n01440764.JPEG": b"4",
        "n01440764_5.PNG": b"5",
        "n01440764_1.jpg": b"a second copy",
        ".DS_Store": b"",
        "._n01440764_1.JPEG": b"",
        "Thumbs.db": b"",
        "tench (1).jpg": b"?",
    }
    for name, data in files.items():
        (real / name).write_bytes(data)
    train = tmp_path / "raw" / "train"
    train.mkdir(parents=True)
    (train / "n01440764").symlink_to(real)
    (train / "n00000000").mkdir()  # an empty class
    (train / ".DS_Store").touch()
    images = open_sources([tmp_path / "raw"])
    assert contents(images) == {f"n01440764_{i}": b"%d" % i for i in range(1, 6)}
    assert images.location(3).path.name == "n01440764_4_n01440764.JPEG"
    assert images.notes == (
        f"{train}: 1 images have no ILSVRC file name (such as {train}/n01440764/tench (1).jpg) "
        "and are left out",
        "1 images are there more than once: the first given is taken",
    )
    assert contents(open_sources([real.parent])) == contents(images)


def test_file_that_disappears(tmp_path: Path) -> None:
    write_folders(tmp_path, {"n01440764_10026": b"x"})
    images = open_sources([tmp_path])
    path = tmp_path / "n01440764/n01440764_10026.JPEG"
    path.unlink()
    for use in (images.read, lambda position: images.sizes([position])):
        with pytest.raises(MissingError, match="cannot be read") as caught:
            use(0)
        assert str(path) in str(caught.value)


def test_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere: cannot be listed"):
        listing(os.fsencode(tmp_path / "nowhere"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_forked_and_threaded_reads(tmp_path: Path) -> None:
    official(tmp_path)
    images = open_sources([tmp_path])
    expected = contents(images)
    with ThreadPoolExecutor(4) as pool:
        reads = list(pool.map(images.read, list(range(len(images))) * 20))
    assert reads == list(expected.values()) * 20
    with multiprocessing.get_context("fork").Pool(1) as workers:
        assert workers.map(images.read, range(len(images))) == list(expected.values())


def test_few_archives_stay_open(tmp_path: Path) -> None:
    stems = [f"n{i:08d}_1" for i in range(40)]
    for stem in stems:
        (tmp_path / f"{stem[:9]}.tar").write_bytes(tar_bytes({f"{stem}.JPEG": stem.encode()}))
    images = open_sources([tmp_path])
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else None
    assert contents(images) == {stem: stem.encode() for stem in stems}
    if before is not None:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 16


def write_parquet(path: Path, rows: list[dict[str, object]], group: int = 2) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'imagenets[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=group)


def hub_rows(
    images: Mapping[str, bytes], name: str = "{stem}_n01440764.JPEG"
) -> list[dict[str, object]]:
    return [
        {"image": {"bytes": data, "path": name.format(stem=stem)}, "label": 0}
        for stem, data in images.items()
    ]


@pytest.mark.parametrize(
    "name", ["{stem}_n01440764.JPEG", "{stem}.JPEG", "some/folder/{stem}.JPEG"]
)
def test_parquet(tmp_path: Path, name: str) -> None:
    train = tmp_path / "hub" / "data" / "train-00000-of-00001.parquet"
    write_parquet(train, hub_rows(TRAIN, name))
    write_parquet(train.with_name("validation-00000-of-00001.parquet"), hub_rows(VALIDATION, name))
    train.with_name("test-00000-of-00001.parquet").write_bytes(b"not looked at")
    for path in (tmp_path / "hub", train.parent):
        images = open_sources([path])
        assert contents(images) == EVERYTHING
        assert [(kind, n) for kind, _, n in images.describe()] == [("parquet", 6)]
    assert contents(open_sources([train], kind="parquet")) == TRAIN
    position = int(images.find(np.array([b"n02085620_1"]))[0])
    assert images.location(position) == (train, 2, None)
    assert list(images.sizes([position])) == [-1]
    assert images.mask(position) is None
    assert images.mask(0) is None
    copy = pickle.loads(pickle.dumps(images.take([position])))
    assert copy.read(0) == TRAIN["n02085620_1"]


def test_storage_order_is_that_of_the_files(tmp_path: Path) -> None:
    shuffled = {f"n01440764_{i * 7 % 100}": b"%d" % i for i in range(100)}
    for k in range(2):
        half = dict(list(shuffled.items())[k * 50 :][:50])
        write_parquet(tmp_path / f"train-{k}.parquet", hub_rows(half, "{stem}.JPEG"), group=10)
    images = open_sources([tmp_path])
    positions = np.arange(100)[::-1]
    order = images.storage_order(positions)
    assert sorted(order) == list(range(100))
    assert [images.read(p) for p in positions[order]] == list(shuffled.values())


def test_mirror_with_masks(tmp_path: Path) -> None:
    path = tmp_path / "validation-00000-of-00004.parquet"
    rows: list[dict[str, object]] = [
        {"image": {"bytes": data}, "mask": {"bytes": b"mask of " + data}, "label": 1, "filename": f}
        for (stem, data) in VALIDATION.items()
        for f in [f"{stem}.JPEG" if data.endswith(b"1") else stem]
    ]
    write_parquet(path, rows)
    images = open_sources([path])
    assert contents(images) == VALIDATION
    assert images.mask(1) == b"mask of " + images.read(1)


def test_parquet_of_plain_bytes(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"jpg": d, "__key__": s} for s, d in TRAIN.items()]
    write_parquet(tmp_path / "x.parquet", rows)
    assert contents(open_sources([tmp_path])) == TRAIN


@pytest.mark.parametrize(
    ("path", "names"), [(None, "without file names"), ("7.png", "under names such as 7.png")]
)
def test_parquet_without_identity(tmp_path: Path, path: str | None, names: str) -> None:
    write_parquet(tmp_path / "x.parquet", [{"image": {"bytes": b"?", "path": path}, "label": 0}])
    with pytest.raises(MissingError, match=f"1 images, but {names}, so they cannot be identif"):
        open_sources([tmp_path])


def test_broken_parquet(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_parquet(path, [{"image": {"bytes": None, "path": "n01440764_10026.JPEG"}}])
    with pytest.raises(CorruptError, match=r"row 0 \(n01440764_10026\): .* holds no bytes"):
        open_sources([path]).read(0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptError, match=r"x\.parquet: not a whole parquet file"):
        open_sources([path])


@pytest.mark.parametrize("leaf", ["path", "bytes", "both"])
@pytest.mark.parametrize("nested", [False, True])
def test_parquet_with_dictionary_columns(tmp_path: Path, leaf: str, nested: bool) -> None:
    """Names or images that repeat in no row are still written as a dictionary by some writers."""
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'imagenets[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = pyarrow.array([f"{stem}.JPEG" for stem in EVERYTHING])
    data = pyarrow.array(list(EVERYTHING.values()))
    names = names if leaf == "bytes" else names.dictionary_encode()
    data = data if leaf == "path" else data.dictionary_encode()
    table = {"image": data, "path": names}
    if nested:
        table = {"image": pyarrow.StructArray.from_arrays([data, names], ["bytes", "path"])}
    parquet.write_table(pyarrow.table(table), tmp_path / "x.parquet", row_group_size=2)
    assert contents(open_sources([tmp_path / "x.parquet"])) == EVERYTHING


def test_parquet_that_pyarrow_cannot_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own errors, which are no builtin ones, name the file and what to do, too."""
    pyarrow = pytest.importorskip("pyarrow", reason="pip install 'imagenets[parquet]'")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    write_parquet(path, hub_rows(TRAIN))
    images = open_sources([path])
    for error in (pyarrow.ArrowNotImplementedError, pyarrow.lib.ArrowCapacityError):

        def fail(*_: object, error: type[Exception] = error, **__: object) -> None:
            raise error("as it is stored")

        with monkeypatch.context() as patched:
            patched.setattr(parquet.ParquetFile, "read_row_group", fail)
            with pytest.raises(CorruptError, match=rf"^{path}: .*as it is stored.*again"):
                open_sources([path])
            with pytest.raises(CorruptError, match=rf"^{path}: row 0 .*as it is stored.*again"):
                images.read(0)


def test_parquet_that_was_replaced(tmp_path: Path) -> None:
    """The old images are never given for the new ones, whatever was kept of the file."""
    path = tmp_path / "x.parquet"
    write_parquet(path, hub_rows({"n01440764_1": b"a1", "n01440764_2": b"a2"}))
    first = open_sources([path])
    unread = open_sources([path])
    assert first.read(0) == b"a1"
    status = path.stat()
    path.unlink()
    write_parquet(path, hub_rows({"n01440764_1": b"b1", "n01440764_2": b"b2"}))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert contents(open_sources([path])) == {"n01440764_1": b"b1", "n01440764_2": b"b2"}
    assert first.read(1) == b"a2"  # the open file is still the old one
    first.close()
    assert contents(open_sources([path])) == {"n01440764_1": b"b1", "n01440764_2": b"b2"}
    os.utime(path, ns=(0, 0))
    for images in (first, unread):
        with pytest.raises(CorruptError, match=r"x\.parquet: has changed since"):
            images.read(0)


def test_parquet_needs_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DependencyError, match=r"pip install 'imagenets\[parquet\]'"):
        open_sources([tmp_path])


def test_forced_kind_on_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(tar_bytes({"n01440764_10026.JPEG": b"x"}))
    with pytest.raises(UsageError, match="a single file, but --source-kind is flat"):
        open_sources([tmp_path / "x.tar"], kind="flat")


@needs_shared
def test_stand_in_archives() -> None:
    images = open_sources([SHARED / "data" / "eth80"])
    assert [n for _, _, n in images.describe()] == [1968, 1312]
    assert all(images.read(i)[:2] == b"\xff\xd8" for i in range(0, len(images), 100))
