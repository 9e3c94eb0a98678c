"""Masks as PNGs of one channel with 16 bits: a pixel is its class id."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from imagenets.core.files import write_file
from imagenets.data.dataset.split import Split
from imagenets.data.export.pieces import MaskFiles, Piece, same_pixels
from imagenets.pixels.png import encode_gray


@dataclass(frozen=True)
class Gray16(MaskFiles):
    """Writes `OUT/<split>/<class folder>/<stem>.png`: ids 0 to K, 0 other, 1000 ignored."""

    name: ClassVar[str] = "gray16"

    def write(self, data: Split, piece: Piece, folder: Path) -> list[Path]:
        """Writes a PNG for each sample; see `Format`."""
        files = []
        for index, name in zip(piece, data.names[piece.start : piece.stop], strict=True):
            path = folder / data.split / f"{name}.png"
            ids = data.mask(index)
            png = encode_gray(ids)
            same_pixels(path, png, ids)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, png, durable=False)
            files.append(path)
        return files

    def finish(self, data: Split, folder: Path, splits: dict[str, dict[str, Any]]) -> None:
        """Nothing: the files are all."""
