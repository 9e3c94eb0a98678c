"""A split in shards."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.data.dataset.store import digest
from imagenets.data.shards import SAMPLE_DTYPE, Manifest, ShardReader
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
        readers, rows = [], bytearray()  # which grows in place: no table is held twice
        for info in infos:
            reader = ShardReader(folder / info.file, verify=True)
            if len(reader) != info.samples:
                raise CorruptError(
                    f"{reader.path}: holds {len(reader)} samples, the manifest says "
                    f"{info.samples}. Delete this file and run imagenets-prepare again."
                )
            rows += reader.samples.tobytes()
            readers.append(reader.without_table())
        self._starts = np.cumsum([0, *(info.samples for info in infos)])
        self._table = np.frombuffer(rows, SAMPLE_DTYPE)
        self._readers = self._with_tables(readers)
        self._raw = split == "train-full"
        # raw ILSVRC is ordered by class and stem, which is by stem, as it starts so: two runs, fast
        self._order = np.argsort(self._table["name"], kind="stable") if self._raw else None
        self.class_ids = self._column("class_id", np.int16)
        self.ilsvrc = self._column("ilsvrc", np.int16)
        sides = [self._column(side, np.uint16) for side in ("width", "height")]
        self._sizes = np.stack(sides, axis=1)  # 65,535 is the most that a JPEG can have
        self._mapped: OrderedDict[int, None] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Has one large table for all shards: joblib's workers map it and get it only once."""
        readers = [reader.without_table() for reader in self._readers]
        return {**self.__dict__, "_mapped": OrderedDict(), "_readers": readers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._readers = self._with_tables(self._readers)

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

    def _with_tables(self, readers: list[ShardReader]) -> list[ShardReader]:
        """Readers whose tables are parts of the large one."""
        places = pairwise(self._starts.tolist())
        return [
            reader.with_table(self._table[start:stop])
            for reader, (start, stop) in zip(readers, places, strict=True)
        ]

    def _column(self, field: str, kind: type[np.integer[Any]]) -> npt.NDArray[Any]:
        column = self._table[field].astype(kind)
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
