"""The file contract of MMSegmentation, and our two files for its 1.x, without it."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny

from imagenets import ImageNetS, masks
from imagenets.cli import prepare
from imagenets.evaluation.score import score
from imagenets.methods.semi.segment import full_size

FILES = Path(__file__).parents[1] / "docs" / "mmseg"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tier "3" as a tree."""
    folder = tmp_path_factory.mktemp("tree")
    world = tiny(train=4, val=2)
    raw, index = world.folders(folder / "raw"), world.index(folder / "index")
    words = ["--split", "3", "--imagenet", raw, "--index", index, "--layout", "tree"]
    words += ["--annotations", world.archive(folder), "--root", folder / "root", "--workers", "1"]
    assert prepare.main([str(word) for word in words]) == 0
    return folder / "root"


@pytest.mark.parametrize("split", ["train-semi", "validation"])
def test_a_tree_is_what_its_data_set_reads(root: Path, split: str) -> None:
    top = root / "ImageNetS3"
    found = {}
    for image in sorted((top / split).rglob("*")):
        if image.is_dir():
            continue
        assert image.suffix == ".JPEG"
        name = str(image.relative_to(top / split).with_suffix(""))
        with Image.open(top / f"{split}-segmentation" / f"{name}.png") as opened:
            pixels = np.asarray(opened)
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
        found[name] = pixels[..., 1].astype(np.int32) * 256 + pixels[..., 0]
        with Image.open(image) as opened:
            assert opened.size == found[name].shape[::-1]
    data = ImageNetS(root, split, "3")
    assert set(found) == set(data.names)
    for sample in data:
        assert np.array_equal(found[sample["name"]], sample["mask"].numpy())
    assert {1000, 0, 1, 2, 3} == set(np.concatenate([ids.ravel() for ids in found.values()]))


def test_the_config_names_what_is_there(root: Path) -> None:
    config = runpy.run_path(str(FILES / "imagenets50.py"))
    for loader in ("train_dataloader", "val_dataloader"):
        dataset = config[loader]["dataset"]
        assert dataset["data_root"] == "imagenet-s/ImageNetS50"
        for folder in dataset["data_prefix"].values():
            assert (root / "ImageNetS3" / folder).is_dir()
    assert config["model"]["decode_head"]["num_classes"] == 50 + 1
    (crop,) = (step for step in config["train_pipeline"] if step["type"] == "RandomCrop")
    ignored = (
        crop["ignore_index"],
        config["model"]["decode_head"]["ignore_index"],
        config["model"]["data_preprocessor"]["seg_pad_val"],
    )
    assert ignored == (masks.IGNORED,) * 3


class _Registry:
    def register_module(self) -> Callable[[type], type]:
        return lambda kind: kind


class _Loading:
    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        with Image.open(results["img_path"]) as image:
            results["img"] = np.asarray(image.convert("RGB"))
        results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


class _Metric:
    def __init__(self) -> None:
        self.results: list[Any] = []
        self.dataset_meta: dict[str, Any] = {}


class _Dataset:
    def __init__(self, **given: Any) -> None:
        self.given = given


def _resized(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    assert interpolation == "bilinear"
    return np.asarray(Image.fromarray(image).resize(size))


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `imagenets_mmseg.py` defines; the few names that it takes from elsewhere stand in."""
    stand_ins: dict[str, dict[str, Any]] = {
        "mmcv": {"imresize": _resized},
        "mmcv.transforms": {"BaseTransform": object, "LoadImageFromFile": _Loading},
        "mmengine": {},
        "mmengine.evaluator": {"BaseMetric": _Metric},
        "mmseg": {},
        "mmseg.datasets": {"BaseSegDataset": _Dataset},
        "mmseg.registry": dict.fromkeys(("DATASETS", "METRICS", "TRANSFORMS"), _Registry()),
    }
    for name, holds in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(holds)
        monkeypatch.setitem(sys.modules, name, module)
    return runpy.run_path(str(FILES / "imagenets_mmseg.py"))


def test_large_images_are_reduced_as_there(ours: dict[str, Any], tmp_path: Path) -> None:
    expected = {
        (1000, 1000): (1000, 1000),
        (1001, 1000): (1000, 999),
        (500, 2000): (500, 2000),
        (1394, 1237): (1000, 887),
        (960, 1280): (750, 1000),
        (2171, 2575): (843, 1000),
    }
    for (height, width), (rows, columns) in expected.items():
        assert ours["reduced"](height, width) == (columns, rows)
        longer = max(height, width)
        if height * width > 1000**2:  # the published rule
            assert (rows, columns) == (int(1000 * height / longer), int(1000 * width / longer))
    ids = np.zeros((960, 1280), np.uint16)
    ids[:, 600:] = 919
    Image.new("RGB", (1280, 960), (9, 9, 9)).save(tmp_path / "a.JPEG", "JPEG")
    masks.save(tmp_path / "a.png", ids)
    results = {"img_path": tmp_path / "a.JPEG", "seg_map_path": tmp_path / "a.png"}
    results = ours["LoadReducedImage"]().transform({**results, "seg_fields": []})
    results = ours["LoadIds"]().transform(results)
    assert results["img"].shape == (750, 1000, 3)
    assert results["gt_seg_map"].shape == results["ori_shape"] == (750, 1000)
    assert results["gt_seg_map"].dtype == np.int32
    assert set(np.unique(results["gt_seg_map"])) == {0, 919}
    logits = np.zeros((3, 4, 2), np.float32)
    assert full_size(logits, (1280, 960)).shape == (960, 1280)  # as `imagenets semi` does


def test_its_data_set_and_metric_give_the_numbers_of_the_benchmark(
    ours: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    top = root / "ImageNetS3"
    prefix = {"img_path": "validation", "seg_map_path": "validation-segmentation"}
    given = ours["ImageNetS"](data_root=str(top), data_prefix=prefix).given
    data = ImageNetS(root, "validation", "3")
    assert given["metainfo"]["classes"] == ("other", *data.class_names)
    assert len(given["metainfo"]["palette"]) == 4
    assert (given["img_suffix"], given["seg_map_suffix"]) == (".JPEG", ".png")
    assert (given["ignore_index"], given["reduce_zero_label"]) == (1000, False)
    metric = ours["BenchmarkMetrics"](out=tmp_path / "masks")
    metric.dataset_meta = given["metainfo"]
    draw = torch.Generator().manual_seed(0)
    for name in data.names:
        ids = torch.randint(0, 4, (1, 6, 7), generator=draw)
        sample = {
            "img_path": str(top / "validation" / f"{name}.JPEG"),
            "seg_map_path": str(top / "validation-segmentation" / f"{name}.png"),
            "pred_sem_seg": {"data": ids},
        }
        metric.process({}, [sample])
    found = metric.compute_metrics(metric.results)
    scores = score(tmp_path / "masks", top / "validation-segmentation", 3, workers=1).metrics
    assert found == {name: value for name, value in scores.items() if name != "IoUs"}
    assert 0 < found["mIoU"] < 100
