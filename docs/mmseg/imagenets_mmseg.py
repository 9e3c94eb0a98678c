"""ImageNet-S for MMSegmentation 1.x: data set, loading, and the metrics of the benchmark.

Put this file beside the config (imagenets50.py), which imports it by `custom_imports`.
"""

from pathlib import Path

import numpy as np
from mmcv import imresize
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.evaluator import BaseMetric
from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS, METRICS, TRANSFORMS

from imagenets import classes, masks
from imagenets.evaluation.counts import count
from imagenets.evaluation.metrics import SCALARS, Evaluator
from imagenets.palette import palette
from imagenets.pixels.grids import nearest_of_grid

LARGE = 1000


def reduced(height: int, width: int) -> tuple[int, int]:
    """Width and height that an image comes in with: above 1000 x 1000 pixels, longer side 1000."""
    if height * width <= LARGE**2:
        return width, height
    longer = max(height, width)
    return LARGE * width // longer, LARGE * height // longer


@DATASETS.register_module()
class ImageNetS(BaseSegDataset):
    """The folders of `imagenets-prepare --layout tree`, as they are: ids 0 to K, 1000 ignored."""

    def __init__(self, data_root, data_prefix, **more):
        folders = sorted(p.name for p in Path(data_root, data_prefix["img_path"]).iterdir())
        names = ("other", *classes.names(folders))
        metainfo = {"classes": names, "palette": palette()[: len(names)].tolist()}
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix,
            metainfo=metainfo,
            img_suffix=".JPEG",
            seg_map_suffix=".png",
            ignore_index=1000,
            reduce_zero_label=False,
            **more,
        )


@TRANSFORMS.register_module()
class LoadReducedImage(LoadImageFromFile):
    """An image; a large one is reduced, since its logits would not fit into memory."""

    def transform(self, results):
        results = super().transform(results)
        height, width = results["img"].shape[:2]
        size = reduced(height, width)
        if size != (width, height):
            results["img"] = imresize(results["img"], size, interpolation="bilinear")
            results["img_shape"] = results["ori_shape"] = results["img"].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadIds(BaseTransform):
    """The mask, id = R + 256 * G, at the size of the image as it was loaded."""

    def transform(self, results):
        ids = masks.load(results["seg_map_path"])
        height, width = results["img_shape"][:2]
        if ids.shape != (height, width):
            ids = nearest_of_grid(ids, (width, height))
        results["gt_seg_map"] = ids.astype(np.int32)
        results["seg_fields"].append("gt_seg_map")
        return results


@METRICS.register_module()
class BenchmarkMetrics(BaseMetric):
    """Every published metric, of masks at the size of the image; `out` keeps them as well."""

    default_prefix = "imagenets"

    def __init__(self, out=None, **more):
        super().__init__(**more)
        self.out = None if out is None else Path(out)

    def process(self, data_batch, data_samples):
        num_classes = len(self.dataset_meta["classes"]) - 1
        for sample in data_samples:
            truth = masks.load(sample["seg_map_path"])
            ids = sample["pred_sem_seg"]["data"].squeeze(0).cpu().numpy().astype(np.uint16)
            ids = nearest_of_grid(ids, truth.shape[::-1])
            self.results.append(count(ids, truth, num_classes))
            if self.out is not None:
                image = Path(sample["img_path"])
                path = self.out / image.parent.name / f"{image.stem}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                masks.save(path, ids)

    def compute_metrics(self, results):
        evaluator = Evaluator(len(self.dataset_meta["classes"]) - 1)
        for counts in results:
            evaluator.add(counts)
        found = evaluator.compute()
        return {name: found[name] for name in SCALARS}
