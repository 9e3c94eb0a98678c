"""The mask archive is opened with suspicion, and its content decides."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import Tiny, tiny

from imagenets import masks
from imagenets.core.pool import Pool
from imagenets.data.mask_archive import MAX_MEMBER, MaskArchive
from imagenets.data.prepare.archive import (
    check,
    decode_mask,
    digest,
    mask_size,
    tiers_of,
)
from imagenets.errors import CorruptError


def checked(world: Tiny, path: Path, name: str | None = None) -> str:
    archive = MaskArchive(world.archive(path, name))
    expected = sorted(tiny().members)
    return check(archive, expected, len(world.classes), path / "note.json", Pool()).md5


def test_a_sound_archive_passes_and_is_remembered(tmp_path: Path) -> None:
    world = tiny()
    md5 = checked(world, tmp_path)
    archive, note = MaskArchive(tmp_path / f"ImageNetS3-{md5}.zip"), tmp_path / "note.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "md5": "remembered"}))
    names = sorted(world.members)
    assert check(archive, names, 3, note, Pool()).md5 == "remembered"
    os.utime(archive.path, ns=(1, 1))  # another file, for all one can tell
    assert check(archive, names, 3, note, Pool()).md5 == md5


def test_a_digest_that_differs_from_the_name_is_a_warning_with_both(tmp_path: Path) -> None:
    claimed = "0" * 32
    path = tiny().archive(tmp_path, f"ImageNetS3-{claimed}.zip")
    found = digest(path)
    warning = found.warning()
    assert warning is not None
    assert claimed in warning
    assert found.md5 in warning
    assert digest(tiny().archive(tmp_path)).warning() is None
    assert digest(tiny().archive(tmp_path, "masks.zip")).warning() is None


def test_members_are_read_in_another_process(tmp_path: Path) -> None:
    world = tiny()
    archive = MaskArchive(world.archive(tmp_path))
    name = next(iter(world.members))
    assert archive.read(name) == world.members[name]
    assert archive.size(name) == len(world.members[name])
    assert pickle.loads(pickle.dumps(archive)).read(name) == world.members[name]
    assert archive.read(name) == world.members[name]
    assert tiers_of(archive.path) == {"3"}


def test_missing_and_strange_members_are_named(tmp_path: Path) -> None:
    world = tiny()
    name = next(iter(world.members))
    data = world.members.pop(name)
    with pytest.raises(CorruptError, match=f"lacks 1 members, such as {name}"):
        checked(world, tmp_path)
    world.members[name] = data
    world.members["ImageNetS3/readme.txt"] = b"strange"
    with pytest.raises(CorruptError, match="holds besides 1 members, such as ImageNetS3/readme"):
        checked(world, tmp_path)


@pytest.mark.parametrize(
    "litter",
    [
        *("__MACOSX/ImageNetS3/._x.png", "{folder}/._{file}", "{folder}/.DS_Store", "._.DS_Store"),
        *("{folder}/Thumbs.db", "desktop.ini", "System Volume Information/IndexerVolumeGuid"),
    ],
)
def test_what_operating_systems_leave_is_passed_over(tmp_path: Path, litter: str) -> None:
    world = tiny()
    folder, _, file = next(iter(world.members)).rpartition("/")
    path = world.archive(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(litter.format(folder=folder, file=file), b"Mac OS X")
    check(MaskArchive(path), sorted(world.members), 3, tmp_path / "note", Pool())
    assert tiers_of(path) == {"3"}


@pytest.mark.parametrize("spelling", ["./{}", "{}", ".\\{}"])
@pytest.mark.parametrize("separator", ["/", "\\"])
def test_other_tools_spell_names_in_their_way(
    tmp_path: Path, spelling: str, separator: str
) -> None:
    world = tiny()
    path = tmp_path / "masks.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in world.members.items():
            archive.writestr(spelling.format(name.replace("/", separator)), data)
    assert tiers_of(path) == {"3"}
    check(MaskArchive(path), sorted(world.members), 3, tmp_path / "note", Pool())
    assert all(MaskArchive(path).read(name) == data for name, data in world.members.items())


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    world = tiny()
    name = next(iter(world.members))
    world.members["./" + name] = b"another"
    with pytest.raises(CorruptError, match=f"holds {name} more than once"):
        MaskArchive(world.archive(tmp_path))


@pytest.mark.parametrize("top", ["", "Downloads/ImageNetS3/", "imagenets3/"])
def test_an_archive_of_no_tier_says_what_it_looks_like(tmp_path: Path, top: str) -> None:
    world = tiny()
    world.members = {name.replace("ImageNetS3/", top): data for name, data in world.members.items()}
    example = f"{len(world.members)} members such as {min(world.members)}"
    expected = "ImageNetS<tier>/<split>-segmentation/<wnid>/<stem>.png are expected"
    with pytest.raises(CorruptError, match=f"{example}, where {expected}"):
        tiers_of(world.archive(tmp_path))


def test_an_archive_of_other_names_says_both(tmp_path: Path) -> None:
    world = tiny()
    names = list(world.members)
    world.members = {name.replace("-segmentation", "-masks"): b"" for name in names}
    with pytest.raises(CorruptError) as caught:
        MaskArchive(world.archive(tmp_path)).check_names(names)
    assert f"lacks {len(names)} members, such as {min(names)}" in str(caught.value)
    assert f"besides {len(names)} members, such as {min(world.members)}" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        *("../evil.png", "/etc/evil.png", "a/../../evil.png", "c:\\e.png", "..\\evil.png"),
        *("\\\\host\\evil.png", ".\\..\\evil.png", "./../evil.png"),
    ],
)
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    world = tiny()
    world.members[name] = b"x"
    with pytest.raises(CorruptError, match="points out of the archive's folder"):
        MaskArchive(world.archive(tmp_path))


def test_a_member_that_claims_to_be_huge_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("ImageNetS3/bomb.png", bytes(MAX_MEMBER + 1))
    assert path.stat().st_size < 100_000
    with pytest.raises(CorruptError, match="no mask is that large"):
        MaskArchive(path)


def test_a_png_that_claims_to_be_huge_is_refused_undecoded() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    data[16:24] = struct.pack(">II", 1 << 20, 1 << 20)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    with pytest.raises(CorruptError, match="claims 1048576 x 1048576 pixels"):
        decode_mask(bytes(data), "mask", 3)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    world = tiny()
    path = world.archive(tmp_path)
    name = sorted(world.members)[4]
    data = bytearray(path.read_bytes())
    data[data.find(world.members[name]) + 60] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=f"{name}: Bad CRC-32"):
        check(MaskArchive(path), sorted(world.members), 3, tmp_path / "note", Pool())
    assert not (tmp_path / "note").exists()


def test_masks_that_are_none_are_named_all_of_them(tmp_path: Path) -> None:
    world = tiny()
    first, second, third = sorted(world.members)[:3]
    world.members[first] = masks.encode(np.full((4, 4), 4))
    world.members[second] = b"not a PNG at all, however long it may be"
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "PNG")
    world.members[third] = buffer.getvalue()
    with pytest.raises(CorruptError) as caught:
        checked(world, tmp_path)
    assert f"{first}: has id 4 in 16 pixels, the tier has 3 classes" in str(caught.value)
    assert f"{second}: not a PNG" in str(caught.value)
    assert f"{third}: a mask must be an RGB PNG" in str(caught.value)


def test_the_ignored_id_is_within_every_tier() -> None:
    ids = np.array([[0, 3, 1000]])
    assert decode_mask(masks.encode(ids), "mask", 3).tolist() == ids.tolist()
    assert mask_size(masks.encode(ids), "mask") == (3, 1)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut off", b"<html>"])
def test_what_is_no_zip_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "masks.zip"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="not a readable zip"):
        MaskArchive(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    world = tiny()
    path = world.archive(tmp_path)
    data = bytearray(path.read_bytes())
    name = sorted(world.members)[0]
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(mark) + offset] |= 1  # the flag "encrypted"
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=f"{name} cannot be read .*encrypted"):
        MaskArchive(path).read(name)


def test_forked_processes_each_read_from_a_descriptor_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    members = {f"{number}.png": rng.bytes(30_000) for number in range(40)}  # beyond any buffer
    path = tmp_path / "masks.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(name, data)
    archive = MaskArchive(path)
    assert archive.read("0.png") == members["0.png"]  # open from here on

    def child(queue: Any) -> None:
        try:
            queue.put([archive.read(name) == data for name, data in [*members.items()] * 20])
        except CorruptError as error:
            queue.put([error])

    context = multiprocessing.get_context("fork")
    queues = [context.SimpleQueue() for _ in range(2)]
    children = [context.Process(target=child, args=(queue,)) for queue in queues]
    for process in children:
        process.start()
    assert [queue.get() for queue in queues] == [[True] * 800] * 2
    for process in children:
        process.join()
