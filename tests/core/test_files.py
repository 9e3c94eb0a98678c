"""Files are whole or not there, and a full disk is reported with the file's name."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from imagenets.core.files import (
    atomic,
    digest,
    is_part,
    naming,
    sha256,
    sync,
    write_file,
    write_json,
)


def test_a_file_replaces_another_in_one_step(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "text")
    write_file(tmp_path / "a", b"bytes")
    assert (tmp_path / "a").read_bytes() == b"bytes"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_what_cannot_be_written_is_named_and_leaves_the_old(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_file(tmp_path / "a", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_a_block_that_fails_leaves_nothing_and_errors_name_the_file(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "old")
    block = atomic(tmp_path / "a")
    part = block.__enter__()
    part.write_text("half")
    assert [path.name for path in tmp_path.iterdir() if is_part(path.name)] == [part.name]
    stopped = KeyboardInterrupt()
    assert not block.__exit__(KeyboardInterrupt, stopped, None)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "old"}
    with pytest.raises(FileNotFoundError) as caught:
        write_file(tmp_path / "none" / "a", "text")
    assert caught.value.filename == str(tmp_path / "none" / "a")


@pytest.mark.parametrize("durable", [True, False])
def test_durable_files_are_brought_to_the_disk_with_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(
        os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink())
    )
    write_file(tmp_path / "a", "text", durable=durable)
    assert synced == ([tmp_path / "a.part", tmp_path] if durable else [])


@pytest.mark.parametrize(("number", "silent"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_a_broken_disk_is_told_and_one_without_fsync_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, silent: bool
) -> None:
    def fail(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    if silent:
        sync(tmp_path)
        return
    write_file(tmp_path / "a", "old", durable=False)
    with pytest.raises(OSError, match="Input/output") as caught:
        write_file(tmp_path / "a", "new")
    assert caught.value.filename == str(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"


def test_json_and_digests(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": [2]})
    assert (tmp_path / "a").read_text() == '{\n "b": 1,\n "a": [\n  2\n ]\n}\n'
    write_json(tmp_path / "a", {"b": 1, "a": 2}, sort_keys=True)
    assert (tmp_path / "a").read_text() == '{\n "a": 2,\n "b": 1\n}\n'
    (tmp_path / "abc").write_bytes(b"abc")  # digests of RFC 1321 and FIPS 180
    assert digest(tmp_path / "abc", "md5") == "900150983cd24fb0d6963f7d28e17f72"
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_the_words_of_hdf5_are_understood() -> None:
    words = "Can't write data (errno = 28, error message = 'No space left on device')"
    with pytest.raises(OSError, match="No space") as caught, naming(Path("shard.h5")):
        raise OSError(words)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "shard.h5")
    with pytest.raises(OSError, match="something else") as caught, naming(Path("shard.h5")):
        raise OSError("something else")
    with pytest.raises(FileNotFoundError) as caught, naming(Path("shard.h5")):
        Path("/nowhere/at/all").read_bytes()
    assert caught.value.filename == "/nowhere/at/all"
