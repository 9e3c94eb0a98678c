"""Superpixels of a prepared split, as `imagenets predict --regions FOLDER` takes them.

    pip install scikit-image
    python benchmarks/superpixels.py --root ROOT --split 50 --subset validation --out FOLDER

SLIC (Achanta et al., TPAMI 2012), about one superpixel for every 400 pixels by default.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.segmentation import slic
from tqdm import tqdm

from imagenets import ImageNetS


def superpixels(image: npt.NDArray[np.uint8], pixels: int) -> npt.NDArray[np.uint16]:
    """Ids from 1 of an H x W x 3 image; 0 is kept for pixels of no segment."""
    height, width = image.shape[:2]
    segments = slic(image, n_segments=max(2, height * width // pixels), start_label=1)
    return segments.astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--subset", default="validation")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pixels", type=int, default=400, help="of a superpixel, on average")
    arguments = parser.parse_args()
    data = ImageNetS(arguments.root, arguments.subset, arguments.split, masks=False)
    for sample in tqdm(data, disable=None):
        file = arguments.out / f"{sample['name']}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(
            superpixels(sample["image"].permute(1, 2, 0).numpy(), arguments.pixels)
        ).save(file)


if __name__ == "__main__":
    main()
