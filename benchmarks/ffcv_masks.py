"""What FFCV's crops make of masks, which it has no field for: stored as images, cropped as images.

    benchmarks/.rivals/bin/python benchmarks/ffcv_masks.py

The environment is the one of `loader.py --rivals ffcv`. Every sample has the same mask twice, in
two fields, as an image and its mask would be; prints how many of the pairs are cut alike, and how
many ids are read where two were stored.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from ffcv.fields import RGBImageField
from ffcv.fields.decoders import RandomResizedCropRGBImageDecoder as Crop
from ffcv.loader import Loader
from ffcv.transforms import ToTensor
from ffcv.writer import DatasetWriter

FIELDS = ("image", "mask")
COUNT, WORKERS = 64, 2


class Masks:
    """Masks of background and one ignored rectangle, R + 256 * G as published, each twice."""

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        mask = np.zeros((375, 500, 3), np.uint8)
        mask[100:300, 150:400, :2] = 1000 % 256, 1000 // 256
        return mask, mask


def main() -> None:
    """Prints one line."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "masks.beton")
        fields = {name: RGBImageField("raw") for name in FIELDS}
        DatasetWriter(path, fields, num_workers=WORKERS).from_indexed_dataset(Masks())
        steps = {name: [Crop((224, 224)), ToTensor()] for name in FIELDS}
        alike, ids = 0, set()
        for image, mask in Loader(path, 16, WORKERS, pipelines=steps):
            alike += int((image == mask).flatten(1).all(1).sum())
            rgb = mask.numpy().astype(int)
            ids |= set(np.unique(rgb[..., 0] + 256 * rgb[..., 1]).tolist())
    print(f"ffcv {version('ffcv')}: {alike} of {COUNT} pairs cut alike; ids 0 and 1000 stored,")
    print(f"{len(ids)} ids read: {', '.join(map(str, sorted(ids)[:8]))} ...")


if __name__ == "__main__":
    main()
