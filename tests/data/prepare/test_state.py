"""What a finished run is known by, and who is at work."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from imagenets import paths
from imagenets.data.prepare.state import Finished, folder_times, hold, signature
from imagenets.errors import BusyError


def test_only_one_holds_a_root(tmp_path: Path) -> None:
    with hold(tmp_path):
        who = f"process {os.getpid()} on .*, since 2"
        with pytest.raises(BusyError, match=who) as caught, hold(tmp_path):
            pass
        assert str(tmp_path) in str(caught.value)
        (paths.state(tmp_path) / "holder.json").write_text("{")  # not yet written by the other
        with pytest.raises(BusyError, match="another run is at work here"), hold(tmp_path):
            pass
    with hold(tmp_path):
        assert json.loads((paths.state(tmp_path) / "holder.json").read_text())["pid"] == os.getpid()


def test_a_note_holds_until_something_changes(tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"1234")
    (tmp_path / "tree" / "n1").mkdir(parents=True)
    request = {"tier": "3", "subsets": ("train",)}
    note = Finished(request, {"shard": 4}, folder_times(tmp_path, ["tree/n1"]))
    note.save(tmp_path / "notes" / "finished.json")
    read = Finished.load(tmp_path / "notes" / "finished.json")
    assert read is not None
    assert read.holds(tmp_path, request)
    assert not read.holds(tmp_path, {**request, "tier": "4"})
    os.utime(tmp_path / "tree" / "n1", ns=(1, 1))
    assert not read.holds(tmp_path, request)
    read.folders = {}
    assert read.holds(tmp_path, request)
    (tmp_path / "shard").write_bytes(b"123")
    assert not read.holds(tmp_path, request)
    (tmp_path / "shard").unlink()
    assert not read.holds(tmp_path, request)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"other": 1}'])
def test_a_broken_note_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text)
    assert Finished.load(tmp_path / "note") is None
    assert Finished.load(tmp_path / "nothing") is None


def test_a_signature_notices_what_comes_and_goes(tmp_path: Path) -> None:
    raw = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    (raw / "train" / "n01440764").mkdir(parents=True)
    (raw / "val").mkdir()
    (tmp_path / "train.tar").write_bytes(b"x")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    seen = [signature([tmp_path])]
    for change in (
        lambda: (raw / "train" / "n01440764" / "a.JPEG").write_bytes(b""),
        lambda: (raw / "val" / "b.JPEG").write_bytes(b""),
        lambda: (tmp_path / "train.tar").write_bytes(b"xy"),
        lambda: (raw / "train" / "n01440764" / "a.JPEG").unlink(),
    ):
        change()
        seen.append(signature([tmp_path]))
        assert signature([tmp_path]) == seen[-1]
    assert len(set(seen)) == len(seen)
    assert signature([]) != seen[-1]
