"""Samples as torchvision's v2 transforms expect them, so that image and mask move together."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from imagenets.data.dataset.sample import Sample
from imagenets.errors import DependencyError


def wrapped(sample: Sample) -> Sample:
    """The sample with its image, mask and target marked as such; they share their memory.

    Transforms of `torchvision.transforms.v2` move a mask only where it is marked: of plain tensors
    they move the first alone, without a word. `ImageNetS` marks what it gives to `transform`.
    Without torchvision, nothing is changed.

    Args:
        sample: Of an `ImageNetS`.

    Returns:
        A sample whose `image` is a `torchvision.tv_tensors.Image` and whose `mask` and `target`,
        where they are there, are each a `torchvision.tv_tensors.Mask`.
    """
    marks = _tv_tensors()
    if marks is None:
        return sample
    made = sample.copy()
    made["image"] = marks.Image(sample["image"])
    if "mask" in sample:
        made["mask"] = marks.Mask(sample["mask"])
    if "target" in sample:
        made["target"] = marks.Mask(sample["target"])
    return made


def require() -> None:
    """Refuses to mark anything without torchvision.

    Raises:
        DependencyError: It is not installed, or cannot be imported beside this torch.
    """
    if _tv_tensors() is None:
        raise DependencyError(
            "tv_tensors: torchvision is not installed, or not for this torch. "
            "pip install 'imagenets[torchvision]'"
        )


@cache
def _tv_tensors() -> ModuleType | None:
    if find_spec("torchvision") is None:
        return None
    try:
        return import_module("torchvision.tv_tensors")
    except (ImportError, OSError, RuntimeError):  # built for another torch: no transform of it runs
        return None
