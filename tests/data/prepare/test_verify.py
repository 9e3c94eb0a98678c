"""Verifying needs the manifest alone and names every bad sample."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import CLASSES, jpeg

from imagenets import masks
from imagenets.core.pool import Pool
from imagenets.data.lists import sha256
from imagenets.data.prepare.verify import prepared_sets, verify
from imagenets.data.shards import Manifest, ShardInfo, ShardSample, SplitInfo, write_shard
from imagenets.errors import CorruptError, MissingError


def sample(number: int, **changes: object) -> ShardSample:
    ids = np.full((10, 12), 1 + number % 3)
    facts = {
        "name": f"{CLASSES[number % 3]}_{number}",
        "wnid": CLASSES[number % 3],
        "class_id": 1 + number % 3,
        "ilsvrc": 0,
        "width": 12,
        "height": 10,
        "image": jpeg(number, (12, 10)),
        "mask": masks.encode(ids),
    }
    return ShardSample(**(facts | changes))  # type: ignore[arg-type]


def write(folder: Path, samples: list[ShardSample]) -> Path:
    """A set of one shard with a manifest that agrees with the file."""
    folder.mkdir(exist_ok=True)
    path = folder / "validation-00000.h5"
    write_shard(path, samples, {"tier": "3", "group": "validation"})
    info = ShardInfo(path.name, "validation", len(samples), path.stat().st_size, sha256(path))
    splits = {"validation": SplitInfo(["validation"], len(samples), True)}
    Manifest("3", list(CLASSES), list(CLASSES), splits, [info]).save(folder)
    return path


def faults(folder: Path) -> list[str]:
    return [str(fault) for fault in verify(folder, Pool()).faults]


def good() -> list[ShardSample]:
    return [sample(number) for number in (0, 3, 1, 4, 2, 5)]


def test_a_sound_set_has_no_faults(tmp_path: Path) -> None:
    write(tmp_path, good())
    report = verify(tmp_path, Pool())
    assert (report.faults, report.shards, report.samples) == ([], 1, 6)
    assert report.bad_shards == []


def test_every_flipped_bit_is_noticed_and_its_sample_named(tmp_path: Path) -> None:
    path = write(tmp_path, good())
    data = path.read_bytes()
    image, mask = jpeg(1, (12, 10)), masks.encode(np.full((10, 12), 3))
    for piece, name in ((image, "n90000002_1"), (mask, "n90000003_2")):
        changed = bytearray(data)
        changed[data.find(piece) + 40] ^= 16
        path.write_bytes(changed)
        found = faults(tmp_path)
        assert any("SHA-256" in fault for fault in found)
        assert any(f"{name}: the " in fault and "checksum" in fault for fault in found)
    changed = bytearray(data)
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert faults(tmp_path)
    assert verify(tmp_path, Pool()).bad_shards == [path.name]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask": masks.encode(np.full((10, 12), 4))}, "n90000001_6: its mask: has id 4 in 120"),
        ({"mask": masks.encode(np.ones((10, 11)).astype(int))}, "mask has 11 x 10 pixels"),
        ({"mask": None}, "n90000001_6: has no mask"),
        ({"class_id": 2}, "n90000001_6: class id 2 is not that of its folder"),
        ({"class_id": 0}, "n90000001_6: class id 0 is not that of its folder"),
        ({"name": "n90000001_0"}, "n90000001_0: is out of order"),
    ],
)
def test_samples_that_are_wrong_from_the_start_are_named(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    write(tmp_path, [sample(0), sample(6, **changes), *good()[2:]])
    found = faults(tmp_path)
    assert len(found) == 1
    assert message in found[0]


def test_missing_short_and_swapped_files_are_told(tmp_path: Path) -> None:
    path = write(tmp_path, good())
    data = path.read_bytes()
    path.write_bytes(data[:-100])
    assert any(f"instead of {len(data):,}" in fault for fault in faults(tmp_path))
    path.unlink()
    assert faults(tmp_path) == [f"{path.name}: the file is missing"]
    write_shard(path, good()[:3], {"tier": "4", "group": "validation"})
    found = " ".join(faults(tmp_path))
    assert "has 3 samples instead of 6" in found
    assert "not of tier 3" in found


def test_a_broken_manifest_or_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="holds no packed set to verify"):
        prepared_sets(tmp_path)
    folder = tmp_path / "ImageNetS3.shards"
    write(folder, good())
    assert prepared_sets(tmp_path) == [folder]
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 99}))
    with pytest.raises(CorruptError, match="version 99"):
        verify(folder, Pool())
    manifest.unlink()
    with pytest.raises(MissingError, match="imagenets-prepare"):
        verify(folder, Pool())
