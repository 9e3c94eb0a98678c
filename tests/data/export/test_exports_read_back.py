"""What the libraries that exports are for read of them; pycocotools is in test_coco.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagenets import ImageNetS, masks
from imagenets.data.export.exporting import export
from imagenets.data.export.formats import make

pytestmark = pytest.mark.extras


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_webdataset_reads_the_tars(tiny_root: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    data = ImageNetS(tiny_root, "validation", "3")
    export(data, make("webdataset", shard_samples=5), tmp_path, workers=1)
    urls = str(tmp_path / "validation-{000000..000002}.tar")
    read = list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))
    assert [one["__key__"] for one in read] == list(data.names)
    for one, sample in zip(read, data, strict=True):
        image = sample["image"].permute(1, 2, 0).numpy()
        np.testing.assert_array_equal(one["jpg"], image)
        np.testing.assert_array_equal(masks.from_rgb(one["mask.png"]), sample["mask"])
        assert one["json"]["class_id"] == sample["class_id"]


def test_datasets_reads_the_parquet_files(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    out = tmp_path / "out"
    form = make("parquet", shard_samples=7)
    for split in ("validation", "train-semi", "train"):
        export(ImageNetS(tiny_root, split, "3"), form, out, workers=1)
    cache = str(tmp_path / "cache")
    masked = datasets.load_dataset(str(out), cache_dir=cache)
    assert set(masked) == {"validation", "train_semi"}
    plain = datasets.load_dataset(str(out), "images", cache_dir=cache)
    assert set(plain) == {"train"}
    for read, split in ((masked["validation"], "validation"), (plain["train"], "train")):
        data = ImageNetS(tiny_root, split, "3")
        assert isinstance(read.features["image"], datasets.Image)
        assert read.features["label"].names == list(data.source_classes)
        assert read["name"] == list(data.names)
        for one, sample in zip(read, data, strict=True):
            image = np.asarray(one["image"].convert("RGB"))
            np.testing.assert_array_equal(image, sample["image"].permute(1, 2, 0))
            if "mask" in sample:
                ids = masks.from_rgb(np.asarray(one["mask"]))
                np.testing.assert_array_equal(ids, sample["mask"])
            assert one["label"] == sample["ilsvrc"]


def test_torchvision_reads_images_and_targets_in_one_order(tiny_root: Path, tmp_path: Path) -> None:
    torchvision = pytest.importorskip("torchvision")
    data = ImageNetS(tiny_root, "validation", "3", target="label")
    export(data, make("imagefolder"), tmp_path, workers=1)
    folder = torchvision.datasets.ImageFolder

    def read_target(path: str) -> np.ndarray:
        return np.asarray(torchvision.datasets.folder.Image.open(path))

    images = folder(tmp_path / "images" / "validation", allow_empty=True)
    targets = folder(tmp_path / "targets" / "validation", loader=read_target, allow_empty=True)
    assert images.classes == sorted(data.source_classes)
    samples = {sample["name"].partition("/")[2]: sample for sample in data}
    assert len(images) == len(targets) == len(data)
    for (path, label), (image, _), (target, other) in zip(
        images.samples, images, targets, strict=True
    ):
        sample = samples[Path(path).stem]
        np.testing.assert_array_equal(np.asarray(image), sample["image"].permute(1, 2, 0))
        np.testing.assert_array_equal(target, sample["target"])
        assert label == other
        assert images.classes[label] == data.source_classes[sample["ilsvrc"]]
