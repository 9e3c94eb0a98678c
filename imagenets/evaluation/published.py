"""The published code's arithmetic: float32 throughout, for comparison to the last digit."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from imagenets.evaluation.metrics import Figures
from imagenets.evaluation.statistics import BUCKETS

Float32 = npt.NDArray[np.float32]


def published_figures(pixels: Float32, means: Float32) -> Figures:
    """Figures from float32 totals, rounded where the published code rounds.

    Args:
        pixels: 5 x 2 x 3 x (K + 1) totals as in `Evaluator.pixels`.
        means: Image accuracy and mean F-measure, 0..1.
    """
    import torch  # its summation order is part of the last digit

    def iou(bucket: int, kind: int) -> Float32:
        predicted, true, both = pixels[bucket, kind]
        result: Float32 = both / (predicted + true - both + np.float32(1e-10))
        return result

    def mean(values: Float32) -> float:
        return float(torch.from_numpy(values).mean())

    percent = iou(0, 0) * np.float32(100)
    result: dict[str, Any] = {
        "Acc": 100 * float(means[0]),
        "mIoU": mean(percent),
        "mBIoU": mean(iou(0, 1) * np.float32(100)),
        "FMeasure": 100 * float(means[1]),
    }
    for kind, prefix in enumerate(("", "B")):
        for bucket, name in enumerate(BUCKETS, start=1):
            present = iou(bucket, kind)[pixels[bucket, kind, 1] > 0]
            result[prefix + name] = 100 * mean(present) if present.size else 0.0
    result["IoUs"] = percent.tolist()
    return cast(Figures, result)
