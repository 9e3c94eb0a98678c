"""The semi-supervised protocol: fine-tune a pretrained backbone on the 1 % of images with labels.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", arXiv:2106.03149, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STAGES: Mapping[str, str] = MappingProxyType(
    {
        "train": "imagenets.methods.semi.train:STAGE",
        "predict": "imagenets.methods.semi.predict:STAGE",
        "predict-test": "imagenets.methods.semi.predict:TEST_STAGE",
    }
)
"""The stages in their order, `module:STAGE`; the last one runs only when it is asked for."""
