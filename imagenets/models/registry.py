"""The backbones by name: a new one is a file and a line here, imported when it is used."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

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

LIBRARIES: Mapping[str, str] = MappingProxyType(
    {
        "timm": "imagenets.models.timm_backbone:TimmBackbone",
        "hf": "imagenets.models.hf_backbone:HfBackbone",
    }
)
"""What stands before `:` in names of other libraries -> `module:class`, which is called with what
stands after it, and with whether the library's own weights are wanted."""


def make_backbone(name: str, *, pretrained: bool = False) -> Backbone:
    """Makes a backbone.

    Args:
        name: One of `BACKBONES`, `timm:NAME` or `hf:NAME`.
        pretrained: Whether the library brings its own weights, from its cache or the network; else
            they are those that the class starts from.

    Returns:
        The network; its parameters lie on the default device of torch.

    Raises:
        UsageError: There is none of this name, it brings no weights, or the library cannot make it.
        DependencyError: The library is not installed.
    """
    library, colon, theirs = name.partition(":")
    if colon and library in LIBRARIES:
        return _made(LIBRARIES[library], theirs, pretrained)
    if name not in BACKBONES:
        others = " or ".join(f"{library}:NAME" for library in LIBRARIES)
        raise UsageError(
            f"there is no backbone {name!r}: choose one of {', '.join(BACKBONES)}, or {others}."
        )
    if pretrained:
        raise UsageError(f"{name}: no weights come with it. Give a file of weights.")
    return _made(BACKBONES[name], name)


def _made(place: str, *arguments: Any) -> Backbone:
    module, _, what = place.partition(":")
    made: Backbone = getattr(import_module(module), what)(*arguments)
    return made
