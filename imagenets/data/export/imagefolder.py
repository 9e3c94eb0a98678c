"""Two trees for torchvision's ImageFolder: images, and the targets of their labels, in one order.

The target of a label is the object that an image's ImageNet-1k label names; see
`imagenets.data.dataset.targets`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from imagenets.core.files import write_file
from imagenets.data.dataset.split import Split
from imagenets.data.dataset.targets import target_of
from imagenets.data.export.pieces import MaskFiles, Piece, facts, same_pixels, stored
from imagenets.pixels.png import encode_gray


@dataclass(frozen=True)
class TargetFolders(MaskFiles):
    """Writes `OUT/images/<split>/<wnid>/<stem>.JPEG` and `OUT/targets/<split>/<wnid>/<stem>.png`.

    The folder is the class of the label, not the class folder of ImageNet-S. Every split has a
    folder for every label, empty ones too, so that an index is the same class in all of them: of
    ImageNet, torchvision's index is the ImageNet-1k label. A target has 8 bits: 1 the object, 0
    not, 255 ignored.
    """

    name: ClassVar[str] = "imagefolder"

    def write(self, data: Split, piece: Piece, folder: Path) -> list[Path]:
        """Writes image and target of each sample; see `Format`."""
        files = []
        for index, fact in zip(piece, facts(data, piece), strict=True):
            place = Path(data.split, fact["label"] or fact["wnid"])
            stem = fact["name"].rpartition("/")[2]
            image = folder / "images" / place / f"{stem}.JPEG"
            target = folder / "targets" / place / f"{stem}.png"
            pixels = target_of(data.mask(index), fact["target_id"])
            png = encode_gray(pixels)
            same_pixels(target, png, pixels)
            for path, content in ((image, stored(data, index)[0]), (target, png)):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_file(path, content, durable=False)
                files.append(path)
        return files

    def finish(self, data: Split, folder: Path, splits: dict[str, dict[str, Any]]) -> None:
        """Makes the folders of labels that no image of the split has."""
        for wnid in {*data.source_classes, *data.classes}:
            for tree in ("images", "targets"):
                (folder / tree / data.split / wnid).mkdir(parents=True, exist_ok=True)
