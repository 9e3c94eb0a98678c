"""Files are whole or not there, and a full disk is reported with the file's name."""

from __future__ import annotations

import errno
import resource
from pathlib import Path

import pytest

from imagenets.core.files import naming, write_file


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
