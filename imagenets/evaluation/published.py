"""The published code's arithmetic: float32 throughout, for comparison to the last digit.

Kept for those who must reproduce a published number exactly; all else uses `Evaluator`.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError
from imagenets.evaluation.counts import Counts
from imagenets.evaluation.metrics import Absent, Evaluator, Metrics
from imagenets.evaluation.statistics import fmeasures, hits, totals
from imagenets.tiers import BUCKETS

Float32 = npt.NDArray[np.float32]


class PublishedEvaluator(Evaluator):
    """An `Evaluator` whose sums are those of the published code.

    They are kept in float32, in the order in which images are added, and rounded where the
    published code rounds; so, unlike those of `Evaluator`, they depend on that order.
    """

    dtype = np.float32

    def add(self, counts: Counts) -> None:
        """Adds images that were counted before, one after the other."""
        self._add_pixels(counts)
        for image in counts.split():
            self.pixels += totals(image).astype(np.float32)
            found = hits(image)[0], fmeasures(image, np.float32)[0]
            self._sums += np.array(found, np.float32)

    def compute(self, absent: Absent = "published") -> Metrics:
        """The metrics so far.

        Raises:
            UsageError: Nothing was added yet, or another convention of absence is asked for.
        """
        self._check_images()
        if absent != "published":
            raise UsageError(
                "the published arithmetic knows only the published convention of absence."
            )
        means = (self._sums / self.images).astype(np.float32)
        return published_metrics(self.pixels, means)


def published_metrics(pixels: Float32, means: Float32) -> Metrics:
    """Metrics from float32 totals, rounded where the published code rounds.

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
    return cast(Metrics, result)
