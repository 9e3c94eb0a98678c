"""WebDataset and parquet exports are raw forms: what is prepared from them is the same set."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny

from imagenets import ImageNetS
from imagenets.cli import prepare
from imagenets.data.export.exporting import export
from imagenets.data.export.formats import make
from imagenets.data.raw.detect import open_sources
from imagenets.errors import CorruptError

SPLITS = ("train", "train-semi", "validation", "test")


def exported(root: Path, name: str, out: Path) -> Path:
    for split in SPLITS:
        export(ImageNetS(root, split, "3"), make(name, shard_samples=5), out, workers=1)
    return out


@pytest.mark.parametrize("name", ["webdataset", "parquet"])
def test_the_same_set_is_prepared(
    name: str, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(tiny_root, name, tmp_path / "out")
    index = tiny(train=8, val=4).index(tmp_path / "index")
    words = ["--split", "3", "--imagenet", str(out), "--index", str(index), "--workers", "1"]
    assert prepare.main([*words, "--root", str(tmp_path / "root")]) == 0
    assert "the masks are those that the sources hold" in capsys.readouterr().err
    for split in SPLITS:
        again = ImageNetS(tmp_path / "root", split, "3")
        assert again.digest == ImageNetS(tiny_root, split, "3").digest


def test_masks_of_tars_are_found_with_a_kept_index_too(tiny_root: Path, tmp_path: Path) -> None:
    out = exported(tiny_root, "webdataset", tmp_path / "out")
    masked = {}
    for split in ("validation", "train-semi"):
        data = ImageNetS(tiny_root, split, "3")
        names = (name.partition("/")[2].encode() for name in data.names)
        masked |= {name: bytes(data.encoded(i).mask or b"") for i, name in enumerate(names)}
    for _ in range(2):
        images = open_sources([out], cache=tmp_path / "cache")
        assert not any("no ILSVRC file name" in note for note in images.notes)
        assert len(images) == 24 + 12 + 6  # train-semi lies in train, too
        for position, stem in enumerate(images.stems.tolist()):
            assert images.mask(position) == masked.get(stem)
    for path in out.glob("validation-*.tar"):
        os.truncate(path, 600)
    found = images.find(np.array(sorted(masked)[:1], "S32"))
    images.close()
    with pytest.raises(CorruptError, match="changed"):
        images.mask(int(found[0]))
