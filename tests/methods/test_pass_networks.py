"""The networks and losses against the published code's numbers on regenerable inputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from beside import GOLDEN, needs_shared
from regenerated import SIZES, attention, grids, logits, pretraining
from torch.utils._python_dispatch import TorchDispatchMode

from imagenets.data.augment import center_crop
from imagenets.methods.pass_.heads import AttentionNet, PretrainNet, SegmentationNet
from imagenets.methods.pass_.losses import Queue, sinkhorn
from imagenets.models.checkpoints import plain_name, plain_state


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "pass_golden.npz") as data:
        return dict(data)


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


@needs_shared
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
        ours = {name: list(value.shape) for name, value in plain_state(network).items()}
        assert ours == published[f"{arch}/{stage}"]
    names = [plain_name(name) for name, _ in pretrain.named_parameters()]
    assert sorted(names) == sorted(published[f"{arch}/pretrain/parameters"])


@needs_shared
@pytest.mark.parametrize("arch", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_pretraining_step_agrees(
    arch: str, golden: dict[str, np.ndarray], request: pytest.FixtureRequest
) -> None:
    published = json.loads((GOLDEN / "pass_state_dicts.json").read_text())
    threads = torch.get_num_threads()
    request.addfinalizer(lambda: torch.set_num_threads(threads))
    torch.set_num_threads(2)  # gradients of float32 depend on how sums are shared out
    found, norms = pretraining(arch)
    tolerance = STEP_TOLERANCE[arch]
    want = {name.split("/")[-1]: value for name, value in golden.items() if f"{arch}/pre" in name}
    for name, value in found.items():
        if name.startswith("loss_"):
            np.testing.assert_allclose(value.item(), want[name], rtol=1e-4, atol=1e-5)
        else:
            close(value, want[name], tolerance)
    ours = [norms[name] for name in published[f"{arch}/pretrain/parameters"]]
    np.testing.assert_allclose(ours, want["grad_norms"], rtol=10 * tolerance, atol=1e-4)


@needs_shared
@pytest.mark.parametrize("arch", SIZES)
def test_attention_network_agrees(arch: str, golden: dict[str, np.ndarray]) -> None:
    for name, value in attention(arch).items():
        close(value, golden[f"{arch}/pixelattn/{name}"])


@needs_shared
@pytest.mark.parametrize("arch", SIZES)
def test_segmentation_network_agrees(arch: str, golden: dict[str, np.ndarray]) -> None:
    close(logits(arch), golden[f"{arch}/finetune/logits"])


@needs_shared
def test_sinkhorn_agrees(golden: dict[str, np.ndarray]) -> None:
    scores = torch.from_numpy(golden["sinkhorn/in"])
    close(sinkhorn(scores), golden["sinkhorn/out"])


@needs_shared
def test_grids_agree(golden: dict[str, np.ndarray]) -> None:
    for name, grid in zip("qk", grids(), strict=True):
        close(grid, golden[f"grid/{name}"])


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


def test_the_queue_asks_the_device_once_and_goes_on_from_what_a_checkpoint_held() -> None:
    first = Queue(2, 4, 128, torch.device("cpu"))
    first.push(0, torch.ones(2, 128))
    second = Queue(2, 4, 128, torch.device("cpu"))
    second.rows.copy_(first.rows)
    scores, prototypes = torch.zeros(2, 5), torch.ones(5, 128)
    second.push(0, torch.ones(2, 128))
    second.push(1, torch.ones(2, 128))
    with _Forbidden(torch.ops.aten._local_scalar_dense):
        assert len(second.join(0, scores, prototypes)) == 6
        assert len(second.join(1, scores, prototypes)) == 2
        second.push(1, torch.ones(2, 128))
        assert len(second.join(1, scores, prototypes)) == 6


class _Forbidden(TorchDispatchMode):
    """Fails where an operation runs: here that with which the host waits for a number."""

    def __init__(self, operation: Any) -> None:
        super().__init__()
        self.operation = operation

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        assert func.overloadpacket is not self.operation
        return func(*args, **(kwargs or {}))


def test_half_precision_ends_with_the_projection_heads() -> None:
    """Under autocast, what follows the heads is what float32 makes of the same embeddings."""
    torch.manual_seed(0)
    crops = [torch.randn(2, 3, 64, 64), torch.randn(2, 3, 64, 64)]
    pretrain, attention = PretrainNet("resnet18w05", 16, 8), AttentionNet("resnet18w05", 16, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = pretrain(crops, grids())
        embedding, scores = attention(crops)
    for name in ("embedding", "scores", "shallow_scores", "projection", "prediction"):
        assert getattr(out, name).dtype == torch.float32, name
    weight = pretrain.prototypes.weight
    torch.testing.assert_close(out.scores, out.embedding @ weight.t(), rtol=1e-5, atol=1e-6)
    again = out.shallow_embedding @ weight.t()
    torch.testing.assert_close(out.shallow_scores, again, rtol=1e-5, atol=1e-6)
    pretrain.eval()
    expected = embedding @ attention.prototypes.weight.t()
    torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("side", "offset"), [(224, 0), (225, 0), (226, 1), (227, 2), (229, 2), (231, 4), (341, 58)]
)
def test_central_crops_lie_where_torchvisions_do(side: int, offset: int) -> None:
    image = torch.arange(side).expand(3, 224, side)
    assert center_crop(image, 224)[0, 0, 0] == offset == round((side - 224) / 2.0)
