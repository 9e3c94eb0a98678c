"""COCO instances as JSON: a mask of each label, or of each class, run-length encoded.

The format is that of Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from imagenets.core.files import atomic
from imagenets.core.log import bar
from imagenets.data.dataset.split import Split
from imagenets.data.export.pieces import Piece, same_bytes
from imagenets.errors import DependencyError, UsageError
from imagenets.masks import BACKGROUND, IGNORED, Ids


def write_coco(data: Split, path: str | Path) -> dict[str, int]:
    """Writes the masks of a data set as COCO instances, which pycocotools reads.

    Of a data set with target="label", an image has one annotation, the object of its label, or
    none where this is not there; else one for each class in its mask. `category_id` is the class
    id. COCO knows no ignored pixels: they are in no annotation, and stand as `ignored` with the
    image, where only those find them who look for it.

    Args:
        data: An `ImageNetS` with masks, or a view of one.
        path: The JSON file; an old one is replaced.

    Returns:
        Numbers of `images`, `annotations`, `categories`.

    Raises:
        UsageError: The split has no masks.
        CorruptError: A mask is missing or damaged, or the file reads back otherwise than it was
            written.
        MissingError: No list tells the labels, or a mask of `with_masks` is not there.
        DependencyError: pycocotools is not installed.
    """
    path = Path(path).expanduser()
    made = _instances(data)
    with atomic(path) as part:
        part.write_text(json.dumps(made, separators=(",", ":")) + "\n", "utf-8")
        same_bytes(path, [json.loads(part.read_text("utf-8"))], [made])
    return {name: len(made[name]) for name in ("images", "annotations", "categories")}


def _instances(data: Split) -> dict[str, Any]:
    """What the file holds."""
    coder = _coder()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    wanted = None if data.target is None else data.target_ids.tolist()
    ilsvrc = data.ilsvrc.tolist()
    with bar("masks", len(data), unit="mask") as shown:
        for index, name in enumerate(data.names):
            mask = data.mask(index)
            images.append(_image(coder, index + 1, name, ilsvrc[index], mask))
            for class_id in _classes(mask) if wanted is None else [wanted[index]]:
                if class_id and (mask == class_id).any():
                    number = len(annotations) + 1
                    one = _annotation(coder, number, index + 1, class_id, mask == class_id)
                    annotations.append(one)
            shown.update()
    names = zip(data.classes, data.class_names, strict=True)
    categories = [{"id": i, "name": name, "wnid": wnid} for i, (wnid, name) in enumerate(names, 1)]
    what = "the mask of the label" if wanted is not None else "every class of the mask"
    return {
        "info": {
            "description": f"ImageNet-S{data.tier} {data.split}: {what}",
            "url": "https://github.com/LUSSeg/ImageNet-S",
        },
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }


@dataclass(frozen=True)
class Coco:
    """Writes `OUT/instances_<split>.json`, all of a split in one piece; see `write_coco`.

    Attributes:
        name: As the command line says it.
    """

    name: ClassVar[str] = "coco"

    def options(self) -> dict[str, Any]:
        """Says what the bytes depend on, beside the samples.

        Returns:
            An empty dict, as the format has no options.
        """
        return {}

    def samples(self, data: Split) -> int:
        """Says how many samples the file holds.

        Args:
            data: The split.

        Returns:
            All of them, as it is one file; 1 of a split that has none.
        """
        return max(1, len(data))

    def check(self, data: Split) -> None:
        """Refuses what cannot be written, before anything is.

        Args:
            data: The split.

        Raises:
            UsageError: The split has no masks.
            DependencyError: pycocotools is not installed.
        """
        if not data.has_masks:
            raise UsageError(f"the split {data.split} of tier {data.tier} has no masks to write.")
        _coder()

    def write(self, data: Split, piece: Piece, folder: Path) -> list[Path]:
        """Writes the file, and reads it back.

        Args:
            data: The whole split.
            piece: Not used: the file has all samples.
            folder: Where to.

        Returns:
            The one file.

        Raises:
            CorruptError: A mask is damaged, which names the sample; or the file reads back
                otherwise.
        """
        path = folder / f"instances_{data.split}.json"
        write_coco(data, path)
        return [path]

    def finish(self, data: Split, folder: Path, splits: dict[str, dict[str, Any]]) -> None:
        """Does nothing: nothing stands beside the file.

        Args:
            data: Not used.
            folder: Not used.
            splits: Not used.
        """


def _coder() -> ModuleType:
    """Pycocotools' run-length coder."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DependencyError(
            f"COCO needs pycocotools ({error}): pip install 'imagenets[coco]'"
        ) from error
    coder: ModuleType = mask
    return coder


def _classes(mask: Ids) -> list[int]:
    found: list[int] = np.unique(mask).tolist()
    return [one for one in found if one not in (BACKGROUND, IGNORED)]


def _image(coder: ModuleType, number: int, name: str, ilsvrc: int, mask: Ids) -> dict[str, Any]:
    height, width = mask.shape
    image = {"id": number, "file_name": f"{name}.JPEG", "width": width, "height": height}
    image["ilsvrc"] = ilsvrc
    if (mask == IGNORED).any():
        image["ignored"] = _runs(coder, mask == IGNORED)
    return image


def _annotation(
    coder: ModuleType, number: int, image: int, class_id: int, pixels: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    runs = _runs(coder, pixels)
    return {
        "id": number,
        "image_id": image,
        "category_id": class_id,
        "segmentation": runs,
        "area": int(coder.area(runs)),
        "bbox": coder.toBbox(runs).tolist(),
        "iscrowd": 0,
    }


def _runs(coder: ModuleType, pixels: npt.NDArray[np.bool_]) -> dict[str, Any]:
    runs = coder.encode(np.asfortranarray(pixels, np.uint8))
    return {"size": runs["size"], "counts": runs["counts"].decode("ascii")}
