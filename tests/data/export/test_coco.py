"""What pycocotools reads of the masks that were written."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coder
from pycocotools.coco import COCO

from imagenets import ImageNetS
from imagenets.data.export.coco import write_coco
from imagenets.errors import DependencyError, UsageError

pytestmark = pytest.mark.filterwarnings(  # of pycocotools 2.0.11, which numpy 2 tells something
    "ignore:__array__ implementation:DeprecationWarning"
)


def read(path: Path) -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints how long it took
        return COCO(str(path))


def test_targets_come_back(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    path = tmp_path / "targets.json"
    counts = write_coco(data, path)
    coco = read(path)
    present = [sample["present"] for sample in data]
    assert counts == {"images": len(data), "annotations": sum(present), "categories": 3}
    assert 0 < sum(present) < len(data)
    for number, sample in enumerate(data, 1):
        (image,) = coco.loadImgs(number)
        assert image["file_name"] == f"{sample['name']}.JPEG"
        assert image["ilsvrc"] == sample["ilsvrc"]
        assert (image["height"], image["width"]) == tuple(sample["target"].shape)
        found = coco.loadAnns(coco.getAnnIds(imgIds=number))
        assert len(found) == sample["present"]
        for one in found:
            pixels = coco.annToMask(one)
            np.testing.assert_array_equal(pixels, sample["target"] == 1)
            assert one["category_id"] == sample["target_id"]
            assert one["area"] == pixels.sum()
            left, top, width, height = map(int, one["bbox"])
            rows, columns = np.nonzero(pixels)
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width, top + height) == (columns.max() + 1, rows.max() + 1)
        ignored = coder.decode(image["ignored"])
        np.testing.assert_array_equal(ignored, sample["target"] == 255)


def test_every_class_of_a_mask_comes_back(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "train-semi", "3")
    write_coco(data, tmp_path / "classes.json")
    coco = read(tmp_path / "classes.json")
    for index in range(len(data)):
        mask = data.mask(index)
        made = np.where(mask == 1000, mask, 0)
        for one in coco.loadAnns(coco.getAnnIds(imgIds=index + 1)):
            made[coco.annToMask(one) == 1] = one["category_id"]
        np.testing.assert_array_equal(made, mask)
    words = [(one["id"], one["wnid"]) for one in coco.loadCats(coco.getCatIds())]
    assert words == list(enumerate(data.classes, 1))


def test_the_same_masks_give_the_same_bytes(tiny_root: Path, tmp_path: Path) -> None:
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    for name in ("one.json", "other.json"):
        write_coco(data, tmp_path / name)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()
    few = data.subset([3, 1])
    write_coco(few, str(tmp_path / "one.json"))
    found = json.loads((tmp_path / "one.json").read_text())
    assert [image["file_name"] for image in found["images"]] == [f"{n}.JPEG" for n in few.names]


def test_what_cannot_be_written_leaves_nothing(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no masks"):
        write_coco(ImageNetS(tiny_root, "train", "3"), tmp_path / "none.json")
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(DependencyError, match=r"pip install 'imagenets\[coco\]'"):
        write_coco(ImageNetS(tiny_root, "validation", "3"), tmp_path / "none.json")
    assert not list(tmp_path.iterdir())
