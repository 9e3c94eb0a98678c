"""The command line: every way of asking, every bad input, always one clear line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import tiny
from world import World

from imagenets.cli.main import main as imagenets
from imagenets.cli.prepare import main
from imagenets.data.prepare.config import PrepareConfig
from imagenets.data.prepare.run import Sources
from imagenets.data.raw.synthetic_server import serve
from imagenets.errors import MissingError


def files(world: World) -> dict[str, bytes]:
    """Everything that counts: not what the command notes for itself."""
    return {
        str(path.relative_to(world.root)): path.read_bytes()
        for path in sorted(world.root.rglob("*"))
        if path.is_file() and ".prepare" not in path.parts
    }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


Capture = pytest.CaptureFixture[str]


def test_both_layouts_from_folders_with_a_table(world: World, capsys: Capture) -> None:
    assert world.run("--layout", "both") == 0
    out = capsys.readouterr().out
    assert "ImageNet-S tier 3: 3 classes" in out
    assert out.splitlines()[4].split() == ["validation", "9", "9", "0"]
    manifest = json.loads((world.shards / "manifest.json").read_bytes())
    assert {name: split["samples"] for name, split in manifest["splits"].items()} == {
        "train": 18,
        "train-semi": 6,
        "validation": 9,
        "test": 6,
    }
    assert manifest["archive"]["name"] == world.archive.name
    assert sorted(manifest["lists"]) == sorted(
        str(path.relative_to(world.index)) for path in world.index.rglob("*.txt")
    )
    assert len(list((world.root / "ImageNetS3").rglob("*.JPEG"))) == 39
    assert (world.root / "downloads/mapping/ImageNetS_im3_mapping_test.txt").is_file()


def test_json_is_for_machines(world: World, capsys: Capture) -> None:
    assert world.run("--json") == 0
    report = json.loads(capsys.readouterr().out)["tiers"][0]
    assert report["splits"]["train-semi"] == {"images": 6, "masks": 6, "missing": 0}
    assert report["shards"]["files"] == 4


def test_a_second_run_has_nothing_to_do(world: World, capsys: Capture) -> None:
    assert world.run("--layout", "both") == 0
    before = files(world)
    moved = (world.raw / "train" / "n90000001").rename(world.raw / "train" / "n90000004")
    moved.rename(world.raw / "train" / "n90000001")
    capsys.readouterr()
    assert world.run("--layout", "both") == 0  # looked at again: a folder has changed
    assert "prepared before" not in capsys.readouterr().out
    assert world.run("--layout", "both") == 0
    assert "prepared before" in capsys.readouterr().out
    assert files(world) == before


@pytest.mark.parametrize("what", ["shard", "link", "manifest", "list"])
def test_what_went_missing_is_made_again(world: World, what: str) -> None:
    assert world.run("--layout", "both") == 0
    before = files(world)
    lost = {
        "shard": world.shards / "validation-00000.h5",
        "link": next((world.root / "ImageNetS3/train").rglob("*.JPEG")),
        "manifest": world.shards / "manifest.json",
        "list": next((world.root / "downloads").rglob("*.txt")),
    }[what]
    lost.unlink()
    assert world.run("--layout", "both") == 0
    assert files(world) == before


def test_the_form_and_the_number_of_workers_change_no_byte(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b b\N{SNOWMAN}").mkdir()
    one = World(tmp_path / "a")
    two = World(tmp_path / "b b\N{SNOWMAN}", form="tars")
    assert one.run("--layout", "both", "--link", "copy") == 0
    assert two.run("--layout", "both", workers=2) == 0
    assert files(one) == files(two)


def test_splits_can_be_added_later(world: World) -> None:
    assert world.run("--subsets", "validation") == 0
    assert sorted(path.name for path in world.shards.iterdir()) == [
        "manifest.json",
        "validation-00000.h5",
    ]
    assert world.run("--subsets", "train", "test") == 0
    assert world.run("--subsets", "train-semi") == 0
    before = files(world)
    shutil.rmtree(world.root)
    assert world.run() == 0
    assert files(world) == before


def test_validation_alone_needs_no_training_images(tmp_path: Path, capsys: Capture) -> None:
    world = World(tmp_path, form="tars")
    (world.raw / "ILSVRC2012_img_train.tar").unlink()
    assert world.run() == 0
    captured = capsys.readouterr()
    assert "train-semi: left out" in captured.err
    assert [line.split()[0] for line in captured.out.splitlines()[2:4]] == ["validation", "test"]


def test_splits_without_masks_need_no_archive(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.given = world.given[:-2]
    assert world.run("--subsets", "train", "test") == 0
    assert json.loads((world.shards / "manifest.json").read_bytes())["archive"] is None


def test_a_source_with_masks_needs_no_archive(tmp_path: Path, capsys: Capture) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    arrow = pytest.importorskip("pyarrow")
    world = World(tmp_path)
    world.given = world.given[:-2]
    world.given[5] = str(tmp_path / "validation.parquet")
    rows = []
    for member, mask in world.tiny.members.items():
        stem = Path(member).stem
        if stem in world.tiny.val:
            image = {"bytes": world.tiny.val[stem]}
            rows.append({"image": image, "mask": {"bytes": mask}, "filename": f"{stem}.JPEG"})
    parquet.write_table(arrow.Table.from_pylist(rows), world.given[5])
    more = ["--subsets", "validation", "--layout", "both"]
    assert world.run(*more) == 0
    assert "the masks are those that the sources hold" in capsys.readouterr().err
    assert json.loads((world.shards / "manifest.json").read_bytes())["archive"] is None
    published = {name: data for name, data in files(world).items() if name.endswith(".png")}
    assert published == {n: d for n, d in world.tiny.members.items() if "validation" in n}
    shard = (world.shards / "validation-00000.h5").read_bytes()
    shutil.rmtree(world.root)
    assert world.run(*more, "--annotations", str(world.archive)) == 0
    assert (world.shards / "validation-00000.h5").read_bytes() == shard


def test_no_imagenet_says_which_forms_are_taken(
    world: World, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IMAGENET_DIR", raising=False)
    del world.given[4:6]
    assert world.run() == 2
    err = capsys.readouterr().err
    for words in ("ILSVRC2012_img_train.tar", "IMAGENET_DIR", "https://image-net.org", "Kaggle"):
        assert words in err
    monkeypatch.setenv("IMAGENET_DIR", str(world.raw))
    assert world.run() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "51"], "no tier '51'"),
        ([], "--split is missing"),
        (["--split", "50", "--imagenet", ".", "--workers", "0"], "--workers 0: at least 1"),
        (["--split", "50", "--imagenet", ".", "--quality", "80"], "--quality is for --resize"),
        (["--split", "50", "--imagenet", ".", "--resize", "0"], "--resize 0"),
        (["--split", "50", "--imagenet", ".", "--resize", "9", "--quality", "0"], "--quality 0"),
        (["--split", "50", "--imagenet", ".", "--backend", "dask"], "go together"),
    ],
)
def test_usage_errors_end_with_2_and_leave_nothing(
    tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    assert main([*arguments, "--root", str(tmp_path / "root")]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("error: ")
    assert not (tmp_path / "root").exists()


def test_train_full_is_refused_where_it_is_not_published(world: World, capsys: Capture) -> None:
    assert world.run("--subsets", "train-full") == 2
    assert "tier 3 has no split 'train-full'" in capsys.readouterr().err


def test_a_raw_folder_without_half_of_its_classes(tmp_path: Path, capsys: Capture) -> None:
    world = World(tmp_path)
    shutil.rmtree(world.raw / "train" / "n90000002")
    assert world.run() == 1
    err = capsys.readouterr().err
    assert "train: n90000002 (no images)" in err
    assert "train-semi: n90000002/n90000002_42" in err
    missing = world.root / "ImageNetS3-missing.txt"
    assert len(missing.read_text().splitlines()) == 3
    assert world.run("--allow-missing") == 0
    assert "train-semi" in capsys.readouterr().out
    world.tiny.folders(tmp_path / "again")
    shutil.move(tmp_path / "again/train/n90000002", world.raw / "train")
    assert world.run() == 0  # they have turned up
    assert not missing.exists()


def test_a_truncated_image_in_a_tar_is_named_and_the_rest_is_kept(
    tmp_path: Path, capsys: Capture
) -> None:
    sound = tiny()
    world = tiny()
    stem = "n90000002_116"
    world.train[stem] = world.train[stem][:-150]
    broken = World(tmp_path, world, form="tars")
    assert broken.run(workers=2) == 1
    err = capsys.readouterr().err
    assert f"{broken.raw}/ILSVRC2012_img_train.tar: {stem}.JPEG: does not decode" in err
    assert "Traceback" not in err
    kept = sorted(path.name for path in broken.shards.glob("*.h5"))
    assert kept == ["test-00000.h5", "train-semi-00000.h5", "validation-00000.h5"]
    shutil.rmtree(broken.raw)
    sound.tars(broken.raw)
    assert broken.run() == 0


def test_a_mask_archive_with_a_wrong_md5_is_a_warning(world: World, capsys: Capture) -> None:
    wrong = world.archive.with_name(f"ImageNetS3-{'0' * 32}.zip")
    md5 = world.archive.stem.partition("-")[2]
    world.archive.rename(wrong)
    world.given[-1] = str(wrong)
    assert world.run() == 0
    err = capsys.readouterr().err
    assert f"warning: {wrong.name}: its md5 is {md5}, its name says {'0' * 32}" in err
    assert json.loads((world.shards / "manifest.json").read_bytes())["archive"]["md5"] == md5


def test_a_mask_archive_with_wrong_content_is_an_error(tmp_path: Path, capsys: Capture) -> None:
    world = tiny()
    name = sorted(world.members)[3]
    world.members["ImageNetS3/../../evil.png"] = world.members.pop(name)
    assert World(tmp_path, world).run() == 1
    assert "points out of the archive's folder" in capsys.readouterr().err
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("path", ["/proc/nowhere/root", "/dev/null/root"])
def test_a_root_that_cannot_be_made(world: World, capsys: Capture, path: str) -> None:
    world.given[3] = path
    assert world.run() == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path.rpartition('/')[0]}")
    assert "Remedy" in err


def test_a_path_that_is_not_there(world: World, capsys: Capture) -> None:
    world.given[5] = str(world.raw / "nowhere")
    assert world.run() == 1
    assert f"{world.raw / 'nowhere'}: no such file or folder" in capsys.readouterr().err
    with pytest.raises(MissingError, match="no such file"):  # before anything is fetched
        Sources(PrepareConfig(world.raw, (world.raw / "nowhere",)))


def test_only_the_form_that_is_asked_for_is_taken(world: World, capsys: Capture) -> None:
    assert world.run("--source-kind", "tar") == 1
    assert f"{world.raw}: no raw ImageNet is found there as tar" in capsys.readouterr().err
    assert world.run("--source-kind", "web") == 2
    assert "there is no source kind 'web'" in capsys.readouterr().err


def test_an_image_that_cannot_be_read_is_named_and_the_rest_is_kept(
    world: World, capsys: Capture
) -> None:
    path = world.raw / "val" / f"{sorted(world.tiny.val)[0]}.JPEG"
    data = path.read_bytes()
    path.unlink()
    path.symlink_to(world.raw / "gone.JPEG")
    assert world.run() == 1
    assert f"{path}: cannot be read (No such file" in capsys.readouterr().err
    assert len(list(world.shards.glob("*.h5"))) == 3
    path.unlink()
    path.write_bytes(data)
    assert world.run() == 0


def test_a_dry_run_tells_and_writes_nothing_of_the_set(world: World, capsys: Capture) -> None:
    lost = world.raw / "val" / f"{sorted(world.tiny.val)[0]}.JPEG"
    lost.unlink()
    assert world.run("--dry-run", "--json", "--layout", "both") == 1
    report = json.loads(capsys.readouterr().out)["tiers"][0]
    missing = [name for split in report["splits"].values() for name in split["missing_names"]]
    assert [name.partition("/")[2] for name in missing] == [lost.stem]
    assert report["splits"]["train"]["expected"] is None
    raw = sum(map(len, world.tiny.train.values()))
    assert report["splits"]["train"]["bytes"] == raw  # links take no bytes
    assert report["free"] > 0
    assert report["archive"] == str(world.archive)
    assert not list(world.root.glob("ImageNetS*"))
    more = ["--layout", "tree", "--link", "copy", "--allow-missing"]
    assert world.run("--dry-run", *more) == 0
    out = capsys.readouterr().out
    assert f"missing: n9000000{missing[0][8]}/{lost.stem}" in out
    assert "time: about" in out


def test_a_dry_run_of_what_is_finished_says_so(world: World, capsys: Capture) -> None:
    assert world.run() == 0
    before = files(world)
    capsys.readouterr()
    assert world.run("--dry-run") == 0
    out = capsys.readouterr().out
    assert "tier 3, prepared before: nothing to do" in out
    assert "not prepared" not in out
    assert world.run("--dry-run", "--json") == 0
    report = json.loads(capsys.readouterr().out)["tiers"][0]
    assert report["done_before"]
    assert report["bytes"] == 0
    assert report["splits"]["train"]["found"] == 18
    assert world.run("--dry-run", "--restart") == 0  # something else is asked for
    assert "not prepared" in capsys.readouterr().out
    assert files(world) == before


def test_a_dry_run_ends_as_a_real_run_would(
    world: World, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 1 and the same reason; what it has found is shown all the same."""
    small = shutil.disk_usage(world.path)._replace(free=1000)
    lost = world.raw / "val" / f"{sorted(world.tiny.val)[0]}.JPEG"
    data = lost.read_bytes()
    empty = world.path / "empty.zip"
    with zipfile.ZipFile(empty, "w") as archive:
        archive.writestr("ImageNetS3/readme", b"")
    given = world.given[: world.given.index("--annotations")]

    def dry(*words: str) -> str:
        assert main([*words, "--workers", "1", "--dry-run"]) == 1
        out, err = capsys.readouterr()
        assert "ImageNet-S tier 3, not prepared (--dry-run)" in out
        assert not list(world.root.glob("ImageNetS*"))
        return err

    assert "holds besides 1 members" in dry(*given, "--annotations", str(empty))
    lost.unlink()
    assert "error: a real run would stop: tier 3 is not complete" in dry(*world.given)
    lost.write_bytes(data)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: small)
    assert "does not fit" in dry(*world.given)
    monkeypatch.undo()
    assert main([*given, "--dry-run"]) == 2  # a custom tier's archive is not published
    assert "give it with --annotations" in capsys.readouterr().err


