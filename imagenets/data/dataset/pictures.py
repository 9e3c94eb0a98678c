"""Any photographs of a folder, for prediction: no list, no class, no mask."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from imagenets.core.files import is_litter
from imagenets.data.dataset.sample import Encoded
from imagenets.errors import Fault, FaultsError, MissingError, UsageError
from imagenets.pixels.image import DecodeError, decoding, open_image

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""What the names of photographs end in, in small or capital letters."""

_ORIENTATION = 0x0112
"""The tag of EXIF that says how a camera was held."""

_SIDEWAYS = (5, 6, 7, 8)
"""Its values that swap width and height."""

_REMEDIES = {"unreadable": "Replace these files, or take them out of the folder."}


class Pictures:
    """The photographs below a folder, upright, in the order of their names; a `Loader` reads them.

    Args:
        folder: Where they lie, at any depth.
        without: A folder whose files are none of them, such as the one results go to.

    Attributes:
        paths: Their files.
        names: Their paths below the folder, without the suffix.
        sizes: N x 2, width and height as they are looked at: turned as their EXIF says.

    Raises:
        MissingError: There is no such folder, or no photograph in it.
        UsageError: Two would have the same name.
        FaultsError: Some cannot be read.
    """

    has_masks = False

    def __init__(self, folder: Path, without: Path | None = None) -> None:
        if not folder.is_dir():
            raise MissingError(f"{folder}: there is no such folder of photographs.")
        files = sorted(_files(folder, without))
        self.paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        others = [path for path in files if path.suffix.lower() not in SUFFIXES]
        if not self.paths:
            raise MissingError(
                f"{folder}: there is no photograph in it; their names end in "
                f"{', '.join(sorted(SUFFIXES))}."
            )
        if others:
            log.warning(
                "%s: %d other files such as %s are passed over", folder, len(others), others[0].name
            )
        self.names: Sequence[str] = [
            path.relative_to(folder).with_suffix("").as_posix() for path in self.paths
        ]
        self._check_names()
        self.sizes = self._read_sizes()
        none = np.zeros(len(self.paths), np.int16)
        self.class_ids, self.ilsvrc = none, none - np.int16(1)

    def __len__(self) -> int:
        return len(self.paths)

    def sizes_of(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Width and height of some, n x 2."""
        return self.sizes[indices]

    def where(self, index: int) -> str:
        """The file."""
        return str(self.paths[index])

    def encoded(self, index: int) -> Encoded:
        """A photograph, turned upright, without compression.

        Raises:
            FaultsError: It cannot be read.
        """
        buffer = io.BytesIO()
        Image.fromarray(self.pixels(index)).save(buffer, "PPM")
        return Encoded(buffer.getbuffer(), None, None)

    def pixels(self, index: int) -> npt.NDArray[np.uint8]:
        """A photograph as it is looked at, H x W x 3 RGB.

        Raises:
            FaultsError: It cannot be read.
        """
        try:
            with decoding(), Image.open(self.paths[index]) as image:
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except DecodeError as error:
            raise self._unreadable([Fault("unreadable", f"{self.where(index)}: {error}")]) from None

    def _check_names(self) -> None:
        known: dict[str, Path] = {}
        for name, path in zip(self.names, self.paths, strict=True):
            other = known.setdefault(name, path)
            if other is not path:
                raise UsageError(
                    f"{other} and {path.name} are of one name, and so would be their masks. "
                    "Rename one of them."
                )

    def _read_sizes(self) -> npt.NDArray[np.int32]:
        sizes = np.zeros((len(self.paths), 2), np.int32)
        faults = []
        for row, path in enumerate(self.paths):
            try:
                sizes[row] = _size(path)
            except DecodeError as error:
                faults.append(Fault("unreadable", f"{path}: {error}"))
        if faults:
            raise self._unreadable(faults)
        return sizes

    def _unreadable(self, faults: Sequence[Fault]) -> FaultsError:
        title = f"{len(faults)} of {len(self.paths)} photographs cannot be read."
        return FaultsError(title, faults, _REMEDIES)


def _files(folder: Path, without: Path | None) -> Iterator[Path]:
    left_out = None if without is None else without.resolve()
    for place, folders, names in os.walk(folder):
        here = Path(place)
        if left_out is not None and here.resolve() == left_out:
            folders.clear()
            continue
        for name in names:
            if not is_litter(name) and not name.startswith("."):
                yield here / name


def _size(path: Path) -> tuple[int, int]:
    with open_image(path) as image, decoding():
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION) in _SIDEWAYS
    return (height, width) if turned else (width, height)
