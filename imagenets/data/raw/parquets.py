"""Images in parquet files: `imagenet-1k` of the Hugging Face Hub, the mirror with masks."""

from __future__ import annotations

import bisect
import importlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from imagenets.core.log import progress
from imagenets.data.raw.parts import Columns, Location, Part, stem_of
from imagenets.errors import CorruptError, DependencyError

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
    """The row groups read last: an image costs its whole group, its neighbours then nothing."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, str], Any] = OrderedDict()

    def column(self, file: Any, path: str, group: int, leaf: str) -> Any:
        """One column of a row group, as an Arrow column."""
        key = path, group, leaf
        found = self._kept.pop(key, None)
        if found is None:
            found = file.read_row_group(group, columns=[leaf], use_threads=False).column(0)
        self._kept[key] = found
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _BUDGET:
            self._kept.popitem(last=False)
        return found


_row_groups = _RowGroups()


class Parquet:
    """A parquet file; the offset of an image is its row."""

    def __init__(self, path: str, image: str, mask: str | None) -> None:
        self.path = path
        self._image, self._mask = image, mask
        self._file: Any = None
        self._ends: list[int] = []
        self._pid = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Parquet, (self.path, self._image, self._mask)

    def read(self, stem: bytes, offset: int, size: int) -> bytes:
        """The bytes in a row's image column."""
        return self._cell(stem, offset, self._image)

    def mask(self, stem: bytes, offset: int) -> bytes | None:
        """The bytes in a row's mask column, None where the file has no such column."""
        return self._cell(stem, offset, self._mask) if self._mask else None

    def locate(self, stem: bytes, offset: int, size: int) -> Location:
        """The row within the file."""
        return Location(Path(self.path), offset, None)

    def size(self, stem: bytes, offset: int) -> int:
        """-1: only reading the row group would tell."""
        return -1

    def close(self) -> None:
        """Lets go of the file."""
        self._file = None

    def _cell(self, stem: bytes, row: int, leaf: str) -> bytes:
        where = f"{self.path}: row {row} ({stem.decode('ascii')})"
        try:
            if self._file is None or self._pid != os.getpid():  # a forked child opens its own
                self._file, self._pid = _pyarrow().ParquetFile(self.path), os.getpid()
                meta = self._file.metadata
                rows = (meta.row_group(i).num_rows for i in range(meta.num_row_groups))
                self._ends = list(accumulate(rows))
            group = bisect.bisect_right(self._ends, row)
            first = self._ends[group - 1] if group else 0
            column = _row_groups.column(self._file, self.path, group, leaf)
            value = column[row - first].as_py()
        except (OSError, ValueError, IndexError) as error:  # Arrow's errors are among these
            raise CorruptError(
                f"{where}: cannot be read ({error}). Fetch the file again."
            ) from error
        data = value["bytes"] if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise CorruptError(
                f"{where}: column {leaf} holds no bytes. Take an edition that embeds the images."
            )
        return data


def scan(path: Path, files: Sequence[Path]) -> Part:
    """Lists the images of parquet files by their name columns alone.

    Args:
        path: What the user gave.
        files: The parquet files in it.

    Raises:
        DependencyError: pyarrow is not installed.
        CorruptError: A file is cut off or no parquet file.
    """
    reader = _pyarrow()
    columns = Columns()
    containers: list[Parquet] = []
    unidentified, example = 0, ""
    for file in progress(files, f"list {path.name}", len(files), unit="file"):
        try:
            with reader.ParquetFile(file) as opened:
                schema = opened.schema_arrow
                image = _leaf(schema, _IMAGES)
                names = list(_names(opened)) if image else []
        except (OSError, ValueError) as error:
            raise CorruptError(
                f"{file}: not a whole parquet file ({error}). Fetch it again."
            ) from error
        if image is None:
            continue
        for row, name in enumerate(names):
            if (stem := stem_of(name)) is not None:
                columns.add(stem, len(containers), row, -1)
            else:
                unidentified += 1
                example = example or os.fsdecode(name)
        containers.append(Parquet(os.path.abspath(file), image, _leaf(schema, _MASKS)))  # noqa: PTH100
    return Part("parquet", path, tuple(containers), *columns.arrays(), unidentified, example)


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


def _names(file: Any) -> Iterator[bytes]:
    """What each row is called by the first column that names an ILSVRC file; else empty."""
    schema = file.schema_arrow
    leaves = [_leaf(schema, _IMAGES, "path"), *(n for n in _NAMES if n in schema.names)]
    shown: list[bytes] = [b""] * file.metadata.num_rows
    for leaf in filter(None, leaves):
        values = file.read(columns=[leaf], use_threads=False).column(0).to_pylist()
        texts = (value["path"] if isinstance(value, dict) else value for value in values)
        names = [os.fsencode(text) if isinstance(text, str) else b"" for text in texts]
        if any(stem_of(name) for name in names):
            return iter(names)
        shown = names if any(names) else shown
    return iter(shown)
