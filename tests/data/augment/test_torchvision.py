"""Boxes and resizing mean what they mean in torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imagenets.data.augment import ViewGroup, draw_boxes, resize_crop

pytestmark = pytest.mark.extras
DRAWS = 4000


def test_boxes_are_distributed_as_random_resized_crops() -> None:
    from torchvision.transforms import RandomResizedCrop

    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    torch.manual_seed(1)
    blank = torch.empty(3, 120, 180)
    theirs = [RandomResizedCrop.get_params(blank, list(scale), list(ratio)) for _ in range(DRAWS)]
    top, left, height, width = np.array(theirs, float).T
    group = ViewGroup(1, 32, scale, ratio)
    sizes = torch.tensor([[180, 120]]).expand(DRAWS, 2)
    ours = draw_boxes(sizes, group, torch.Generator().manual_seed(2))[0].numpy().astype(float)
    pairs = {
        "area": (ours[:, 2] * ours[:, 3], width * height),
        "logarithm of the ratio": (np.log(ours[:, 2] / ours[:, 3]), np.log(width / height)),
        "left": (ours[:, 0], left),
        "top": (ours[:, 1], top),
    }
    for what, (a, b) in pairs.items():
        error = np.sqrt((a.var() + b.var()) / DRAWS)
        assert abs(a.mean() - b.mean()) < 4.5 * error, what
        assert a.std() == pytest.approx(b.std(), rel=0.1), what


def test_resizing_is_torchvisions_up_to_rounding() -> None:
    from torchvision.transforms.v2.functional import resize

    image = torch.randint(0, 256, (3, 90, 140), generator=torch.Generator().manual_seed(3))
    image = image.to(torch.uint8)
    expected = resize(image, [48, 48], antialias=True)
    difference = (resize_crop(image, (0, 0, 140, 90), 48).int() - expected.int()).abs()
    assert int(difference.max()) <= 1
