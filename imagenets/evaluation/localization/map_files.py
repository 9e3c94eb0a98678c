"""Heat maps as people keep them, by name: files in a folder, one .npz, one HDF5 file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets.core.files import is_litter
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.masks import MAX_PIXELS
from imagenets.pixels.image import DecodeError, decoding

FORMS = ".npy, .npz, .png, .tif, .tiff"
"""What the files of a folder may end in."""

_GREY = ("L", "I;16", "I;16B", "I;16L", "I", "F")
_HDF5 = (".h5", ".hdf5")


class _NotGreyError(Exception):
    """A picture that has other channels than one of grey values."""


@dataclass(frozen=True, slots=True)
class StoredMap:
    """One heat map, to be read where it is needed.

    Attributes:
        where: What to call it in a message.
        load: Reads it.
    """

    where: str
    load: Callable[[], npt.NDArray[Any]]

    def read(self) -> npt.NDArray[Any]:
        """The map.

        Returns:
            H x W floats or integers, as they are stored.

        Raises:
            CorruptError: It cannot be read, or is not one grey picture of real numbers.
        """
        try:
            with decoding():
                values = self.load()
        except (DecodeError, KeyError, zipfile.BadZipFile, _NotGreyError) as error:
            raise CorruptError(f"{self.where}: not a readable heat map ({error}).") from error
        if values.ndim == 3 and 1 in (values.shape[0], values.shape[2]):
            values = values[0] if values.shape[0] == 1 else values[:, :, 0]
        if values.ndim != 2 or not values.size or values.dtype.kind not in "fiub":
            raise CorruptError(
                f"{self.where}: a heat map is H x W real numbers, this one has shape "
                f"{values.shape} and type {values.dtype}."
            )
        return values


def list_maps(path: Path) -> Mapping[str, StoredMap]:
    """Finds heat maps by name: `<wnid>/<stem>`, or `<stem>` where they lie flat.

    Args:
        path: A folder of files, one map each: .npy, .npz with one array, or a grey PNG or TIFF of
            8 or 16 bits (or floats). Or one .npz with an array for each name. Or one HDF5 file with
            a dataset for each name. Or either with `maps` (N x H x W) and `names` (N strings).

    Returns:
        Maps by name, sorted.

    Raises:
        MissingError: There is no such path, or no map in it.
        CorruptError: The one file cannot be read.
        UsageError: It is of another kind, or two files are of one name.
    """
    path = path.expanduser()
    if path.is_dir():
        found = _in_folder(path)
    elif not path.exists():
        raise MissingError(f"{path}: there is no such file or folder of heat maps.")
    elif path.suffix.lower() == ".npz":
        found = _in_npz(path)
    elif path.suffix.lower() in _HDF5:
        found = _in_hdf5(path)
    else:
        raise UsageError(
            f"{path}: give a folder of heat maps ({FORMS}), one .npz or one .h5 with all of them."
        )
    if not found:
        raise MissingError(f"{path}: there is no heat map in it ({FORMS}, .h5).{_others(path)}")
    plain = {_plain(name): one for name, one in sorted(found.items())}
    if len(plain) < len(found):
        raise UsageError(f"{path}: two heat maps of one image, with and without .JPEG in the name.")
    return plain


def _plain(name: str) -> str:
    """A name without the suffix that lists of images have."""
    return name.removesuffix(".JPEG").removesuffix(".jpg")


def _others(path: Path) -> str:
    """What a folder without heat maps holds instead."""
    first = next((file for file in sorted(path.rglob("*")) if file.is_file()), None)
    return "" if first is None else f" It holds others, such as {first.name}."


def _in_folder(folder: Path) -> dict[str, StoredMap]:
    found: dict[str, StoredMap] = {}
    for file in sorted(folder.rglob("*")):
        suffix = file.suffix.lower()
        inside = file.relative_to(folder)
        if suffix not in _READERS or any(is_litter(part) for part in inside.parts):
            continue
        name = inside.with_suffix("").as_posix()
        if name in found:
            raise UsageError(
                f"{file} and {found[name].where}: two heat maps of one image. Leave one."
            )
        found[name] = StoredMap(str(file), partial(_READERS[suffix], file))
    return found


def _npy(file: Path) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    return values


def _single(file: Path) -> npt.NDArray[Any]:
    with np.load(file, allow_pickle=False) as arrays:
        if len(arrays.files) != 1:
            raise ValueError(f"it holds {len(arrays.files)} arrays, not one")
        values: npt.NDArray[Any] = arrays[arrays.files[0]]
        return values


def _grey(file: Path) -> npt.NDArray[Any]:
    with Image.open(io.BytesIO(file.read_bytes()), formats=["PNG", "TIFF"]) as image:
        if image.mode not in _GREY:
            raise _NotGreyError(f"its mode is {image.mode}, not one grey channel of 8 or 16 bits")
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width} x {image.height} pixels are too many")
        return np.asarray(image)


_READERS: Mapping[str, Callable[[Path], npt.NDArray[Any]]] = {
    ".npy": _npy,
    ".npz": _single,
    ".png": _grey,
    ".tif": _grey,
    ".tiff": _grey,
}


def _in_npz(path: Path) -> dict[str, StoredMap]:
    try:
        arrays = np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise CorruptError(f"{path}: not a readable .npz ({error}).") from error
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise CorruptError(f"{path}: not a readable .npz. An array of its own is a .npy file.")
    if {"maps", "names"} <= set(arrays.files):
        return _in_one_array(path, arrays)
    return {
        name: StoredMap(f"{path}: {name}", partial(arrays.__getitem__, name))
        for name in arrays.files
    }


def _in_hdf5(path: Path) -> dict[str, StoredMap]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise CorruptError(f"{path}: not a readable HDF5 file ({error}).") from error
    if isinstance(file.get("maps"), h5py.Dataset) and file["maps"].ndim > 2:
        return _in_one_array(path, file)
    found: dict[str, StoredMap] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = StoredMap(f"{path}: {name}", partial(item.__getitem__, ()))

    file.visititems(visit)
    return found


def _in_one_array(path: Path, file: Any) -> dict[str, StoredMap]:
    if "names" not in file:
        raise CorruptError(f"{path}: `maps` has no `names` beside it: N strings, one for each map.")
    maps, names = file["maps"], [_text(name) for name in file["names"][()]]
    if len(maps) != len(names) or len(set(names)) != len(names):
        raise CorruptError(
            f"{path}: `maps` holds {len(maps)} maps, `names` {len(names)} names, of which "
            f"{len(set(names))} differ: one name for each map is needed."
        )
    return {
        name: StoredMap(f"{path}: {name}", partial(maps.__getitem__, row))
        for row, name in enumerate(names)
    }


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
