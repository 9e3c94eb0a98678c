"""Where two views of one image see the same points: the sampling grids of PASS."""

from __future__ import annotations

import torch
from torch import Tensor

from imagenets.data.augment.params import Params


def grids(params: Params, size: int = 7, views: tuple[int, int] = (0, 1)) -> tuple[Tensor, Tensor]:
    """Makes the sampling grids of two views: the same image points, seen from each crop.

    Args:
        params: Of V x N views.
        size: Points a side, G.
        views: Which two views.

    Returns:
        q and k, each N x G x G x 2 (x, y) float32 in [-1, 1]; -2 where the crops do not overlap.
    """
    a, b = views
    return overlap_grids(params.boxes[a], params.flips[a], params.boxes[b], params.flips[b], size)


def overlap_grids(
    boxes_q: Tensor, flips_q: Tensor, boxes_k: Tensor, flips_k: Tensor, size: int = 7
) -> tuple[Tensor, Tensor]:
    """Makes the grids of `grids` from N x 4 boxes (left, top, width, height) and N flips."""
    start = torch.maximum(boxes_q[:, :2], boxes_k[:, :2]).float()
    end = torch.minimum(boxes_q[:, :2] + boxes_q[:, 2:], boxes_k[:, :2] + boxes_k[:, 2:]).float()
    steps = torch.linspace(0, 1, size)
    points = start[:, None] + (end - start)[:, None] * steps[:, None]  # N x G x (x, y)
    empty = (end <= start).any(1)
    return _frame(points, boxes_q, flips_q, empty), _frame(points, boxes_k, flips_k, empty)


def _frame(points: Tensor, boxes: Tensor, flips: Tensor, empty: Tensor) -> Tensor:
    """Turns N x G x 2 image coordinates into a crop's own [-1, 1] grid, N x G x G x 2."""
    own = (points - boxes[:, None, :2]) / boxes[:, None, 2:]
    x, y = own.unbind(-1)
    x = torch.where(flips[:, None], 1 - x, x)
    rows, columns = y[:, :, None], x[:, None, :]
    grid = torch.stack(torch.broadcast_tensors(columns, rows), -1) * 2 - 1
    return torch.where(empty[:, None, None, None], -2.0, grid)
