"""The backbones by name: a new one is a file and a line here, imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from imagenets.errors import UsageError

if TYPE_CHECKING:
    from imagenets.models.backbone import Backbone

BACKBONES: Mapping[str, str] = MappingProxyType(
    {
        "resnet18": "imagenets.models.resnet:ResNet",
        "resnet50": "imagenets.models.resnet:ResNet",
        "resnet50_d16": "imagenets.models.resnet:ResNet",
        "resnet50w2": "imagenets.models.resnet:ResNet",
        "resnet50w4": "imagenets.models.resnet:ResNet",
        "resnet50w5": "imagenets.models.resnet:ResNet",
        "resnet18w05": "imagenets.models.resnet:ResNet",
        "vit_small_patch16": "imagenets.models.vit:ViT",
        "vit_base_patch16": "imagenets.models.vit:ViT",
        "convnext_tiny": "imagenets.models.convnext:ConvNeXt",
    }
)
"""Name -> `module:class`, which is called with the name."""


def make_backbone(name: str) -> Backbone:
    """Makes a backbone with the weights that its class starts from.

    Raises:
        UsageError: There is none of this name.
    """
    if name not in BACKBONES:
        raise UsageError(f"there is no backbone {name!r}: choose one of {', '.join(BACKBONES)}.")
    module, _, what = BACKBONES[name].partition(":")
    made: Backbone = getattr(import_module(module), what)(name)
    return made
