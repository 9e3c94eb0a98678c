"""A split in shards."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.data.dataset.store import digest
from imagenets.data.shards import Manifest, ShardReader
from imagenets.errors import CorruptError

_OPEN_SHARDS = 256
"""Shards that one process keeps mapped: each holds a file descriptor, of which 1024 are usual."""


class ShardStore:
    """A split in shards; see `Store`. Tables stay in memory, 101 bytes a sample; files are mapped
    when needed, `_OPEN_SHARDS` at most.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: str) -> None:
        self.classes = tuple(manifest.classes)
        self.source_classes = tuple(manifest.source_classes)
        self.has_masks = manifest.splits[split].masks
        self.unlisted = 0  # packing needs the lists
        infos = manifest.of_split(split)
        self._digest = digest(f"{info.file} {info.sha256}" for info in infos)
        self._readers = [ShardReader(folder / info.file, verify=True) for info in infos]
        tables = [reader.samples for reader in self._readers]
        for info, table in zip(infos, tables, strict=True):
            if len(table) != info.samples:
                raise CorruptError(
                    f"{folder / info.file}: holds {len(table)} samples, the manifest says "
                    f"{info.samples}. Delete this file and run imagenets-prepare again."
                )
        self._starts = np.cumsum([0, *(len(table) for table in tables)])
        self._raw = split == "train-full"
        self._order = self._sorted(tables) if self._raw else None
        self.class_ids = self._column(tables, "class_id", np.int16)
        self.ilsvrc = self._column(tables, "ilsvrc", np.int16)
        sides = [self._column(tables, side, np.uint16) for side in ("width", "height")]
        self._sizes = np.stack(sides, axis=1)  # 65,535 is the most that a JPEG can have
        self._mapped: OrderedDict[int, None] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_mapped": OrderedDict()}

    def name(self, row: int) -> str:
        shard, index = self._find(row)
        record = self._readers[shard].samples[index]
        stem: str = record["name"].decode()
        folder = stem.partition("_")[0] if self._raw else record["wnid"].decode()
        return f"{folder}/{stem}"

    def where(self, row: int) -> str:
        shard, index = self._find(row)
        return f"{self._readers[shard].path}: sample {index}"

    def mask_where(self, row: int) -> str:
        return self.where(row)

    def image(self, row: int) -> memoryview:
        shard, index = self._find(row)
        return self._reader(shard).image(index)

    def mask(self, row: int) -> memoryview | None:
        shard, index = self._find(row)
        return self._reader(shard).mask(index)

    def segments(self, row: int) -> npt.NDArray[np.uint16] | None:
        shard, index = self._find(row)
        return self._reader(shard).segments(index)

    def sizes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        return self._sizes[rows].astype(np.int32)

    def digest(self) -> str:
        return self._digest

    @staticmethod
    def _sorted(tables: list[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
        """The order of raw ILSVRC: by class and stem, which is by stem, as it starts so."""
        stems = np.concatenate([table["name"] for table in tables] or [np.zeros(0, "S32")])
        return np.argsort(stems, kind="stable")  # two sorted runs or so: fast

    def _column(
        self, tables: list[npt.NDArray[Any]], field: str, kind: type[np.integer[Any]]
    ) -> npt.NDArray[Any]:
        parts = [table[field] for table in tables] or [np.zeros(0, kind)]
        column = np.concatenate(parts).astype(kind, copy=False)
        return column if self._order is None else column[self._order]

    def _find(self, row: int) -> tuple[int, int]:
        position = row if self._order is None else int(self._order[row])
        shard = int(np.searchsorted(self._starts, position, "right")) - 1
        return shard, position - int(self._starts[shard])

    def _reader(self, shard: int) -> ShardReader:
        self._mapped[shard] = None
        self._mapped.move_to_end(shard)
        if len(self._mapped) > _OPEN_SHARDS:
            oldest, _ = self._mapped.popitem(last=False)
            self._readers[oldest].close()
        return self._readers[shard]
