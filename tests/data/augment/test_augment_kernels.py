"""The GPU kernels make the views of the CPU; without a GPU, in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="the kernels need triton, which comes with torch for CUDA")

INTERPRETED = """
import numpy as np, torch
from imagenets.data import augment
from imagenets.data.augment import ViewGroup
from imagenets.data.augment.backends import Target, cuda
from imagenets.pixels.ragged import RaggedBatch

rng = np.random.default_rng(0)
images = [torch.from_numpy(rng.integers(0, 256, (3, *s), np.uint8)) for s in ((20, 17), (9, 31))]
batch = RaggedBatch.from_images(images)
groups = [
    ViewGroup(2, 12, jitter_probability=1, solarize_probability=0.5),
    ViewGroup(1, 9, mode="bicubic", jitter_probability=0, blur_probability=0),
    ViewGroup(1, 8, antialias=False, gray_probability=0.5, blur_probability=1),
]
for seed, last, dtype in ((0, False, torch.float32), (1, True, torch.float16)):
    drawn = augment.draw_groups(batch.sizes, groups, torch.Generator().manual_seed(seed))
    ours = augment.apply_groups(
        batch, drawn, mean=(0, 0, 0), std=(1, 1, 1), dtype=dtype, channels_last=last
    )
    linear = torch.ones(3) / 255, torch.zeros(3)
    theirs = cuda.views(batch, drawn, Target(*linear, dtype, last))
    for one, other in zip(ours, theirs, strict=True):
        assert other.dtype == dtype and one.stride() == other.stride()
        off = ((one.float() - other.float()) * 255).abs()
        assert off.max() < 1.1, off.max()
        assert (off > 0.5).float().mean() < 0.01
"""


def test_kernels_equal_the_cpu_in_the_interpreter() -> None:
    """In a process of its own: the interpreter is chosen when triton is imported."""
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_kernels_equal_the_cpu_on_a_gpu() -> None:
    import numpy as np
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    from imagenets.data import augment
    from imagenets.data.augment import ViewGroup

    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.integers(0, 256, (3, 300, 400), np.uint8)) for _ in range(4)]
    groups = [ViewGroup(2, 224, solarize_probability=0.2), ViewGroup(6, 96, (0.05, 0.14))]
    sizes = torch.tensor([[400, 300]] * 4)
    drawn = augment.draw_groups(sizes, groups, torch.Generator().manual_seed(0))
    ours = augment.apply_groups(images, drawn)
    theirs = augment.apply_groups(images, drawn, "cuda")
    for one, other in zip(ours, theirs, strict=True):
        off = ((one - other.cpu()) * 255 * 0.225).abs()
        assert off.mean() < 0.01
        assert off.quantile(0.999) < 1.1
