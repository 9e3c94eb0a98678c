"""Several scales and mirror images at inference."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from largest import Largest
from small_run import SMALL, job
from torch import Tensor

from imagenets.data.augment import normalize
from imagenets.data.loader.crops import ShortSide
from imagenets.errors import UsageError
from imagenets.methods.pass_ import inference
from imagenets.methods.pass_.heads import SegmentationNet
from imagenets.methods.pass_.inference import averaged, class_scores, images_at_once, largest
from imagenets.methods.pass_.predict import segment
from imagenets.methods.pass_.presets import PRESETS, Config
from imagenets.methods.pass_.settings import Changes, make_config
from imagenets.pixels.grids import largest_of_grid


@pytest.fixture
def network() -> SegmentationNet:
    torch.manual_seed(0)
    return SegmentationNet("resnet18w05", 3).eval()


@pytest.fixture
def images() -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (3, 3, 128, 192), np.uint8))


@torch.inference_mode()
def test_by_default_scores_are_the_logits(network: SegmentationNet, images: Tensor) -> None:
    assert largest(SMALL) == 1
    assert images_at_once(network, images, SMALL) == 3
    assert torch.equal(class_scores(network, images, SMALL), network(normalize(images)))


@torch.inference_mode()
def test_by_default_masks_are_those_of_the_logits_of_the_whole_batch(
    finished: Path, tiny_root: Path, network: SegmentationNet
) -> None:
    run = job(tiny_root, finished)
    data = run.dataset("validation")
    alike = np.flatnonzero((data.sizes == data.sizes[0]).all(1))[:3]
    batch = next(run.batches(data, [alike], ShortSide(SMALL.side), "test"))
    logits = network(normalize(batch.crops)).permute(0, 2, 3, 1).numpy()
    size = tuple(data.sizes[alike[0]].tolist())
    for row, (_, ids) in enumerate(segment(network, batch, data, SMALL)):
        assert ids.tobytes() == largest_of_grid(logits[row], size).tobytes()


@torch.inference_mode()
def test_mirror_images_are_averaged(network: SegmentationNet, images: Tensor) -> None:
    config = replace(SMALL, flip=True)
    found = class_scores(network, images, config)
    both = [network(normalize(images)), network(normalize(images.flip(3))).flip(3)]
    expected = sum(logits.softmax(1) for logits in both) / 2
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(class_scores(network, images.flip(3), config).flip(3), found, atol=1e-6)


@torch.inference_mode()
def test_scales_are_averaged_on_the_grid_of_the_largest(
    network: SegmentationNet, images: Tensor
) -> None:
    config = replace(SMALL, side=96, scales=(2 / 3, 4 / 3))
    assert config.side * largest(config) == 128
    found = class_scores(network, images, config)
    assert found.shape == (3, 4, 4, 6)
    small = F.interpolate(normalize(images), (64, 96), mode="bilinear", antialias=True)
    coarse = network(small).softmax(1)
    assert coarse.shape[2:] == (2, 3)
    finer = F.interpolate(coarse, (4, 6), mode="bilinear", align_corners=False)
    expected = (network(normalize(images)).softmax(1) + finer) / 2
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(found.sum(1), torch.ones(()), atol=1e-5)


@torch.inference_mode()
def test_what_is_averaged_is_what_the_masks_show(
    finished: Path, tiny_root: Path, network: SegmentationNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image by image, as memory may demand, and all at once: the same masks."""
    config = replace(SMALL, scales=(1.0, 2.0), flip=True)
    run = job(tiny_root, finished, config)
    data = run.dataset("validation")
    crop = ShortSide(round(config.side * largest(config)))
    alike = np.flatnonzero((data.sizes == data.sizes[0]).all(1))[:3]
    batch = next(run.batches(data, [alike], crop, "test"))
    assert min(batch.crops.shape[2:]) == 2 * SMALL.side
    whole = dict(segment(network, batch, data, config))
    logits = class_scores(network, batch.crops, config)
    size = data.sizes[alike[0]].tolist()
    expected = F.interpolate(logits, size[::-1], mode="bilinear", align_corners=False).argmax(1)
    for row, name in enumerate(batch.names):
        assert (whole[name] == expected[row].numpy()).mean() > 0.999
    monkeypatch.setattr(inference, "MAP", 1)
    assert images_at_once(network, batch.crops, config) == 1
    parts = dict(segment(network, batch, data, config))
    assert list(parts) == list(whole)
    assert np.mean([np.mean(parts[name] == whole[name]) for name in whole]) > 0.999


@pytest.mark.parametrize(
    "changes",
    [
        {"scales": (0.5, 1.0, 2.0), "flip": True},
        {"grid": 8},
        {"scales": (2.0,)},
        {"scales": (1.0, 2.0), "arch": "resnet50w5"},
    ],
)
def test_no_tensor_is_too_large_for_a_gpu(changes: dict[str, object]) -> None:
    config: Config = replace(PRESETS["pass919"], **changes)  # type: ignore[arg-type]  # all kinds
    side = round(config.side * largest(config))
    with torch.device("meta"), torch.no_grad(), Largest() as seen:
        network = SegmentationNet(config.arch, 919)
        images = torch.empty(config.batch, 3, side, side * 2)
        length = images_at_once(network, images, config)
        averaged(network, images[:length], config)
    assert 1 < length < config.batch
    assert 5e7 < seen.elements < 2**31


def test_scales_are_checked() -> None:
    config = make_config("sample", Changes(assignments=("scales=[0.5, 1, 1.5]", "flip=true")))
    assert (config.scales, config.flip) == ((0.5, 1.0, 1.5), True)
    for bad, said in (("scales=[]", "a list, a number"), ("scales=[0]", "scales are above 0")):
        with pytest.raises(UsageError, match=said):
            make_config("sample", Changes(assignments=(bad,)))
