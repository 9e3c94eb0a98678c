"""How well heat maps find the object: measures against the mask of an image's label."""

from imagenets.evaluation.localization.baselines import (
    BASELINES,
    center_gaussian,
    constant,
    ground_truth,
    random,
)
from imagenets.evaluation.localization.comparing import compare, intervals
from imagenets.evaluation.localization.evaluator import LocalizationEvaluator
from imagenets.evaluation.localization.measures import MEASURES
from imagenets.evaluation.localization.metrics import (
    ClassTable,
    ImageTable,
    LocalizationMetrics,
)
from imagenets.evaluation.localization.pooled import Pooled

__all__ = [
    "BASELINES",
    "MEASURES",
    "ClassTable",
    "ImageTable",
    "LocalizationEvaluator",
    "LocalizationMetrics",
    "Pooled",
    "center_gaussian",
    "compare",
    "constant",
    "ground_truth",
    "intervals",
    "random",
]
