"""Pseudo labels on the disk: ids and attention on the grid of the network, some thousand a file.

One HDF5 file holds a table `samples` (one row an image), `ids` (uint16) and `attention` (float32,
as the network gave it: nothing is rounded), the grids laid end to end, each dataset one byte range
of the file. The attribute `key` is the ledger's: what the labels were made from. A file gets its
name when it is whole. The threshold is applied when a label is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from zlib_ng.zlib_ng import crc32

from imagenets.core.files import atomic
from imagenets.errors import CorruptError, MissingError
from imagenets.pixels.grids import labels_of_grid
from imagenets.training.ledger import Key

FORMAT, VERSION = "imagenets-labels", 1
"""Attributes `format` and `version` of a file."""

AGAIN = "Delete it and run the step 'pseudo' again (--stages pseudo)."
"""What to do about a file that is damaged."""

_COLUMNS = [
    ("row", "<i8"),  # of the image in its split
    ("width", "<u4"),  # of the image, pixels
    ("height", "<u4"),
    ("columns", "<u4"),  # of the grid
    ("lines", "<u4"),
    ("offset", "<u8"),  # first entry in `ids` and `attention`
    ("crc32", "<u4"),  # of the bytes of the ids, then of the attention
]


@dataclass(frozen=True, slots=True)
class Label:
    """The label of one image.

    Attributes:
        row: Of the image in its split.
        name: `<class folder>/<stem>`.
        size: Width and height of the image, pixels.
        ids: h x w uint16, 1..K.
        attention: h x w float32, 0..1.
    """

    row: int
    name: str
    size: tuple[int, int]
    ids: npt.NDArray[np.uint16]
    attention: npt.NDArray[np.float32]


def write_labels(path: Path, labels: Sequence[Label], key: Key) -> None:
    """Writes a file in one step; the same labels and key give the same bytes.

    Args:
        path: The file to make.
        labels: What goes in, in this order.
        key: What they are made from.
    """
    import h5py

    names = [label.name.encode() for label in labels]
    table = np.zeros(len(labels), [("name", f"S{max(map(len, names))}"), *_COLUMNS])
    end = 0
    for place, label in enumerate(labels):
        lines, columns = label.ids.shape
        check = crc32(label.attention.tobytes(), crc32(label.ids.tobytes()))
        table[place] = (names[place], label.row, *label.size, columns, lines, end, check)
        end += label.ids.size
    with atomic(path) as part, h5py.File(part, "w", libver=("v108", "v108")) as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_(FORMAT), VERSION
        file.attrs["key"] = np.bytes_(key_text(key))
        grids = (("ids", np.uint16), ("attention", np.float32))
        for what, kind in grids:
            values = [getattr(label, what).reshape(-1) for label in labels]
            data = np.concatenate(values).astype(kind, copy=False)
            file.create_dataset(what, data=data, track_times=False)
        file.create_dataset("samples", data=table, track_times=False)


def labels_in(path: Path, threshold: float) -> Iterator[tuple[str, npt.NDArray[np.uint16]]]:
    """Name and label, H x W ids 0..K, of every image in one file.

    Raises:
        MissingError: There is no such file.
        CorruptError: It is damaged.
    """
    reader = LabelReader.open(path)
    for place in range(len(reader.table)):
        yield reader.name(place), reader.label(place, threshold)


def is_of(path: Path, key: Key) -> bool:
    """Whether a file is there, can be read, and was made from this."""
    try:
        return LabelReader.open(path).key == key_text(key)
    except (MissingError, CorruptError):
        return False


@dataclass
class LabelReader:
    """One file: its table, and where its grids lie; mapped where it is read."""

    path: Path
    key: str
    table: npt.NDArray[Any]
    places: dict[str, int]
    _map: npt.NDArray[np.uint8] | None = None

    @classmethod
    def open(cls, path: Path) -> LabelReader:
        """Reads the table.

        Raises:
            MissingError: There is no such file.
            CorruptError: It is damaged, or of another format.
        """
        import h5py

        if not path.is_file():
            raise MissingError(f"{path}: not there. Run the step 'pseudo' first (--stages pseudo).")
        try:
            with h5py.File(path, "r", locking=False) as file:
                found = (file.attrs["format"], int(file.attrs["version"]))
                if found != (FORMAT.encode(), VERSION):
                    raise CorruptError(f"{path}: no labels of this release ({found}). {AGAIN}")
                table, key = file["samples"][:], file.attrs["key"].decode()
                places = {what: int(file[what].id.get_offset()) for what in ("ids", "attention")}
        except CorruptError:
            raise
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise CorruptError(f"{path}: not readable labels ({error}). {AGAIN}") from error
        return cls(path, key, table, places)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_map": None}

    def grids(self, place: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]:
        """Ids and attention of the image at a place in the table."""
        if self._map is None:
            self._map = np.memmap(self.path, np.uint8, "r")
        record = self.table[place]
        shape = int(record["lines"]), int(record["columns"])
        first, count = int(record["offset"]), shape[0] * shape[1]
        ids = self._part("ids", 2 * first, 2 * count)
        attention = self._part("attention", 4 * first, 4 * count)
        if crc32(attention, crc32(ids)) != record["crc32"]:
            what = self.name(place)
            raise CorruptError(f"{self.path}: the label of {what} is damaged. {AGAIN}")
        return (
            np.frombuffer(ids, np.uint16).reshape(shape),
            np.frombuffer(attention, np.float32).reshape(shape),
        )

    def name(self, place: int) -> str:
        """Name of the image at a place in the table."""
        found: str = self.table[place]["name"].decode()
        return found

    def label(self, place: int, threshold: float) -> npt.NDArray[np.uint16]:
        """The label at the size of its image."""
        record = self.table[place]
        ids, attention = self.grids(place)
        size = int(record["width"]), int(record["height"])
        return labels_of_grid(ids, attention, threshold, size)

    def _part(self, what: str, first: int, size: int) -> bytes:
        assert self._map is not None
        start = self.places[what] + first
        return self._map[start : start + size].tobytes()


def key_text(key: Key) -> str:
    """A key as the attribute of a file has it."""
    return json.dumps(key, sort_keys=True)
