"""One parquet file of images, and of masks where it has them: read by row, listed by name."""

from __future__ import annotations

import bisect
import importlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from imagenets.core.handle import Handle, Stamp, stamp_of
from imagenets.data.stems import stem_of
from imagenets.errors import CorruptError, DependencyError, ImageNetSError

_IMAGES = ("image", "img", "jpg", "jpeg")
_MASKS = ("mask", "segmentation", "annotation")
_NAMES = ("filename", "file_name", "image_path", "path", "name", "__key__")
_BUDGET = 128 << 20  # bytes of row groups that one process keeps decoded


def _pyarrow() -> Any:
    """`pyarrow.parquet`; imported here alone, since few need it."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DependencyError(
            "parquet files are read with pyarrow, which is not installed: "
            "pip install 'imagenets[parquet]'"
        ) from error


class _RowGroups:
    """The row groups read last: an image costs its whole group, its neighbours then nothing.

    They are kept by the opened file, not by its path: there another file may lie by now.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, int, str], Any] = OrderedDict()
        self._turn = threading.Lock()  # neither this table nor pyarrow's files are for two threads

    def column(self, file: Any, group: int, leaf: str) -> Any:
        """One column of a row group, as an Arrow column."""
        key = file, group, leaf
        with self._turn:
            found = self._kept.pop(key, None)
            if found is None:
                found = file.read_row_group(group, columns=[leaf], use_threads=False).column(0)
            self._kept[key] = found
            held = sum(kept.nbytes for kept in self._kept.values())
            while len(self._kept) > 1 and held > _BUDGET:
                held -= self._kept.popitem(last=False)[1].nbytes
        return found

    def forget(self, file: Any) -> None:
        """Lets go of what is kept of a file."""
        with self._turn:
            for key in [key for key in self._kept if key[0] is file]:
                del self._kept[key]

    def renew(self) -> None:
        """Makes the lock anew in a forked child: a thread of the parent may have held it."""
        self._turn = threading.Lock()


_row_groups = _RowGroups()
os.register_at_fork(after_in_child=_row_groups.renew)


class ParquetImages:
    """The images of a parquet file, and the masks that it may hold; opened where it is read.

    Attributes:
        path: The file.
        stamp: Its size and time of change when it was listed: with others it is another one.
        has_masks: Whether it has a column of masks.
    """

    def __init__(self, path: str, stamp: Stamp, image: str, mask: str | None) -> None:
        self.path = path
        self.has_masks = mask is not None
        self.stamp = stamp
        self._image, self._mask = image, mask
        self._file: Any = None
        self._ends: list[int] = []
        self._pid = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.stamp, self._image, self._mask)

    def read_image(self, row: int, name: str) -> bytes:
        """The bytes in a row's image column.

        Args:
            row: Which row of the file.
            name: What to call it in an error.

        Raises:
            MissingError: The file is gone.
            CorruptError: It has changed, or the row cannot be read.
        """
        return self._cell(row, name, self._image)

    def read_mask(self, row: int, name: str) -> bytes | None:
        """The bytes in a row's mask column, None where the file has no such column."""
        return self._cell(row, name, self._mask) if self._mask else None

    def close(self) -> None:
        """Lets go of the file and of what is kept of it."""
        _row_groups.forget(self._file)
        self._file = None

    def _cell(self, row: int, name: str, leaf: str) -> bytes:
        where = f"{self.path}: row {row} ({name})"
        try:
            if self._file is None or self._pid != os.getpid():  # a forked child opens its own
                self._file, self._pid = self._open(), os.getpid()
            group = bisect.bisect_right(self._ends, row)
            first = self._ends[group - 1] if group else 0
            column = _row_groups.column(self._file, group, leaf)
            value = column[row - first].as_py()
        except ImageNetSError:
            raise
        except (OSError, ValueError, IndexError, _arrow_error()) as error:
            raise _unreadable(f"{where}: cannot be read", error) from error
        data = value["bytes"] if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise CorruptError(
                f"{where}: column {leaf} holds no bytes. Take an edition that embeds the images."
            )
        return data

    def _open(self) -> Any:
        Handle(self.path, self.stamp)  # checks that it is still the file that was listed
        file = _pyarrow().ParquetFile(self.path)
        meta = file.metadata
        rows = (meta.row_group(i).num_rows for i in range(meta.num_row_groups))
        self._ends = list(accumulate(rows))
        return file


def _arrow_error() -> type[Exception]:
    """What pyarrow raises beside the builtin errors."""
    error: type[Exception] = importlib.import_module("pyarrow").ArrowException
    return error


def _unreadable(what: str, error: Exception) -> CorruptError:
    if isinstance(error, NotImplementedError):
        return CorruptError(
            f"{what} by this pyarrow ({error}). Write it again with names as plain strings and "
            "images as plain binary, in small row groups."
        )
    return CorruptError(f"{what} ({error}). Fetch the file again.")


def list_images(file: Path) -> tuple[ParquetImages, list[bytes]] | None:
    """What the rows of a parquet file are called, read from its name column alone.

    Args:
        file: The parquet file.

    Returns:
        Its images and the name of each row, empty where it has none; None where the file has no
        column of images.

    Raises:
        DependencyError: pyarrow is not installed.
        CorruptError: It is cut off or no parquet file.
    """
    reader = _pyarrow()
    stamp = stamp_of(file.stat())
    try:
        with reader.ParquetFile(file) as opened:
            schema = opened.schema_arrow
            image = _leaf(schema, _IMAGES)
            names = list(_names(opened)) if image else []
    except (OSError, ValueError, _arrow_error()) as error:
        raise _unreadable(f"{file}: not a whole parquet file", error) from error
    if image is None:
        return None
    path = os.path.abspath(file)  # noqa: PTH100 - keeps links as the user wrote them
    return ParquetImages(path, stamp, image, _leaf(schema, _MASKS)), names


def _leaf(schema: Any, names: Sequence[str], child: str = "bytes") -> str | None:
    """The first of some columns that is there: `image`, or `image.bytes` of a struct."""
    for name in names:
        index = schema.get_field_index(name)
        if index < 0:
            continue
        kind = schema.field(index).type
        if hasattr(kind, "get_field_index"):  # a struct
            if kind.get_field_index(child) >= 0:
                return f"{name}.{child}"
        elif child == "bytes":
            return name
    return None


def _values(file: Any, leaf: str) -> Iterator[Any]:
    """A column, by row groups: within a struct, pyarrow reads a dictionary no other way."""
    for group in range(file.num_row_groups):
        column = file.read_row_group(group, columns=[leaf], use_threads=False).column(0)
        for value in column.to_pylist():
            yield value["path"] if isinstance(value, dict) else value


def _names(file: Any) -> Iterator[bytes]:
    """What each row is called by the first column that names an ILSVRC file; else empty."""
    schema = file.schema_arrow
    leaves = [_leaf(schema, _IMAGES, "path"), *(n for n in _NAMES if n in schema.names)]
    shown: list[bytes] = [b""] * file.metadata.num_rows
    for leaf in filter(None, leaves):
        names = [os.fsencode(t) if isinstance(t, str) else b"" for t in _values(file, leaf)]
        if any(stem_of(name) for name in names):
            return iter(names)
        shown = names if any(names) else shown
    return iter(shown)
