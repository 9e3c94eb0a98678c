"""Transforms of torchvision's v2, given as `transform=`, move image and mask alike."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from imagenets import ImageNetS, masks
from imagenets.data.dataset import tv_tensors
from imagenets.data.dataset.sample import Sample
from imagenets.data.dataset.tv_tensors import wrapped
from imagenets.errors import DependencyError

extras = pytest.mark.extras
IDS = (0, 1, 1000)
REDS = (0, 100, 200)  # the colour of each id in the photographs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs whose colours tell what the masks hold."""
    root = tmp_path_factory.mktemp("coloured")
    rng = np.random.default_rng(0)
    for number in (1, 2):
        coarse = rng.choice(len(IDS), (6, 8)).repeat(8, 0).repeat(8, 1)
        photo = io.BytesIO()
        colours = np.stack([np.array(REDS, np.uint8)[coarse]] * 3, -1)
        Image.fromarray(colours).save(photo, "JPEG", quality=100, subsampling=0)
        files = {
            "validation/n90000001/%s.JPEG": photo.getvalue(),
            "validation-segmentation/n90000001/%s.png": masks.encode(np.array(IDS)[coarse]),
        }
        for name, data in files.items():
            path = root / "ImageNetS1" / (name % f"ILSVRC2012_val_0000000{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return root


def agreement(sample: Any) -> float:
    """Share of pixels whose colour tells the id that the mask has."""
    image = sample["image"]
    red = image[0] * 255 if image.is_floating_point() else image[0].float()
    told = torch.tensor(IDS)[(red / 100).round().long().clamp(0, 2)]
    return float((told == sample["mask"]).float().mean())


def keep(sample: Sample) -> Sample:
    return sample


def flip_inside(v2: Any) -> Callable[[Sample], Any]:
    """A function that is no transform of torchvision, but calls one."""

    def flip(sample: Sample) -> Any:
        return v2.RandomHorizontalFlip(p=1.0)(sample)

    return flip


TRANSFORMS: dict[str, Callable[[Any], Callable[[Sample], Any]]] = {
    "flip": lambda v2: v2.RandomHorizontalFlip(p=1.0),
    "composed": lambda v2: v2.Compose(
        [v2.RandomVerticalFlip(p=1.0), v2.ToDtype(torch.float32, scale=True)]
    ),
    "sequential": lambda v2: torch.nn.Sequential(v2.RandomRotation((90, 90), expand=True)),
    "function": flip_inside,
    "pad": lambda v2: v2.Pad(5),
    "crop": lambda v2: v2.RandomCrop(32),
    "resized crop": lambda v2: v2.RandomResizedCrop(32, scale=(0.3, 0.6)),
    "resize": lambda v2: v2.Resize((96, 128)),
}


@extras
@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_image_and_mask_move_alike(root: Path, name: str) -> None:
    from torchvision.transforms import v2

    torch.manual_seed(0)  # some crops mix more colours than others
    moved: ImageNetS[Any] = ImageNetS(root, classes=1, transform=TRANSFORMS[name](v2))
    for before, after in zip(ImageNetS(root, classes=1), moved, strict=True):
        assert agreement(before) > 0.99
        assert agreement(after) > 0.85  # the rest lies where a filter mixes two colours
        assert not torch.equal(before["mask"], after["mask"])
        assert after["mask"].dtype == torch.int64
        assert after["mask"].shape == after["image"].shape[1:]
        assert after["name"] == before["name"]
        assert after["class_id"] == before["class_id"] == 1


@extras
def test_the_example_of_the_documents_moves_them_alike(root: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "datasets.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n([^`]*torchvision[^`]*)```", page)
    names = {"dataset": ImageNetS(root, classes=1)}
    exec(example, names)
    for sample in names["dataset"]:
        assert sample["image"].shape == (3, 224, 224)
        assert sample["image"].dtype == torch.float32
        assert 1000 in sample["mask"]
        sample["image"][:, sample["mask"] == 1000] = REDS[2] / 255  # of corners that came in, too
        assert agreement(sample) > 0.85


@extras
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_move_them_alike(root: Path, context: str) -> None:
    from torchvision.transforms import v2

    data: ImageNetS[Any] = ImageNetS(root, classes=1, transform=v2.RandomHorizontalFlip(p=1.0))
    loader = DataLoader(data, batch_size=2, num_workers=1, multiprocessing_context=context)
    (batch,) = loader
    for index, sample in enumerate(ImageNetS(root, classes=1)):
        assert torch.equal(batch["image"][index], sample["image"].flip(-1))
        assert torch.equal(batch["mask"][index], sample["mask"].flip(-1))


@extras
def test_a_sample_is_marked_for_transforms_that_come_later(root: Path) -> None:
    from torchvision.transforms import v2

    sample = ImageNetS(root, classes=1)[0]
    assert type(sample["image"]) is type(sample["mask"]) is torch.Tensor
    flipped = v2.RandomHorizontalFlip(p=1.0)(wrapped(sample))
    assert torch.equal(flipped["mask"], sample["mask"].flip(-1))
    without = ImageNetS(root, classes=1, masks=False, transform=v2.RandomHorizontalFlip(p=1.0))[0]
    assert torch.equal(without["image"], sample["image"].flip(-1))
    assert "mask" not in without


@extras
def test_samples_are_marked_where_that_is_asked_for(root: Path) -> None:
    from torchvision.transforms import v2
    from torchvision.tv_tensors import Image as Marked
    from torchvision.tv_tensors import Mask

    marked, plain = ImageNetS(root, classes=1, tv_tensors=True), ImageNetS(root, classes=1)
    sample: Any = marked[1:][0]
    assert (type(sample["image"]), type(sample["mask"])) == (Marked, Mask)
    assert torch.equal(sample["mask"], plain[1]["mask"])
    assert type(plain[1]["image"]) is torch.Tensor
    assert agreement(v2.RandomCrop(16)(sample)) == 1  # image and mask moved alike


def test_marked_samples_need_torchvision(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tv_tensors, "_tv_tensors", lambda: None)
    with pytest.raises(DependencyError, match=r"pip install 'imagenets\[torchvision\]'"):
        ImageNetS(root, classes=1, tv_tensors=True)


@pytest.mark.parametrize("error", ["ImportError", "RuntimeError", "OSError"])
def test_a_torchvision_that_cannot_be_imported_stops_nobody(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(f"raise {error}('another torch')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    tv_tensors._tv_tensors.cache_clear()
    try:
        sample = ImageNetS(root, classes=1, transform=keep)[0]
    finally:
        tv_tensors._tv_tensors.cache_clear()
    assert type(sample["image"]) is type(sample["mask"]) is torch.Tensor
