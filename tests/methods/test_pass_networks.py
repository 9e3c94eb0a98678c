"""The networks and losses against the published code's numbers on regenerable inputs."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from imagenets.data.augment import overlap_grids
from imagenets.methods.pass_.heads import AttentionNet, PretrainNet, SegmentationNet
from imagenets.methods.pass_.losses import (
    Queue,
    assign,
    deep_to_shallow,
    pixel_to_pixel,
    sinkhorn,
    swapped,
)

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"
SIZES = {"resnet18": (512, 500), "resnet50": (2048, 3000)}

needs_golden = pytest.mark.skipif(
    not GOLDEN.is_dir(), reason="the golden numbers of the published code are not beside the tree"
)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "pass_golden.npz") as data:
        return dict(data)


def image(i: int, n: int, s: int) -> torch.Tensor:
    rng = np.random.default_rng(1000 + i)
    return torch.from_numpy(rng.standard_normal((n, 3, s, s)).astype(np.float32))


def regenerate(network: torch.nn.Module) -> None:
    """Fills every weight from its name, as the golden run did."""
    state = {}
    for name, value in network.state_dict().items():
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
    network.load_state_dict(state)


# Relative to the largest entry: sums of signed terms have no smaller scale of their own.
TOLERANCE = 1e-4
# Training mode on two images and 1 x 1 maps: 53 batch norms over as few as four values each
# amplify rounding. The recorded float32 numbers of resnet50 lie up to 1.2e-3 (0.6 % of the
# largest entry) from the same step in float64, so nothing can agree with them more closely.
# Norms of gradients lose one more digit on the way back.
STEP_TOLERANCE = {"resnet18": 1e-4, "resnet50": 6e-3}


def close(actual: torch.Tensor, expected: np.ndarray, tolerance: float = TOLERANCE) -> None:
    actual_ = actual.detach().numpy()
    assert actual_.shape == expected.shape
    scale = float(np.abs(expected).max())
    np.testing.assert_allclose(actual_, expected, rtol=tolerance, atol=tolerance * scale)


@needs_golden
@pytest.mark.parametrize("arch", SIZES)
def test_state_dicts_have_the_published_names_and_shapes(arch: str) -> None:
    published = json.loads((GOLDEN / "pass_state_dicts.json").read_text())
    hidden, prototypes = SIZES[arch]
    pretrain = PretrainNet(arch, hidden, prototypes)
    networks = {
        "pretrain": pretrain,
        "pixelattn": AttentionNet(arch, hidden, prototypes),
        "finetune": SegmentationNet(arch, 50),
    }
    for stage, network in networks.items():
        ours = {name: list(value.shape) for name, value in network.state_dict().items()}
        assert ours == published[f"{arch}/{stage}"]
    names = [name for name, _ in pretrain.named_parameters()]
    assert sorted(names) == sorted(published[f"{arch}/pretrain/parameters"])


@needs_golden
@pytest.mark.parametrize("arch", SIZES)
def test_pretraining_step_agrees(
    arch: str, golden: dict[str, np.ndarray], request: pytest.FixtureRequest
) -> None:
    published = json.loads((GOLDEN / "pass_state_dicts.json").read_text())
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(2)  # gradients of float32 depend on how sums are shared out
    network = PretrainNet(arch, *SIZES[arch])
    regenerate(network)
    network.train()
    crops = [image(0, 2, 64), image(1, 2, 64), image(2, 2, 32), image(3, 2, 32)]
    q, k = torch.from_numpy(golden["grid/q"]), torch.from_numpy(golden["grid/k"])
    rows = np.random.default_rng(77).standard_normal((2, 8, 128)).astype(np.float32)
    queue = Queue(2, 8, 128, torch.device("cpu"))
    queue.rows = torch.nn.functional.normalize(torch.from_numpy(rows), dim=2)

    out = network(crops, (q, k))
    scores = out.scores.unflatten(0, (4, 2))
    weights = network.prototypes.weight.detach()
    assignments = assign(
        out.embedding.detach().unflatten(0, (4, 2))[:2], scores.detach()[:2], weights, queue
    )
    i2i = swapped(assignments, scores)
    d2s = deep_to_shallow(assignments, out.shallow_scores.unflatten(0, (2, 2)))
    p2p = pixel_to_pixel(out.projection, out.prediction)
    total = (i2i + d2s) / 2 + p2p
    total.backward()

    tolerance = STEP_TOLERANCE[arch]
    want = {name.split("/")[-1]: value for name, value in golden.items() if f"{arch}/pre" in name}
    close(torch.cat([out.embedding, out.shallow_embedding]), want["embedding"], tolerance)
    close(torch.cat([out.scores, out.shallow_scores])[:, :64], want["scores"], tolerance)
    close(out.projection, want["pixel_projection"], tolerance)
    close(out.prediction, want["pixel_prediction"], tolerance)
    close(assignments[0], want["assignments0"], tolerance)
    close(queue.rows, want["queue_after"], tolerance)
    for name, loss in {"i2i": i2i, "d2s": d2s, "p2p": p2p, "total": total}.items():
        np.testing.assert_allclose(loss.item(), want[f"loss_{name}"], rtol=1e-4, atol=1e-5)
    parameters = dict(network.named_parameters())
    norms = [
        -1.0 if parameters[name].grad is None else parameters[name].grad.norm().item()
        for name in published[f"{arch}/pretrain/parameters"]
    ]
    np.testing.assert_allclose(norms, want["grad_norms"], rtol=10 * tolerance, atol=1e-4)


@needs_golden
@pytest.mark.parametrize("arch", SIZES)
def test_attention_network_agrees(arch: str, golden: dict[str, np.ndarray]) -> None:
    network = AttentionNet(arch, *SIZES[arch])
    regenerate(network)
    network.eval()
    with torch.inference_mode():
        embedding, scores = network([image(0, 2, 64), image(1, 2, 64)])
        features, _, attention = network.gated(image(0, 2, 64))
        cluster = network.cluster_features(image(0, 2, 64))
    close(embedding, golden[f"{arch}/pixelattn/embedding"])
    close(scores[:, :64], golden[f"{arch}/pixelattn/scores"])
    close(cluster, golden[f"{arch}/pixelattn/cluster"])
    close(features.mean(1), golden[f"{arch}/pixelattn/features_mean"])
    close(attention.mean(1, keepdim=True), golden[f"{arch}/pixelattn/foreground"])


@needs_golden
@pytest.mark.parametrize("arch", SIZES)
def test_segmentation_network_agrees(arch: str, golden: dict[str, np.ndarray]) -> None:
    network = SegmentationNet(arch, 50)
    regenerate(network)
    network.eval()
    with torch.inference_mode():
        close(network(image(0, 2, 64)), golden[f"{arch}/finetune/logits"])


@needs_golden
def test_sinkhorn_agrees(golden: dict[str, np.ndarray]) -> None:
    scores = torch.from_numpy(golden["sinkhorn/in"])
    close(sinkhorn(scores), golden["sinkhorn/out"])


@needs_golden
def test_grids_agree(golden: dict[str, np.ndarray]) -> None:
    a = torch.tensor([[10, 20, 100, 80], [0, 0, 30, 30]])
    b = torch.tensor([[50, 40, 90, 120], [100, 100, 40, 40]])
    q, k = overlap_grids(a, torch.tensor([False, True]), b, torch.tensor([True, False]), 7)
    close(q, golden["grid/q"])
    close(k, golden["grid/k"])


def test_sinkhorn_shares_the_prototypes_evenly() -> None:
    generator = torch.Generator().manual_seed(0)
    q = sinkhorn(torch.randn(64, 8, generator=generator), epsilon=1.0, iterations=50)
    torch.testing.assert_close(q.sum(1), torch.ones(64))
    torch.testing.assert_close(q.sum(0), torch.full((8,), 8.0), rtol=1e-3, atol=1e-3)


def test_sinkhorn_stands_large_scores() -> None:
    q = sinkhorn(torch.tensor([[1000.0, 0.0], [0.0, 1000.0]]))
    torch.testing.assert_close(q, torch.eye(2))


def test_the_queue_joins_only_when_full_and_shifts_at_its_front() -> None:
    queue = Queue(1, 4, 128, torch.device("cpu"))
    scores, prototypes = torch.zeros(2, 5), torch.ones(5, 128)
    assert len(queue.join(0, scores, prototypes)) == 2
    queue.push(0, torch.full((2, 128), 1.0))
    assert len(queue.join(0, scores, prototypes)) == 2
    queue.push(0, torch.full((2, 128), 2.0))
    assert queue.join(0, scores, prototypes)[:, 0].tolist() == [256, 256, 128, 128, 0, 0]
