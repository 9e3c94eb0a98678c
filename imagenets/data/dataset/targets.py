"""The mask of the label: which pixels show the object that an image's ImageNet-1k label names.

The label of an image is its own ILSVRC class: of validation and test images as the published
mapping says, of training images as the stem begins. It is not the class folder of ImageNet-S, which
files an image under its dominant object: that is another class for 1,652 of the 12,419 validation
images of tier 919.

Source: Gao et al., "Large-scale Unsupervised Semantic Segmentation", TPAMI 2022, with its lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from imagenets.errors import UsageError
from imagenets.masks import BACKGROUND, IGNORED
from imagenets.tiers import TIERS

Ids = npt.NDArray[np.integer[Any]]

OBJECT = 1
"""Value of a target where the object is."""

LEFT_OUT = 255
"""Value of a target where the mask is ignored: neither object nor background in any measure."""


@dataclass(frozen=True, slots=True)
class Labels:
    """How the ImageNet-1k indices and the class ids of a tier belong together.

    Attributes:
        ids: int16, one for each index: the class id, 0 where the tier has no such class. Indices
            that are merged share an id.
        indices: For each class id 0..K: the indices that have it, int16, ascending; several where
            the tier merges classes.
    """

    ids: npt.NDArray[np.int16]
    indices: tuple[npt.NDArray[np.int16], ...]


@cache
def labels_of(tier: str, classes: tuple[str, ...], source_classes: tuple[str, ...]) -> Labels:
    """The labels of a tier.

    Args:
        tier: Its name; a published one has merges.
        classes: Its WordNet ids; class id = 1 + rank.
        source_classes: The WordNet ids that indices count: the 1,000 of ILSVRC for published tiers.
    """
    merges = TIERS[tier].merges if tier in TIERS else {}
    rank = {wnid: class_id for class_id, wnid in enumerate(classes, 1)}
    ids = np.array([rank.get(merges.get(wnid, wnid), 0) for wnid in source_classes], np.int16)
    indices = [np.flatnonzero(ids == one).astype(np.int16) for one in range(len(classes) + 1)]
    for array in (ids, *indices):
        array.flags.writeable = False  # they are shared
    return Labels(ids, tuple(indices))


@overload
def target_of(ids: Tensor, target_ids: Tensor | int) -> Tensor: ...


@overload
def target_of(ids: Ids, target_ids: Ids | int) -> npt.NDArray[np.uint8]: ...


def target_of(ids: Tensor | Ids, target_ids: Tensor | Ids | int) -> Tensor | npt.NDArray[np.uint8]:
    """The target of the label, of one mask or of a batch of them.

    Args:
        ids: Class ids of any integer type that holds 1000, which is ignored: H x W or N x H x W, a
            tensor or an array.
        target_ids: The class id of the label, or N of them. 0: the tier has no such class, so no
            pixel is the object.

    Returns:
        uint8 of the same kind and shape, on the same device: 1 the object, 0 not, 255 ignored.
    """
    if isinstance(ids, Tensor):
        if ids.device.type == "cpu":  # torch's threads cost more than so little work
            plain = target_ids.numpy() if isinstance(target_ids, Tensor) else target_ids
            return torch.from_numpy(target_of(ids.numpy(), plain))
        wanted = torch.as_tensor(target_ids, device=ids.device).to(torch.int32)
        wanted = torch.where(wanted == BACKGROUND, -1, wanted).view(-1, *[1] * (ids.ndim - 1))
        return (
            (ids == wanted).to(torch.uint8).masked_fill_(ids == IGNORED, LEFT_OUT).view(ids.shape)
        )
    numbers = np.asarray(target_ids, np.int32).reshape(-1, *[1] * (ids.ndim - 1))
    known = np.where(numbers == BACKGROUND, IGNORED, numbers).astype(ids.dtype)
    target: npt.NDArray[np.uint8] = (ids == known).astype(np.uint8)
    target[ids == IGNORED] = LEFT_OUT
    return target


def settled(target: Any) -> Any:
    """A target after a transform: what the transform ignored in the mask is ignored here, too.

    A transform that fills what comes in from outside with 1000, as it should for masks, leaves
    1000 modulo 256 in bytes: that becomes 255.

    Args:
        target: What became of a target; of other types than uint8 it is left as it is.

    Raises:
        UsageError: It holds values that no target has, as after bilinear resizing.
    """
    if not isinstance(target, Tensor) or target.dtype != torch.uint8:
        return target
    target = torch.where(target == IGNORED % 256, LEFT_OUT, target).to(torch.uint8)
    odd = target[(target != 0) & (target != OBJECT) & (target != LEFT_OUT)]
    if odd.numel():
        raise UsageError(
            f"after the transform the target holds {int(odd[0])}: it must be 0, 1 or 255. Move it "
            "by nearest pixels, as a mask; fill what comes in with 1000 (in masks) or 255."
        )
    return target