@pytest.fixture
def mirror(world: World) -> Iterator[str]:
    """A mirror of the lists and the archive."""
    with serve(world.index.parent) as url:
        yield url


def test_downloading_needs_no_images_and_can_be_carried(
    world: World, mirror: str, capsys: Capture, tmp_path: Path
) -> None:
    common = ["--split", "3", "--root", str(tmp_path / "cache"), "--json"]
    more = ["--annotations", str(world.archive)]
    assert main([*common, "--mirror", mirror, "--download-only", *more]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert [Path(path).name for path in files][-1] == world.archive.name
    assert all(Path(path).is_relative_to(tmp_path / "cache/downloads") for path in files)
    carried = tmp_path / "elsewhere" / "downloads"
    shutil.copytree(tmp_path / "cache" / "downloads", carried)
    arguments = ["--split", "3", "--root", str(carried.parent), "--offline"]
    assert main([*arguments, "--imagenet", str(world.raw)]) == 0
    assert (carried.parent / "ImageNetS3.shards/manifest.json").is_file()


def test_a_mirror_that_lacks_a_list_is_an_error(
    world: World, mirror: str, capsys: Capture, tmp_path: Path
) -> None:
    next(world.index.rglob("*mapping_test.txt")).unlink()
    arguments = ["--split", "3", "--root", str(tmp_path / "r"), "--mirror", mirror]
    assert main([*arguments, "--imagenet", str(world.raw)]) == 1
    assert "404" in capsys.readouterr().err


def test_verify_and_repair(world: World, capsys: Capture) -> None:
    assert world.run() == 0
    before = files(world)
    path = world.shards / "validation-00000.h5"
    data = bytearray(path.read_bytes())
    stem, image = next(iter(world.tiny.val.items()))
    data[data.find(image)] ^= 1
    path.write_bytes(data)
    capsys.readouterr()
    assert main(["--verify", "--root", str(world.root), "--json"]) == 1
    faults = json.loads(capsys.readouterr().out)["sets"][0]["faults"]
    assert {fault["shard"] for fault in faults} == {path.name}
    assert {fault["sample"] for fault in faults} == {None, f"n90000001/{stem}"}
    assert world.run("--repair") == 0
    assert files(world) == before
    assert main(["--verify", "--root", str(world.root)]) == 0
    assert "sound (4 shards, 39 samples)" in capsys.readouterr().out
    assert world.run("--repair") == 0
    assert "nothing to repair" in capsys.readouterr().out


@pytest.mark.slow
def test_the_sample_goes_the_same_way(tmp_path: Path, capsys: Capture) -> None:
    assert main(["--sample", "--root", str(tmp_path), "--workers", "2"]) == 0
    out = capsys.readouterr().out
    assert "ImageNet-S tier 6: 6 classes" in out
    assert f"imagenets-baseline train --root {tmp_path} --split 6" in out
    assert len(list((tmp_path / "downloads").rglob("*.*"))) == 6
    assert main(["--sample", "--root", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tiers"][0]["done_before"]


@contextmanager
def started(world: World, *more: str) -> Iterator[subprocess.Popen[str]]:
    """The command at work in a process group of its own, as a terminal would start it."""
    command = [sys.executable, "-m", "imagenets.cli.prepare", *world.given, *more]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    ) as process:
        try:
            deadline = time.monotonic() + 300  # much: the machine may be busy
            while not (world.shards / "train-00000.h5").exists():
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.5)
            yield process
        finally:
            process.kill()


def hang(world: World) -> tuple[Path, bytes]:
    """Replaces an image by a pipe that nobody writes to: packing stops there for ever."""
    path = world.raw / "val" / f"{sorted(world.tiny.val)[0]}.JPEG"
    data = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    return path, data


@pytest.mark.slow
@pytest.mark.parametrize(
    ("send", "number", "code", "text"),
    [
        (os.killpg, signal.SIGINT, 130, "interrupted: run the same command again"),
        (os.kill, signal.SIGTERM, 143, "terminated: run the same command again"),
        (os.killpg, signal.SIGTERM, 143, "terminated: run the same command again"),
    ],
)
def test_a_run_that_is_stopped_says_so_and_another_run_finishes(
    world: World,
    send: Callable[[int, int], None],
    number: signal.Signals,
    code: int,
    text: str,
) -> None:
    path, data = hang(world)
    with started(world, "--workers", "2") as process:
        send(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert text in err
    assert "Traceback" not in err
    assert "leaked" not in err
    path.unlink()
    path.write_bytes(data)
    assert world.run() == 0
    assert main(["--verify", "--root", str(world.root)]) == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--split", "50"], "--split 50: the sample is always tier 6"),
        (["--imagenet", "raw"], "--imagenet: the sample is generated"),
        (["--index", "lists"], "--index: the sample is generated"),
        (["--annotations", "a.zip"], "--annotations: the sample is generated"),
        (["--offline"], "--offline: the sample is generated"),
    ],
)
def test_what_the_sample_cannot_follow_is_refused(
    tmp_path: Path, capsys: Capture, words: list[str], named: str
) -> None:
    for verb in (["--sample"], ["sample"]):
        call = main if verb == ["--sample"] else imagenets
        assert call([*verb, "--root", str(tmp_path / "root"), *words]) == 2
        assert named in capsys.readouterr().err
    assert not (tmp_path / "root").exists()


@pytest.mark.slow
def test_one_run_at_a_time_and_a_killed_one_lets_go(world: World, capsys: Capture) -> None:
    path, data = hang(world)
    with started(world, "--workers", "2") as process:
        assert world.run() == 1
        who = f"another run is at work here: process {process.pid} on "
        assert who in capsys.readouterr().err
        process.kill()  # the workers are left behind, one of them hangs, and must go by themselves
        process.communicate(timeout=60)  # which waits for all who have its pipes
    path.unlink()
    path.write_bytes(data)
    assert world.run() == 0
    assert main(["--verify", "--root", str(world.root)]) == 0
