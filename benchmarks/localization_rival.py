"""The rival of localization.py: the measures as one writes them with NumPy and scikit-learn.

    python localization_rival.py FOLDER COUNT WORKERS

Runs in an environment of its own. For each line on stdin it measures all maps, in processes, and
answers with the seconds it took and the mean of each measure.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import sklearn
from joblib import Parallel, delayed
from sklearn.metrics import average_precision_score, roc_auc_score

BINS, SHARE, RADIUS = 1 << 14, 0.25, 15


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two sets of pixels."""
    return float((a & b).sum() / (a | b).sum())


def near(inside: np.ndarray, highest: np.ndarray) -> float:
    """Whether the highest pixels lie within the radius of the object."""
    y, x = np.mgrid[: inside.shape[0], : inside.shape[1]]
    hits = [
        inside[np.hypot(y - row, x - column) <= RADIUS].any()
        for row, column in zip(*np.nonzero(highest), strict=True)
    ]
    return float(np.mean(hits))


def best_iou(order: np.ndarray, values: np.ndarray, inside: np.ndarray) -> float:
    """IoU at the best threshold."""
    hit = np.cumsum(inside[order])
    ends = np.append(np.diff(values[order]) != 0, True)
    union = inside.sum() + np.arange(1, len(order) + 1) - hit
    return float((hit / union)[ends].max())


def measure(folder: Path, number: int) -> tuple[dict[str, float], np.ndarray] | None:
    """All measures of one image, and its counts for the pooled ones."""
    heat = np.load(folder / f"map-{number}.npy")
    target = np.load(folder / f"target-{number}.npy")
    kept = target != 255
    values, inside = heat[kept], target[kept] == 1
    if not inside.any():
        return None
    highest = kept & (heat == values.max())
    order = np.argsort(-values, kind="stable")
    part = max(1, int(SHARE * len(values) + 0.5))
    selected = np.zeros(len(values), bool)
    selected[order[:part]] = True
    positive = np.maximum(values, 0).astype(np.float64)
    scaled = (values - values.min()) / (values.max() - values.min())
    counts = [np.histogram(scaled[inside == flag], BINS, (0, 1))[0] for flag in (False, True)]
    found = {
        "pointing_game": float((target[highest] == 1).mean()),
        "pointing_game_near": near(target == 1, highest),
        "energy": float(positive[inside].sum() / positive.sum()),
        "rank_accuracy": float(inside[order[: inside.sum()]].mean()),
        "iou_share": iou(selected, inside),
        "iou_mean": iou(values > values.mean(dtype=np.float64), inside),
        "iou_upper_bound": best_iou(order, values, inside),
        "average_precision": float(average_precision_score(inside, values)),
        "roc_auc": float(roc_auc_score(inside, values)),
    }
    return found, np.stack(counts)


def chunk(folder: Path, numbers: range) -> tuple[list[dict[str, float]], np.ndarray]:
    """Some images."""
    found = [item for number in numbers if (item := measure(folder, number))]
    return [values for values, _ in found], sum(counts for _, counts in found)


def main() -> None:
    """Answers with the time of a pass for each line on stdin."""
    folder, count, workers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chunks = [range(start, min(count, start + 16)) for start in range(0, count, 16)]
    print(f"ready scikit-learn {sklearn.__version__}, NumPy {np.__version__}", flush=True)
    with Parallel(workers) as parallel:
        for _ in sys.stdin:
            start = time.perf_counter()
            parts = parallel(delayed(chunk)(folder, numbers) for numbers in chunks)
            rows = [values for found, _ in parts for values in found]
            means = {name: 100 * float(np.mean([row[name] for row in rows])) for name in rows[0]}
            seconds = time.perf_counter() - start
            print(json.dumps({"seconds": seconds, "means": means}), flush=True)


if __name__ == "__main__":
    main()
