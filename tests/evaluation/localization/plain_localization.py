"""The measures of a heat map, each written plainly from its definition, a pixel at a time."""

from __future__ import annotations

import math

import numpy as np


def measures(heat, target, share=0.25, radius=15.0):
    """All measures of one image in percent; None where there is none."""
    h = np.asarray(heat, np.float64)
    t = np.asarray(target)
    kept = [(float(h[p]), bool(t[p] == 1), p) for p in np.ndindex(t.shape) if t[p] != 255]
    own = [v for v, inside, _ in kept if inside]
    if not own:
        return None
    top = max(v for v, _, _ in kept)
    tied = [(inside, p) for v, inside, p in kept if v == top]
    spots = [p for _, inside, p in kept if inside]
    close = [any(math.dist(p, s) <= radius for s in spots) for _, p in tied]
    values = [v for v, _, _ in kept]
    part = max(1, math.floor(share * len(kept) + 0.5))
    hits = expected_hits(kept, part)
    precision, best = curve(kept, len(own))
    found = {
        "pointing_game": sum(inside for inside, _ in tied) / len(tied),
        "pointing_game_near": sum(close) / len(tied),
        "energy": energy(own, values),
        "rank_accuracy": expected_hits(kept, len(own)) / len(own),
        "iou_share": hits / (len(own) + part - hits),
        "iou_mean": iou_above_mean(kept, len(own)),
        "iou_upper_bound": best,
        "average_precision": precision,
        "roc_auc": roc_auc(kept),
    }
    return {name: math.nan if value is None else 100 * value for name, value in found.items()}


def expected_hits(kept, rank):
    """Pixels of the object among the highest `rank`, ties shared out evenly."""
    hits, left = 0.0, rank
    for value in sorted({v for v, _, _ in kept}, reverse=True):
        group = [inside for v, inside, _ in kept if v == value]
        taken = min(left, len(group))
        hits += taken * sum(group) / len(group)
        left -= taken
    return hits


def energy(own, values):
    if math.inf in values:
        return None
    most = max(values)
    if most <= 0:
        return 0.0
    whole = math.fsum(max(v / most, 0) for v in values)
    return math.fsum(max(v / most, 0) for v in own) / whole


def iou_above_mean(kept, inside):
    values = [v for v, _, _ in kept]
    if not all(map(math.isfinite, values)):
        return None
    most = 2.0 ** (math.frexp(max(map(abs, values)))[1] - 1)  # so that no sum overflows
    mean = math.fsum(v / most for v in values) / len(values)
    above = [own for v, own, _ in kept if v / most > mean] if max(values) > min(values) else []
    return sum(above) / (inside + len(above) - sum(above))


def curve(kept, inside):
    """Average precision, and the best IoU, over all thresholds that are values of the map."""
    precision, best, before = 0.0, 0.0, 0
    for value in sorted({v for v, _, _ in kept}, reverse=True):
        found = [own for v, own, _ in kept if v >= value]
        precision += (sum(found) - before) / inside * sum(found) / len(found)
        best = max(best, sum(found) / (inside + len(found) - sum(found)))
        before = sum(found)
    return precision, best


def roc_auc(kept):
    own = np.array([v for v, inside, _ in kept if inside])
    others = np.array([v for v, inside, _ in kept if not inside])
    if not len(others):
        return None
    return ((own[:, None] > others).mean() + (own[:, None] == others).mean() / 2).item()
