"""WebDataset: tars of some thousand samples, each the image, its mask and its facts in a row.

The format is that of https://github.com/webdataset/webdataset: members that share a name up to the
first dot are one sample.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from imagenets.core.files import atomic
from imagenets.data.dataset.split import Split
from imagenets.data.export.pieces import Piece, Shards, each_once, facts, same_bytes, stored
from imagenets.errors import UsageError


@dataclass(frozen=True)
class WebDataset(Shards):
    """Writes `OUT/<split>-000000.tar` and so on.

    A sample `<class folder>/<stem>` is `.jpg`, the bytes of the image as they are stored;
    `.mask.png`, its mask (id = R + 256 * G); `.json`, its facts. One of ImageNet's images is a
    PNG; it is called `.jpg`, too, as ImageNet calls it `.JPEG`.

    Args:
        shard_samples: Samples in a tar.
    """

    name: ClassVar[str] = "webdataset"

    def check(self, data: Split) -> None:
        """Raises UsageError for names that readers would take for one another."""
        super().check(data)
        each_once(data)
        for name in data.names:
            if "." in name.rpartition("/")[2]:
                raise UsageError(
                    f"{name}: WebDataset takes what is before the first dot for the name of a "
                    "sample. Rename such images and prepare the set again, or export to parquet."
                )

    def write(self, data: Split, piece: Piece, folder: Path) -> list[Path]:
        """Writes one tar; see `Format`."""
        path = folder / f"{data.split}-{piece.number:06d}.tar"
        written: list[tuple[str, int]] = []
        with atomic(path) as part:
            with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
                for index, fact in zip(piece, facts(data, piece), strict=True):
                    image, mask = stored(data, index)
                    members = {"jpg": image, "json": json.dumps(fact).encode()}
                    if mask is not None:
                        members["mask.png"] = mask
                    for ending in sorted(members):
                        name = f"{fact['name']}.{ending}"
                        _add(tar, name, members[ending])
                        written.append((name, zlib.crc32(members[ending])))
            same_bytes(path, _read(part), written)
        return [path]

    def finish(self, data: Split, folder: Path, splits: dict[str, dict[str, Any]]) -> None:
        """Nothing: tars tell all."""


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Adds a member without times and owners: the same samples give the same tar."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _read(path: Path) -> list[tuple[str, int]]:
    """Names and checksums of the members of a tar."""
    found = []
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                file = tar.extractfile(member)
                found.append((member.name, zlib.crc32(file.read()) if file else 0))
    except tarfile.TarError:
        return []
    return found
