"""Other loaders on the same photographs, each in a process of its own: see loader.py.

    python loader_rivals.py NAME PATHS.json FOLDER BATCH WORKERS

Writes the photographs' bytes as NAME stores them, prints `ready NAME VERSION`, then runs an epoch
for every line on stdin and prints its seconds. Only what these packages document is used; images
are decoded and cropped with Pillow where the package leaves that to its users, as in loader.py.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CENTRE, SPREAD = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
# the process speaks to its parent here; what packages print goes to stderr
SAY = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def crop(data: bytes) -> torch.Tensor:
    """RandomResizedCrop, flip, normalised float32, with Pillow."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    left, top, width, height = box(*image.size)
    image = image.crop((left, top, left + width, top + height))
    image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
    return pixels.float().div(255).sub_(CENTRE).div_(SPREAD)


def box(width: int, height: int) -> tuple[int, int, int, int]:
    """A box of 8 to 100 % of the area."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


def webdataset(files, folder, batch, workers):
    """Tars, one for each worker at least."""
    import webdataset as wds

    with wds.ShardWriter(f"{folder}/%04d.tar", maxcount=-(-len(files) // (2 * workers))) as sink:
        for number, path in enumerate(files):
            sink.write({"__key__": f"{number:08d}", "jpg": path.read_bytes()})
    urls = sorted(map(str, folder.glob("*.tar")))
    data = wds.WebDataset(urls, shardshuffle=100, nodesplitter=None).shuffle(500)
    data = data.to_tuple("jpg").map_tuple(crop).batched(batch)
    return wds.WebLoader(data, batch_size=None, num_workers=workers, persistent_workers=True)


class Bytes:
    """Crops what a streaming data set gives."""

    def __init__(self, data):
        self.data = data

    def __call__(self, samples):
        return torch.stack([crop(sample["jpg"]) for sample in samples])


def streaming(files, folder, batch, workers):
    """MosaicML Streaming, from a local folder."""
    from streaming import MDSWriter, StreamingDataset
    from torch.utils.data import DataLoader

    with MDSWriter(out=str(folder), columns={"jpg": "bytes"}) as out:
        for path in files:
            out.write({"jpg": path.read_bytes()})
    data = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch)
    return DataLoader(
        data, batch, num_workers=workers, collate_fn=Bytes(None), persistent_workers=True
    )


def as_sample(path):
    """What LitData stores."""
    return {"jpg": Path(path).read_bytes()}


def litdata(files, folder, batch, workers):
    """LitData, from a local folder."""
    import litdata as ld

    ld.optimize(as_sample, [str(path) for path in files], str(folder), chunk_bytes="64MB")
    data = ld.StreamingDataset(str(folder), shuffle=True)
    return ld.StreamingDataLoader(
        data, batch_size=batch, num_workers=workers, collate_fn=Bytes(None)
    )


def dali(files, folder, batch, workers):
    """DALI on the CPU: fused decoding of the crop, its own resize and normalisation."""
    import nvidia.dali.fn as fn
    import nvidia.dali.types as types
    from nvidia.dali import pipeline_def

    @pipeline_def(batch_size=batch, num_threads=workers, device_id=None)
    def pipeline():
        data, _ = fn.readers.file(files=[str(p) for p in files], random_shuffle=True, name="r")
        images = fn.decoders.image_random_crop(data, random_area=[0.08, 1.0])
        images = fn.resize(images, size=[SIDE, SIDE], antialias=True)
        return fn.crop_mirror_normalize(
            images,
            dtype=types.FLOAT,
            output_layout="CHW",
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
            mirror=fn.random.coin_flip(),
        )

    made = pipeline()
    made.build()
    steps = -(-len(files) // batch)

    class Epoch:
        def __iter__(self):
            for _ in range(steps):
                yield made.run()

    return Epoch()


def ffcv(files, folder, batch, workers):
    """FFCV, with the photographs' own bytes: its image field would decode and encode them anew."""
    from ffcv.fields import RGBImageField
    from ffcv.fields.rgb_image import IMAGE_MODES

    class AsTheyAre(RGBImageField):
        """Stores the bytes of a JPEG."""

        @staticmethod
        def from_binary(binary):
            return AsTheyAre()

        def encode(self, destination, image, malloc):
            stored = np.frombuffer(image, np.uint8)
            destination["mode"] = IMAGE_MODES["jpg"]
            with Image.open(io.BytesIO(image)) as opened:
                destination["width"], destination["height"] = opened.size
            destination["data_ptr"], storage = malloc(stored.nbytes)
            storage[:] = stored

    return beton([(path.read_bytes(),) for path in files], AsTheyAre(), folder, batch, workers)


def ffcv_recipe(files, folder, batch, workers):
    """FFCV as its authors store ImageNet: 500 pixels, every other image as pixels, the rest q90."""
    from ffcv.fields import RGBImageField

    class Photos:
        def __len__(self):
            return len(files)

        def __getitem__(self, index):
            return (Image.open(files[index]).convert("RGB"),)

    field = RGBImageField("proportion", max_resolution=500, jpeg_quality=90)
    return beton(Photos(), field, folder, batch, workers)


def beton(data, field, folder, batch, workers):
    """Writes a file of FFCV and reads crops of it, all with FFCV's own operations."""
    from ffcv.fields.decoders import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter

    path = folder / "train.beton"
    DatasetWriter(str(path), {"image": field}, num_workers=workers).from_indexed_dataset(data)
    print(f"{path.stat().st_size / len(data) / 1000:.0f} KB an image", file=sys.stderr)
    centre, spread = (255 * np.array(values) for values in (MEAN, STD))
    steps = [
        RandomResizedCropRGBImageDecoder((SIDE, SIDE)),
        RandomHorizontalFlip(),
        NormalizeImage(centre, spread, np.float32),
        ToTensor(),
        ToTorchImage(),
    ]
    return Loader(
        str(path),
        batch,
        workers,
        order=OrderOption.RANDOM,
        pipelines={"image": steps},
        custom_fields={"image": type(field)},
        drop_last=False,
    )


def main() -> None:
    """Serves epochs."""
    name, listing, folder, batch, workers = sys.argv[1:]
    files = [Path(path) for path in json.loads(Path(listing).read_text())]
    packages = {
        "streaming": "mosaicml-streaming",
        "dali": "nvidia-dali-cuda120",
        "ffcv_recipe": "ffcv",
    }
    torch.set_num_threads(1)
    try:
        where = Path(folder)
        where.mkdir(parents=True)
        loader = globals()[name](files, where, int(batch), int(workers))
        for _ in loader:
            pass
    except Exception as error:  # whatever a rival raises, it is left out and the others go on
        print(f"{type(error).__name__}: {str(error).splitlines()[:1]}", file=SAY, flush=True)
        raise SystemExit(1) from error
    print(f"ready {name} {version(packages.get(name, name))}", file=SAY, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in loader:
            pass
        print(time.perf_counter() - start, file=SAY, flush=True)


if __name__ == "__main__":
    main()
