"""The measures of one heat map: their names, what they are, and who proposed them.

In all of them h is the map, t the pixels of the object and n the number of pixels that are not
ignored; ignored pixels are in no maximum, rank, sum, mean or threshold. Where values are equal, a
measure is the average over all orders that they could have.
"""

from __future__ import annotations

MEASURES = {
    "pointing_game": "pointing game",
    "pointing_game_near": "pointing game with a tolerance",
    "energy": "energy inside the object",
    "rank_accuracy": "relevance rank accuracy",
    "iou_share": "IoU of a fixed share of the pixels",
    "iou_mean": "IoU of what is above the mean",
    "iou_upper_bound": "IoU at each image's best threshold (an upper bound)",
    "average_precision": "average precision",
    "roc_auc": "area under the ROC curve",
}
"""Name -> what it is, in the order in which values are kept.

- `pointing_game`: the share of the highest pixels that lie in t: 0 or 1 without ties. Zhang et al.,
  "Top-Down Neural Attention by Excitation Backprop", IJCV 2018. (Others count a hit where any of
  several highest pixels lies in t: then a constant map always hits.)
- `pointing_game_near`: the same with the pixels within a radius of t, 15 pixels in that paper.
- `energy`: sum of max(h, 0) over t, divided by the sum over all. Wang et al., "Score-CAM", CVPR
  Workshops 2020; the relevance mass accuracy of Arras et al., "CLEVR-XAI", Information Fusion 2022.
  A map without any value above 0 has 0; one that holds +inf has none (-inf counts as 0).
- `rank_accuracy`: the share of the |t| highest pixels that lie in t. Arras et al., as above.
- `iou_share`: IoU of t and the highest pixels, a fixed share of n (rounded, at least one pixel).
  Where ties stand across the border, the intersection is its average.
- `iou_mean`: IoU of t and the pixels whose value is above the mean over the image, which is taken
  in float64: the segmentation test of Chefer et al., "Transformer Interpretability Beyond Attention
  Visualization", CVPR 2021. A constant map has none above, and 0; one that holds infinite values
  has no mean, and no value.
- `iou_upper_bound`: IoU of t and h >= c for the best c of this image. No method can know that c:
  it is an upper bound.
- `average_precision`: sum over thresholds of precision times the gain in recall, equal values being
  one threshold, as in scikit-learn's `average_precision_score`.
- `roc_auc`: how often a pixel of t is above one that is not, ties counting half. There is none
  where t covers all pixels. Fawcett, "An introduction to ROC analysis", 2006.

Infinite values are ordered as any others, so the rest of the measures take them.
"""

NAMES = tuple(MEASURES)

POINTING, NEAR, ENERGY, RANK, SHARE_IOU, MEAN_IOU, BEST_IOU, PRECISION, AUC = range(len(NAMES))
"""Columns in which the values of an image are kept, in the order of `MEASURES`."""

CONSTANT, INFINITE, WITHOUT_ENERGY, COVERED = 1, 2, 4, 8
"""Bits of an image's flags: one value everywhere, some value infinite, no value above 0, and no
pixel outside the object."""

BINS = 1 << 14
"""Bins of the pooled measures: equal parts of 0..1, each map's lowest to its highest value."""

SHARE = 0.25
"""Share of the pixels for `iou_share`."""

RADIUS = 15.0
"""Tolerance of `pointing_game_near` in pixels, that of Zhang et al."""
