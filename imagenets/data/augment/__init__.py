"""Augmentation of whole batches: draw the parameters, then apply them, on any device.

`draw` makes the parameters of all views of a batch from one generator; `apply` is a function of
images and parameters alone, so crops can be stored, inspected and replayed. Recipe and numbers:
PASS (Gao et al., arXiv:2106.03149), which follows SwAV (Caron et al., arXiv:2006.09882).
"""

from imagenets.data.augment.apply import Images, apply, apply_groups, apply_labels
from imagenets.data.augment.evaluation import (
    MEAN,
    STD,
    center_crop,
    label_crop,
    normalize,
    resize_crop,
    short_side,
)
from imagenets.data.augment.grids import grids, overlap_grids
from imagenets.data.augment.params import (
    BRIGHTNESS,
    CONTRAST,
    HUE,
    SATURATION,
    TRIES,
    Params,
    ViewGroup,
    draw,
    draw_boxes,
    draw_groups,
)

centre_crop = center_crop
normalise = normalize

__all__ = [
    "BRIGHTNESS",
    "CONTRAST",
    "HUE",
    "MEAN",
    "SATURATION",
    "STD",
    "TRIES",
    "Images",
    "Params",
    "ViewGroup",
    "apply",
    "apply_groups",
    "apply_labels",
    "center_crop",
    "centre_crop",
    "draw",
    "draw_boxes",
    "draw_groups",
    "grids",
    "label_crop",
    "normalise",
    "normalize",
    "overlap_grids",
    "resize_crop",
    "short_side",
]
