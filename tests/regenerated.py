"""Networks, images and one step of pretraining that anybody can make again from their names.

The published code ran on the same inputs; its numbers are what the tests compare with.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from imagenets.data.augment import overlap_grids
from imagenets.methods.pass_.heads import AttentionNet, PretrainNet, SegmentationNet
from imagenets.methods.pass_.losses import (
    Queue,
    assign,
    deep_to_shallow,
    pixel_to_pixel,
    swapped,
)
from imagenets.methods.semi.networks import make_network
from imagenets.models.checkpoints import load_weights, plain_name, plain_state

SIZES = {"resnet18": (512, 500), "resnet50": (2048, 3000)}
"""Width of the heads and number of prototypes."""


def image(i: int, n: int, s: int) -> Tensor:
    rng = np.random.default_rng(1000 + i)
    return torch.from_numpy(rng.standard_normal((n, 3, s, s)).astype(np.float32))


KEPT = ("rates", "num_rates", "counter", "current_search_step", "sample_weights")
"""Ends of names that stay as built: the search of dilations."""


def regenerate(network: torch.nn.Module) -> None:
    """Fills every weight from its name."""
    state = {}
    for name, value in plain_state(network).items():
        if name.endswith(KEPT):
            state[name] = value
            continue
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        a = rng.standard_normal(tuple(value.shape)).astype(np.float32)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros_like(value)
            continue
        if name.endswith("running_var"):
            a = np.abs(a) * 0.1 + 1
        elif a.ndim >= 2:
            a = a * np.sqrt(2 / np.prod(a.shape[1:]))
        else:
            a = a * 0.1 + (1 if name.endswith("weight") else 0)
        state[name] = torch.from_numpy(np.asarray(a, np.float32))
    load_weights(network, state)


def wide_image() -> Tensor:
    rng = np.random.default_rng(1001)
    return torch.from_numpy(rng.standard_normal((1, 3, 96, 160)).astype(np.float32))


def grids() -> tuple[Tensor, Tensor]:
    """Where two views see the same points: an overlap with a flip, and none."""
    a = torch.tensor([[10, 20, 100, 80], [0, 0, 30, 30]])
    b = torch.tensor([[50, 40, 90, 120], [100, 100, 40, 40]])
    return overlap_grids(a, torch.tensor([False, True]), b, torch.tensor([True, False]), 7)


def pretraining(
    arch: str, layout: torch.memory_format = torch.contiguous_format
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """One step forward and back: what it computes, and the norm of each gradient (-1: none)."""
    network = PretrainNet(arch, *SIZES[arch])
    regenerate(network)
    network.train().to(memory_format=layout)
    rows = np.random.default_rng(77).standard_normal((2, 8, 128)).astype(np.float32)
    queue = Queue(2, 8, 128, torch.device("cpu"))
    queue.rows = F.normalize(torch.from_numpy(rows), dim=2)
    out = network([image(0, 2, 64), image(1, 2, 64), image(2, 2, 32), image(3, 2, 32)], grids())
    scores = out.scores.unflatten(0, (4, 2))
    assignments = assign(
        out.embedding.detach().unflatten(0, (4, 2))[:2],
        scores.detach()[:2],
        network.prototypes.weight.detach(),
        queue,
    )
    i2i = swapped(assignments, scores)
    d2s = deep_to_shallow(assignments, out.shallow_scores.unflatten(0, (2, 2)))
    p2p = pixel_to_pixel(out.projection, out.prediction)
    total = (i2i + d2s) / 2 + p2p
    total.backward()
    norms = {
        plain_name(name): -1.0 if parameter.grad is None else parameter.grad.norm().item()
        for name, parameter in network.named_parameters()
    }
    return {
        "embedding": torch.cat([out.embedding, out.shallow_embedding]),
        "scores": torch.cat([out.scores, out.shallow_scores])[:, :64],
        "pixel_projection": out.projection,
        "pixel_prediction": out.prediction,
        "assignments0": assignments[0],
        "queue_after": queue.rows,
        "loss_i2i": i2i,
        "loss_d2s": d2s,
        "loss_p2p": p2p,
        "loss_total": total,
    }, norms


@torch.inference_mode()
def attention(arch: str) -> dict[str, Tensor]:
    """What the network of steps 2 to 4 computes."""
    network = AttentionNet(arch, *SIZES[arch])
    regenerate(network)
    network.eval()
    embedding, scores = network([image(0, 2, 64), image(1, 2, 64)])
    features, _, gate = network.gated(image(0, 2, 64))
    return {
        "embedding": embedding,
        "scores": scores[:, :64],
        "cluster": network.cluster_features(image(0, 2, 64)),
        "features_mean": features.mean(1),
        "foreground": gate.mean(1, keepdim=True),
    }


@torch.inference_mode()
def logits(arch: str) -> Tensor:
    """What the network of steps 5 and 6 computes for 50 categories."""
    network = SegmentationNet(arch, 50)
    regenerate(network)
    network.eval()
    return network(image(0, 2, 64))


@torch.inference_mode()
def semi_logits(model: str) -> dict[str, Tensor]:
    """What a network of the semi-supervised protocol computes for 50 classes, by input size."""
    network = make_network(model, 50)
    regenerate(network)
    network.eval()
    return {"64x64": network(image(0, 1, 64)), "96x160": network(wide_image())}
