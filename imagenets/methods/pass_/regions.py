"""Segments of the images, such as superpixels: each takes the id that most of its pixels have."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets.core.files import sha256
from imagenets.errors import CorruptError, MissingError
from imagenets.pixels.image import DecodeError, decoding, open_image

Ids = npt.NDArray[np.uint16]

_MODES = ("L", "P", "I;16", "I;16B", "I")
"""What Pillow calls grey and palette PNGs of 8 and 16 bits."""

_SHOWN = 3
"""Names that a message shows."""


@dataclass(frozen=True)
class Regions:
    """A folder of segments, `<wnid>/<stem>.png` each: grey PNGs of 8 or 16 bits, ids of segments.

    Pixels of id 0 are of no segment.

    Attributes:
        folder: Where they lie.
    """

    folder: Path

    def path(self, name: str) -> Path:
        """The file of an image."""
        return self.folder / f"{name}.png"

    def check(self, names: Sequence[str]) -> None:
        """Looks whether every image has its file.

        Raises:
            MissingError: Some have none, or there is no folder.
        """
        if not self.folder.is_dir():
            raise MissingError(f"--regions {self.folder}: there is no such folder.")
        missing = [name for name in names if not self.path(name).is_file()]
        if missing:
            shown = ", ".join(f"{name}.png" for name in missing[:_SHOWN])
            raise MissingError(
                f"--regions {self.folder}: {len(missing):,} of {len(names):,} images have no "
                f"segments there, such as {shown}. Make them, or leave --regions out."
            )

    def read(self, name: str, size: tuple[int, int]) -> Ids:
        """The segments of an image.

        Args:
            name: Of the image.
            size: Its width and height.

        Returns:
            H x W.

        Raises:
            MissingError: It has none.
            CorruptError: They cannot be read, are of another form or of another size.
        """
        path = self.path(name)
        if not path.is_file():
            raise MissingError(f"{path}: not there: every image needs its segments.")
        try:
            with open_image(path) as image:
                if image.format != "PNG" or image.mode not in _MODES:
                    raise CorruptError(
                        f"{path}: segments are a grey PNG of 8 or 16 bits, one id a segment; this "
                        f"is {image.format} of mode {image.mode}."
                    )
                if image.size != tuple(size):
                    raise CorruptError(
                        f"{path}: {image.width} x {image.height} pixels, but its image has "
                        f"{size[0]} x {size[1]}. Make the segments at the size of the image."
                    )
                return _pixels(image)
        except DecodeError as error:
            raise CorruptError(f"{path}: {error}.") from error

    def digest(self, names: Sequence[str]) -> str:
        """SHA-256 of the segments of some images, in their order.

        Raises:
            MissingError: Some have none, or there is no folder.
        """
        self.check(names)
        contents = hashlib.sha256()
        for name in names:
            contents.update(sha256(self.path(name)).encode())
        return contents.hexdigest()


def _pixels(image: Image.Image) -> Ids:
    with decoding():
        return np.asarray(image).astype(np.uint16)


def vote(ids: Ids, segments: Ids) -> Ids:
    """Gives every segment the id that most of its pixels have; of equally many the smallest.

    Args:
        ids: H x W.
        segments: H x W; pixels of 0 keep their ids.

    Returns:
        H x W.
    """
    pairs, counts = np.unique((segments.astype(np.uint32) << 16) | ids, return_counts=True)
    owners = pairs >> 16
    order = np.lexsort((pairs, -counts, owners))  # of each segment the winner first
    winners = order[np.diff(owners[order], prepend=np.uint32(1 << 16)) != 0]
    elected = np.zeros(1 << 16, np.uint16)
    elected[owners[winners]] = pairs[winners] & 0xFFFF
    voted: Ids = np.where(segments == 0, ids, elected[segments])
    return voted
