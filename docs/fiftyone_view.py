"""Shows photographs, masks, targets and heat maps of ImageNet-S in FiftyOne.

python docs/fiftyone_view.py ROOT TIER [HEAT_MAPS]
"""

from __future__ import annotations

import sys
from pathlib import Path

import fiftyone as fo
import numpy as np

from imagenets import ImageNetS
from imagenets.evaluation.localization.map_files import list_maps

root, tier, *heat = sys.argv[1:]
data = ImageNetS(root, "validation", tier, target="label")
maps = list_maps(Path(heat[0])) if heat else {}
shown = fo.Dataset(f"imagenet-s-{tier}", overwrite=True)
shown.mask_targets = {"mask": dict(enumerate(data.class_names, 1))}
for index, name in enumerate(data.names):
    photo = Path("fiftyone-photos", f"{name}.JPEG").absolute()
    photo.parent.mkdir(parents=True, exist_ok=True)
    photo.write_bytes(data.encoded(index).image)
    one, sample = data[index], fo.Sample(filepath=str(photo))
    sample["label"] = fo.Classification(label=data.source_classes[one["ilsvrc"]])
    sample["mask"] = fo.Segmentation(mask=one["mask"].numpy().astype(np.uint16))
    sample["target"] = fo.Segmentation(mask=one["target"].numpy())
    if stored := maps.get(name) or maps.get(name.partition("/")[2]):
        values = stored.read()
        limits = [float(values.min()), float(values.max())]
        sample["heat"] = fo.Heatmap(map=values.astype(np.float32), range=limits)
    shown.add_sample(sample)
fo.launch_app(shown).wait()
