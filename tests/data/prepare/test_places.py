"""Preparing where others have left their traces, or where less is possible than usual."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from unprivileged import needs_unprivileged, run
from world import World

from imagenets.cli.prepare import main


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@needs_unprivileged
@pytest.mark.parametrize("place", [".", "train", "val"])
def test_a_lost_and_found_is_passed_over_with_a_warning(world: World, place: str) -> None:
    closed = world.raw / place / "lost+found"
    closed.mkdir()
    closed.chmod(0)
    done = run("prepare", *world.given, "--workers", "1")
    assert done.returncode == 0, done.stderr
    warning = f"warning: {closed}: cannot be listed (Permission denied) and is passed over"
    assert done.stderr.splitlines().count(warning) == 1
    assert main(["--verify", "--root", str(world.root)]) == 0
    again = run("prepare", *world.given, "--workers", "1")
    assert again.returncode == 0
    assert "nothing to do" in again.stdout


@needs_unprivileged
@pytest.mark.parametrize("place", ["train", "train/n90000001"])
def test_a_class_or_split_that_is_closed_is_an_error(world: World, place: str) -> None:
    """Its images are wanted: they are not passed over."""
    closed = world.raw / place
    closed.chmod(0)
    done = run("prepare", *world.given, "--workers", "1")
    closed.chmod(0o755)
    assert done.returncode == 1
    assert f"error: {closed}: cannot be listed (Permission denied)" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_macos_and_windows_leave_changes_nothing(tmp_path: Path) -> None:
    clean, littered = World(tmp_path / "a", form="tars"), World(tmp_path / "b", form="tars")
    for name in ("._ILSVRC2012_img_val.tar", "._train-00000-of-00001.parquet", ".DS_Store"):
        (littered.raw / name).write_bytes(b"\0\5\x16\7Mac OS X")
    (littered.raw / "__MACOSX").mkdir()
    (littered.raw / "__MACOSX" / "._ILSVRC2012_img_val.tar").write_bytes(b"\0\5\x16\7")
    for world in (clean, littered):
        assert world.run("--layout", "both") == 0
    shards = sorted(path.name for path in clean.shards.iterdir())
    assert [path.name for path in sorted(littered.shards.iterdir())] == shards
    for name in shards:
        assert (clean.shards / name).read_bytes() == (littered.shards / name).read_bytes()


def test_litter_in_a_tree_is_no_file_of_the_set(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    from imagenets import ImageNetS

    assert world.run("--layout", "tree") == 0
    before = ImageNetS(world.root, "validation", 3)
    digest = before.digest
    for folder in ("validation", "validation-segmentation"):
        for file in list((world.tree / folder).glob("*/*")):
            (file.parent / f"._{file.name}").write_bytes(b"\0\5\x16\7")
            (file.parent / ".DS_Store").write_bytes(b"")
    after = ImageNetS(world.root, "validation", 3)
    assert len(after) == len(before)
    assert after.digest == digest
    shutil.rmtree(world.root / ".prepare")
    capsys.readouterr()
    assert world.run("--layout", "tree") == 0
    assert "belong to no split" not in capsys.readouterr().err


_NO_FLOCK = """
import errno, fcntl, sys
def missing(*_): raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = missing
from imagenets.cli.prepare import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_file_system_without_flock_will_do(world: World) -> None:
    done = run(*world.given, "--workers", "1", code=_NO_FLOCK)
    assert done.returncode == 0, done.stderr
    assert "flock" not in done.stderr
    assert main(["--verify", "--root", str(world.root)]) == 0
    lock = world.root / ".prepare" / "lock.soft"
    assert not lock.exists()
    facts = {"pid": 1, "host": "elsewhere", "space": "", "since": "2026-01-01 00:00:00"}
    lock.write_text(json.dumps(facts))
    busy = run(*world.given, "--workers", "1", "--layout", "tree", code=_NO_FLOCK)
    assert busy.returncode == 1
    assert "process 1 on elsewhere, since 2026-01-01 00:00:00" in busy.stderr
    assert f"delete {lock}" in busy.stderr


@needs_unprivileged
@pytest.mark.parametrize("layout", ["shards", "both"])
def test_a_finished_set_on_a_root_that_is_read_only(world: World, layout: str) -> None:
    words = ["prepare", *world.given, "--workers", "1", "--layout", layout]
    assert run(*words).returncode == 0
    places = [world.root, *(path for path in world.root.rglob("*") if path.is_dir())]
    files = [path for path in world.root.rglob("*") if path.is_file()]
    for path in [*places, *files]:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        for more in ([], ["--dry-run"]):
            done = run(*words, *more)
            assert done.returncode == 0, done.stderr
            assert "prepared before" in done.stdout
            assert "error" not in done.stderr
        other = run(*words, "--restart")
        assert other.returncode == 1
        assert f"error: {world.root}" in other.stderr
        assert "Permission denied" in other.stderr
    finally:
        for path in places:
            path.chmod(0o755)
