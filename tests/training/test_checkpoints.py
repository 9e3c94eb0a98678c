"""Checkpoints of a stage at work: the last two, whole or set aside, and room for the next."""

from __future__ import annotations

import random
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imagenets.errors import CorruptError, TrainingError
from imagenets.training.checkpoints import Saver, load, save, size

CPU = torch.device("cpu")


def state(step: int, epoch: int = 0) -> dict[str, Any]:
    values = torch.full((1000,), float(step))
    parts: dict[str, Any] = {"optimizer": {}, "memory": {}, "history": []}
    return parts | {"state_dict": {"a": values}, "epoch": epoch}


def saver(folder: Path) -> Saver:
    return Saver(folder, "pretrain", 3)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def step_of(found: dict[str, Any] | None) -> int:
    assert found is not None
    return int(found["state_dict"]["a"][0])


def spoil(path: Path) -> None:
    """Changes one bit of the values, which torch itself does not notice."""
    data, value = bytearray(path.read_bytes()), load(path, CPU, "pretrain")["state_dict"]["a"]
    data[data.index(value.numpy().tobytes())] ^= 1
    path.write_bytes(data)


def test_the_last_two_are_kept_until_the_end(tmp_path: Path) -> None:
    kept = saver(tmp_path)
    assert kept.newest(CPU) is None
    for step in (8, 9, 10, 11):
        kept.save(step, state(step))
    assert names(tmp_path) == ["checkpoint-10.pt", "checkpoint-11.pt"]
    assert step_of(saver(tmp_path).newest(CPU)) == 11
    kept.finish(state(12, epoch=3))
    assert names(tmp_path) == ["checkpoint.pt"]
    assert step_of(saver(tmp_path).newest(CPU)) == 12


def test_a_finished_stage_is_finished_whatever_else_a_kill_has_left(tmp_path: Path) -> None:
    kept = saver(tmp_path)
    kept.finish(state(12, epoch=3))
    kept.save(11, state(11))
    (tmp_path / "checkpoint-12.pt.part").write_bytes(b"half")
    again = saver(tmp_path)
    assert step_of(again.newest(CPU)) == 12
    assert again.finished
    assert names(tmp_path) == ["checkpoint-11.pt", "checkpoint.pt"]


def test_a_checkpoint_of_an_epoch_of_older_versions_is_gone_on_from(tmp_path: Path) -> None:
    save(tmp_path / "checkpoint.pt", state(6, epoch=1))
    kept = saver(tmp_path)
    assert step_of(kept.newest(CPU)) == 6
    assert not kept.finished
    kept.save(8, state(8, epoch=1))
    assert step_of(saver(tmp_path).newest(CPU)) == 8


@pytest.mark.parametrize("how", ["bit", "cut", "other", "empty"])
def test_the_one_before_an_unreadable_one_is_taken_with_a_word(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept, newest = saver(tmp_path), tmp_path / "checkpoint-11.pt"
    kept.save(10, state(10))
    kept.save(11, state(11))
    if how == "bit":
        spoil(newest)
    elif how == "other":
        save(newest, {"state_dict": {}, "epoch": 1})
    else:
        newest.write_bytes(newest.read_bytes()[: 900 if how == "cut" else 0])
    assert step_of(saver(tmp_path).newest(CPU)) == 10
    assert "checkpoint-11.pt: not " in caplog.text
    assert "set aside, and the one before is taken" in caplog.text
    assert names(tmp_path) == ["checkpoint-10.pt", "checkpoint-11.unreadable"]
    kept.finish(state(12, epoch=3))
    assert names(tmp_path) == ["checkpoint.pt"]


def test_if_none_can_be_read_all_are_named_and_left(tmp_path: Path) -> None:
    kept = saver(tmp_path)
    for step in (10, 11):
        kept.save(step, state(step))
        spoil(tmp_path / f"checkpoint-{step}.pt")
    with pytest.raises(CorruptError, match=r"checkpoint-11\.pt.*checkpoint-10\.pt.*Delete them"):
        saver(tmp_path).newest(CPU)
    assert names(tmp_path) == ["checkpoint-10.pt", "checkpoint-11.pt"]


def test_a_final_one_with_another_bit_is_refused(tmp_path: Path) -> None:
    saver(tmp_path).finish(state(12, epoch=3))
    spoil(tmp_path / "checkpoint.pt")
    with pytest.raises(CorruptError, match=r"not as it was written.*Delete it"):
        load(tmp_path / "checkpoint.pt", CPU, "pretrain")


def test_room_is_looked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, large = saver(tmp_path), state(9) | {"memory": {"queue": torch.zeros(10**6)}}
    kept.save(8, state(8))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4_000_000))
    with pytest.raises(
        TrainingError, match=r"takes 5 MB, and 4 MB are free.*free some space"
    ) as at:
        kept.save(9, large)
    assert at.value.exit_code == 1
    assert names(tmp_path) == ["checkpoint-8.pt"]
    assert size(large) == 4 * (10**6 + 1000)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may be longer than 100 kB, as if the disk were full."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_a_file_that_cannot_be_written_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    kept = saver(tmp_path)
    kept.save(8, state(8))
    with pytest.raises(OSError, match="File too large") as at:
        kept.save(9, state(9) | {"memory": {"queue": torch.zeros(10**6)}})
    assert at.value.filename == str(tmp_path / "checkpoint-9.pt")
    assert names(tmp_path) == ["checkpoint-8.pt"]
    assert step_of(saver(tmp_path).newest(CPU)) == 8


def test_no_flipped_bit_gives_another_state_or_another_error(tmp_path: Path) -> None:
    path, rng = tmp_path / "checkpoint.pt", random.Random(0)
    values = torch.arange(6.0)
    save(path, {"state_dict": {"a": values}, "epoch": 1})
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1 << rng.randrange(8)
        path.write_bytes(spoilt)
        try:
            found = load(path, CPU, "pretrain")
        except CorruptError:
            refused += 1
        else:  # some bits mean nothing, such as the padding between the files of a zip
            assert found["epoch"] == 1
            assert torch.equal(found["state_dict"]["a"], values)
    assert refused > len(whole) / 3
