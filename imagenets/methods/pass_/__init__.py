"""PASS, the baseline of the benchmark: one stage a file, each reads the files of those before it.

Gao et al., "Large-scale Unsupervised Semantic Segmentation", arXiv:2106.03149.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STAGES: Mapping[str, str] = MappingProxyType(
    {
        "pretrain": "imagenets.methods.pass_.pretrain:STAGE",
        "attention": "imagenets.methods.pass_.attention:STAGE",
        "cluster": "imagenets.methods.pass_.cluster:STAGE",
        "pseudo": "imagenets.methods.pass_.pseudo:STAGE",
        "finetune": "imagenets.methods.pass_.finetune:STAGE",
        "predict": "imagenets.methods.pass_.predict:STAGE",
    }
)
"""The six stages in their order, `module:STAGE`; a stage is imported when its turn comes."""

ALL_STAGES: Mapping[str, str] = MappingProxyType(
    {
        **STAGES,
        "pseudo-png": "imagenets.methods.pass_.pseudo_png:STAGE",
        "predict-test": "imagenets.methods.pass_.predict:TEST_STAGE",
    }
)
"""The six, and what runs only when it is asked for by name."""
