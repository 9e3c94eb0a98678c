from __future__ import annotations

import io
import os
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from imagenets.data.sources import RawImages, open_sources
from imagenets.errors import CorruptError, MissingError, UsageError

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
    assert [bytes(s).decode() for s in images.training()] == sorted(TRAIN)
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
    from imagenets.data.sources import tars

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


def test_unwritable_cache_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "val.tar"
    archive.write_bytes(tar_bytes({f"{s}.JPEG": d for s, d in VALIDATION.items()}))
    (tmp_path / "file").touch()
    assert contents(open_sources([archive], cache=tmp_path / "file" / "cache")) == VALIDATION
    assert "the index is not kept" in capsys.readouterr().err


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


def test_cut_at_a_boundary_warns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = tmp_path / "n01440764.tar"
    archive.write_bytes(tar_bytes({"n01440764_10026.JPEG": b"d" * 512})[:1024])
    assert list(open_sources([archive]).stems) == [b"n01440764_10026"]
    assert "may be cut off after member n01440764_10026.JPEG" in capsys.readouterr().err


def test_archive_cut_after_it_was_opened(tmp_path: Path) -> None:
    archive = tmp_path / "n01440764.tar"
    archive.write_bytes(tar_bytes({"n01440764_10026.JPEG": b"d" * 900}))
    images = open_sources([archive])
    os.truncate(archive, 600)
    with pytest.raises(CorruptError, match=r"n01440764\.tar: cut off at member n01440764_10026"):
        images.read(0)
    images.close()
    archive.unlink()
    with pytest.raises(MissingError, match=r"n01440764\.tar: cannot be opened"):
        images.read(0)


def test_missing_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file") as caught:
        open_sources([tmp_path / "nowhere"])
    assert "ILSVRC2012_img_train.tar" in str(caught.value)
    with pytest.raises(MissingError, match="no raw ImageNet"):
        open_sources([tmp_path])
    with pytest.raises(UsageError, match="choose folders"):
        open_sources([tmp_path], kind="zip")
