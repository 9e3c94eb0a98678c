"""No tensor of any step has 2^31 elements at the published settings, and no step asks its device.

The steps run on torch's `meta` device: at full size, without memory, forward and back. Nothing
there has a value, so that a step which would wait for a number of the device fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from largest import Largest
from torch import Tensor

from imagenets.methods.pass_ import attending
from imagenets.methods.pass_.cluster import CHUNK
from imagenets.methods.pass_.heads import AttentionNet, PretrainNet, SegmentationNet
from imagenets.methods.pass_.losses import ASSIGNED, Queue, assign, swapped
from imagenets.methods.pass_.presets import PRESETS, Config
from imagenets.methods.pass_.pretrain import _losses
from imagenets.tiers import TIERS
from imagenets.training.optimizers import LarcSGD
from imagenets.training.upsampled import MEMORY, upsampled_cross_entropy

LIMIT = 2**31


@pytest.fixture(params=["pass50", "pass300", "pass919", "plus919"])
def preset(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Config, int]]:
    """The settings, and the number of classes."""
    name: str = request.param
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # `meta` knows none
    with torch.device("meta"):
        yield PRESETS[name], int(name[4:])


def queue_of(length: int, config: Config) -> Queue:
    queue = Queue.of(length, config.batch, torch.device("meta"))
    assert queue is not None
    queue._filled = [queue.rows.shape[1]] * ASSIGNED  # what is counted on the host
    return queue


def crops_of(groups: Any, batch: int) -> list[Tensor]:
    return [torch.empty(batch, 3, g.size, g.size) for g in groups for _ in range(g.views)]


def step(network: torch.nn.Module, loss: Tensor, seen: Largest) -> None:
    """Back and through the optimiser; the way back is seen as well."""
    before = seen.operations
    loss.backward()
    assert seen.operations > before + 50
    LarcSGD([p for p in network.parameters() if p.requires_grad], 0.6).step()


def test_pretraining(preset: tuple[Config, int]) -> None:
    config, _ = preset
    network = PretrainNet(config.arch, config.hidden, config.prototypes)
    crops = crops_of(config.views, config.batch)
    grids = (torch.empty(config.batch, 7, 7, 2), torch.empty(config.batch, 7, 7, 2))
    queue = queue_of(config.pretrain.queue, config)
    with Largest() as seen:
        network.normalize_prototypes()
        out = network(crops, grids)
        losses = _losses(out, (len(crops), config.batch), network, queue, config.pretrain.epsilon)
        step(network, losses["loss"], seen)
    assert seen.elements < LIMIT
    assert seen.elements > 4e8  # it was seen at full size: the first map of 512 crops of 224


def test_attention(preset: tuple[Config, int]) -> None:
    config, _ = preset
    network = AttentionNet(config.arch, config.hidden, config.prototypes)
    for name, value in network.named_parameters():
        value.requires_grad_(name.startswith(("fbg.", "prototypes.")))
    crops = crops_of(config.attention_views, config.batch)
    queue = queue_of(config.attention.queue, config)
    with Largest() as seen:
        embedding, scores = network(crops)
        parts = [part.unflatten(0, (len(crops), config.batch)) for part in (embedding, scores)]
        assignments = assign(
            parts[0].detach()[:ASSIGNED],
            parts[1].detach()[:ASSIGNED],
            network.prototypes.weight.detach(),
            queue,
        )
        step(network, swapped(assignments, parts[1]), seen)
    assert 4e8 < seen.elements < LIMIT


def test_fine_tuning(preset: tuple[Config, int]) -> None:
    config, classes = preset
    network = SegmentationNet(config.arch, classes)
    images = torch.empty(config.batch, 3, config.crop, config.crop)
    labels = torch.empty(config.batch, config.crop // 2, config.crop // 2, dtype=torch.int64)
    with Largest() as seen:
        logits = network(images)
        small = logits.numel()
        step(network, upsampled_cross_entropy(logits, labels), seen)
    assert small < seen.elements < LIMIT
    whole = config.batch * (classes + 1) * labels[0].numel()
    assert (whole > LIMIT) == (classes == 919)  # why there are slices
    with Largest() as seen:
        upsampled_cross_entropy(logits.detach().requires_grad_(), labels).backward()
    assert 4 * seen.elements <= MEMORY


@torch.inference_mode()
def test_features_labels_and_masks(preset: tuple[Config, int]) -> None:
    """Full batches of the usual shape, and of panoramas, of which labelling takes fewer at once."""
    config, classes = preset
    attention = AttentionNet(config.arch, config.hidden, config.prototypes).eval()
    segmentation = SegmentationNet(config.arch, classes).eval()
    centroids = torch.empty(classes, attention.backbone.channels[-1])
    with Largest() as seen:
        attention.cluster_features(torch.empty(config.batch, 3, config.crop, config.crop))
        for size in ((256, 341), (341, 256), (256, 1024), (256, 1792)):
            segmentation(torch.empty(config.batch, 3, *size))
            count = attention.images_at_once(size)
            assert count >= 16
            _, normalised, _ = attention.gated(torch.empty(min(count, config.batch), 3, *size))
            F.linear(normalised.permute(0, 2, 3, 1), centroids).argmax(3)
            assert normalised.numel() <= attending.MAP
    assert 1e8 < seen.elements < LIMIT


def test_kmeans(preset: tuple[Config, int]) -> None:
    """Points lie in chunks: all of them would be too many for pass919."""
    config, classes = preset
    features = AttentionNet(config.arch, 1, 1).backbone.channels[-1]
    images = TIERS[str(classes)].counts["train"]
    assert (images * features > LIMIT) == (classes == 919)
    assert CHUNK * max(features, classes) < LIMIT
