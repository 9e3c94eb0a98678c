"""ImageNet-S: prepare, pack, load, train and score large-scale unsupervised segmentation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagenets import masks as masks
    from imagenets.api.predict import predict as predict
    from imagenets.api.prepare import prepare as prepare
    from imagenets.api.report import report as report
    from imagenets.api.sample import prepare_sample as prepare_sample
    from imagenets.api.score import score as score
    from imagenets.api.train import train as train
    from imagenets.data.dataset import views as views
    from imagenets.data.dataset.collate import collate as collate
    from imagenets.data.dataset.composition import background as background
    from imagenets.data.dataset.composition import background_without_box as background_without_box
    from imagenets.data.dataset.composition import foreground as foreground
    from imagenets.data.dataset.imagenets import ImageNetS as ImageNetS
    from imagenets.data.dataset.patches import patch_labels as patch_labels
    from imagenets.data.dataset.swap import Swap as Swap
    from imagenets.data.dataset.swap import swap as swap
    from imagenets.data.dataset.views import Pad as Pad
    from imagenets.data.dataset.views import ResizeCrop as ResizeCrop
    from imagenets.data.dataset.views import Squash as Squash
    from imagenets.data.loader import Loader as Loader
    from imagenets.data.loader.crops import CenterCrop as CenterCrop
    from imagenets.data.loader.crops import CentreCrop as CentreCrop
    from imagenets.data.loader.crops import RandomCrop as RandomCrop
    from imagenets.data.loader.crops import RandomResizedCrop as RandomResizedCrop
    from imagenets.data.loader.crops import ShortSide as ShortSide
    from imagenets.data.shards import ShardReader as ShardReader
    from imagenets.data.shards import ShardWriter as ShardWriter
    from imagenets.errors import ImageNetSError as ImageNetSError
    from imagenets.tiers import Tier as Tier

_HOMES = {
    "CenterCrop": "imagenets.data.loader.crops",
    "ShortSide": "imagenets.data.loader.crops",
    "RandomCrop": "imagenets.data.loader.crops",
    "CentreCrop": "imagenets.data.loader.crops",
    "collate": "imagenets.data.dataset.collate",
    "ImageNetS": "imagenets.data.dataset.imagenets",
    "ImageNetSError": "imagenets.errors",
    "Loader": "imagenets.data.loader",
    "Pad": "imagenets.data.dataset.views",
    "ResizeCrop": "imagenets.data.dataset.views",
    "Squash": "imagenets.data.dataset.views",
    "Swap": "imagenets.data.dataset.swap",
    "RandomResizedCrop": "imagenets.data.loader.crops",
    "ShardReader": "imagenets.data.shards",
    "ShardWriter": "imagenets.data.shards",
    "Tier": "imagenets.tiers",
    "background": "imagenets.data.dataset.composition",
    "background_without_box": "imagenets.data.dataset.composition",
    "foreground": "imagenets.data.dataset.composition",
    "patch_labels": "imagenets.data.dataset.patches",
    "predict": "imagenets.api.predict",
    "prepare": "imagenets.api.prepare",
    "prepare_sample": "imagenets.api.sample",
    "report": "imagenets.api.report",
    "score": "imagenets.api.score",
    "train": "imagenets.api.train",
    "swap": "imagenets.data.dataset.swap",
}

_MODULES = {"masks": "imagenets.masks", "views": "imagenets.data.dataset.views"}

__all__ = [
    "CenterCrop",
    "CentreCrop",
    "ImageNetS",
    "ImageNetSError",
    "Loader",
    "Pad",
    "RandomCrop",
    "RandomResizedCrop",
    "ResizeCrop",
    "ShardReader",
    "ShardWriter",
    "ShortSide",
    "Squash",
    "Swap",
    "Tier",
    "__version__",
    "background",
    "background_without_box",
    "collate",
    "foreground",
    "masks",
    "patch_labels",
    "predict",
    "prepare",
    "prepare_sample",
    "report",
    "score",
    "swap",
    "train",
    "views",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import imagenets` stays instant."""
    if name == "__version__":
        from importlib.metadata import version

        return version("imagenets")
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'imagenets' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
