"""The published folders, as links or copies, repaired by another run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from world import World

from imagenets.core.pool import Pool
from imagenets.data.prepare.tree import Counts, Link, build_tree, planned_folders
from imagenets.errors import UsageError

IMAGES, MASKS = 18 + 6 + 9 + 6, 6 + 9


def build(world: World, link: Link = "symlink") -> Counts:
    return build_tree(world.plan, world.images, world.masks, world.tree, link, Pool())


def check(world: World) -> None:
    """Every image and mask is where the published layout has it, with its own bytes."""
    raw = world.tiny.train | world.tiny.val
    found = {path for path in world.tree.rglob("*") if not path.is_dir()}
    for split in world.plan.splits.values():
        for row in range(len(split)):
            path = (
                world.tree
                / split.name
                / split.wnids[row].decode()
                / f"{split.stems[row].decode()}.JPEG"
            )
            assert path.read_bytes() == raw[path.stem]
            found.remove(path)
    for name, data in world.tiny.members.items():
        path = world.root / name
        assert path.read_bytes() == data
        found.remove(path)
    assert not found


@pytest.mark.parametrize("link", ["symlink", "hardlink", "copy"])
def test_every_way_of_linking_gives_the_published_layout(tmp_path: Path, link: Link) -> None:
    world = World(tmp_path)
    assert build(world, link) == Counts(IMAGES + MASKS, 0, 0)
    check(world)
    stem = next(iter(world.tiny.train))
    path = world.tree / "train" / stem[:9] / f"{stem}.JPEG"
    raw = tmp_path / "raw" / "train" / stem[:9] / f"{stem}.JPEG"
    assert path.is_symlink() == (link == "symlink")
    assert path.samefile(raw) == (link != "copy")
    assert build(world, link) == Counts(0, IMAGES + MASKS, 0)


def test_images_in_archives_are_written_out(tmp_path: Path) -> None:
    world = World(tmp_path, form="tars")
    assert build(world, "symlink").made == IMAGES + MASKS
    check(world)
    assert not any(path.is_symlink() for path in world.tree.rglob("*"))


def test_another_run_mends_what_is_wrong_and_keeps_strangers(tmp_path: Path) -> None:
    world = World(tmp_path)
    build(world)
    images = sorted((world.tree / "train").rglob("*.JPEG"))
    images[0].unlink()
    images[1].unlink()
    images[1].symlink_to(tmp_path / "nowhere.JPEG")
    images[2].unlink()
    images[2].write_bytes(b"a file in the way")
    mask = next((world.tree / "validation-segmentation").rglob("*.png"))
    mask.write_bytes(b"cut off")
    part = images[0].with_name(f".{images[3].name}.part")  # of a killed run
    part.write_bytes(b"half")
    stranger = images[0].with_name("mine.txt")
    stranger.write_bytes(b"mine")
    assert build(world) == Counts(4, IMAGES + MASKS - 4, 1)
    stranger.unlink()
    check(world)


@pytest.mark.parametrize(("before", "after"), [("symlink", "copy"), ("hardlink", "copy")])
def test_copies_replace_links_when_asked(tmp_path: Path, before: Link, after: Link) -> None:
    world = World(tmp_path)
    build(world, before)
    assert build(world, after).made == IMAGES
    for path in (tmp_path / "raw").rglob("*.JPEG"):
        path.unlink()
    check(world)


def test_a_class_folder_that_is_a_link_is_never_written_to(tmp_path: Path) -> None:
    world = World(tmp_path)
    raw = tmp_path / "raw" / "train"
    before = sorted(raw.rglob("*"))
    (world.tree / "train").mkdir(parents=True)
    (world.tree / "train" / "n90000001").symlink_to(raw / "n90000002")
    with pytest.raises(UsageError, match="train/n90000001: is a link to a folder"):
        build(world)
    assert sorted(raw.rglob("*")) == before


def test_hard_links_across_file_systems_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    world = World(tmp_path)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(UsageError, match="Choose --link symlink"):
        build(world, "hardlink")


def test_planned_folders_are_those_that_are_made(tmp_path: Path) -> None:
    world = World(tmp_path)
    build(world)
    made = {path for path in world.tree.glob("*/*") if path.is_dir()}
    assert set(planned_folders(world.plan, world.tree)) == made
    assert len(made) == 3 * 6
