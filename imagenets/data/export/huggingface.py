"""Parquet as the Hugging Face Hub has it: image and mask as Image features, with a data set card.

The schema's metadata say what `datasets` takes the columns for, under the key `huggingface`.
"""

from __future__ import annotations

import importlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from imagenets.core.files import atomic, write_file
from imagenets.data.dataset.split import Split
from imagenets.data.export.pieces import Piece, Shards, facts, same_bytes, stored
from imagenets.errors import DependencyError

_GROUP = 100  # rows in a row group, as the Hub has it: what reading one image costs
_STRINGS = ("name", "wnid")
_NUMBERS = ("class_id", "target_id", "width", "height")


@dataclass(frozen=True)
class HuggingFace(Shards):
    """Writes `OUT/data/<split>-00000-of-00013.parquet` and so on, and `OUT/README.md`.

    Splits with masks are the configuration `default` of the card, those without `images`.

    Args:
        shard_samples: Rows in a file.
    """

    name: ClassVar[str] = "parquet"

    def check(self, data: Split) -> None:
        """Raises UsageError for no rows in a file, DependencyError without pyarrow."""
        super().check(data)
        _arrow()

    def write(self, data: Split, piece: Piece, folder: Path) -> list[Path]:
        """Writes one parquet file; see `Format`."""
        arrow, parquet = _arrow()
        name = f"{_word(data.split)}-{piece.number:05d}-of-{piece.count:05d}.parquet"
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        schema = _schema(arrow, data)
        known = facts(data, piece)
        with atomic(path) as part:
            written = []
            with parquet.ParquetWriter(
                part,
                schema,
                compression="none",  # of JPEGs and PNGs nothing is gained
                use_dictionary=False,
                write_statistics=list(_STRINGS),
            ) as file:
                for start in range(0, len(known), _GROUP):
                    some = known[start : start + _GROUP]
                    rows = [_row(data, piece.start + start + i, one) for i, one in enumerate(some)]
                    file.write_table(arrow.Table.from_pylist(rows, schema), row_group_size=_GROUP)
                    written.append(_digest(rows))
            with parquet.ParquetFile(part) as file:
                groups = range(file.num_row_groups)
                read = [_digest(file.read_row_group(i).to_pylist()) for i in groups]
            same_bytes(path, read, written)
        return [path]

    def finish(self, data: Split, folder: Path, splits: dict[str, dict[str, Any]]) -> None:
        """Writes the card."""
        text = _card(data, splits)
        path = folder / "README.md"
        if not path.is_file() or path.read_text("utf-8") != text:
            write_file(path, text)


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DependencyError(
            f"parquet needs pyarrow ({error}): pip install 'imagenets[parquet]'"
        ) from error


def _word(split: str) -> str:
    """The name of a split for `datasets`, which takes letters, digits and underscores alone."""
    return split.replace("-", "_")


def _schema(arrow: Any, data: Split) -> Any:
    """The columns, and what `datasets` takes them for."""
    picture = arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})
    columns = {"image": picture} | ({"mask": picture} if data.has_masks else {})
    columns |= {name: arrow.string() for name in _STRINGS} | {"label": arrow.int64()}
    columns |= {name: arrow.int32() for name in _NUMBERS}
    features: dict[str, Any] = {
        name: {"dtype": str(kind), "_type": "Value"} for name, kind in columns.items()
    }
    for name in ("image", "mask"):
        if name in columns:
            features[name] = {"_type": "Image"}
    features["label"] = {"names": list(data.source_classes), "_type": "ClassLabel"}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    return arrow.schema(columns, told)


def _row(data: Split, index: int, fact: dict[str, Any]) -> dict[str, Any]:
    image, mask = stored(data, index)
    stem = fact["name"].rpartition("/")[2]
    row: dict[str, Any] = {"image": {"bytes": image, "path": f"{stem}.JPEG"}}
    if mask is not None:
        row["mask"] = {"bytes": mask, "path": f"{stem}.png"}
    row |= {name: fact[name] for name in (*_STRINGS, *_NUMBERS)}
    return row | {"label": fact["ilsvrc"]}


def _digest(rows: list[dict[str, Any]]) -> list[int]:
    """Checksums of rows, whatever the order of their columns."""
    found = []
    for row in rows:
        check = 0
        for name in sorted(row):
            value = row[name]
            if isinstance(value, dict):
                check, value = zlib.crc32(value["bytes"], check), value["path"]
            check = zlib.crc32(repr(value).encode(), check)
        found.append(check)
    return found


def _configs(splits: dict[str, dict[str, Any]]) -> list[str]:
    """The lines of the card that say which files a split has."""
    lines = ["configs:"]
    for config, masks in (("default", True), ("images", False)):
        own = [name for name, one in splits.items() if one["masks"] is masks]
        if own:
            lines += [f"- config_name: {config}", "  data_files:"]
        for name in own:
            word = _word(name)
            lines += [f"  - split: {word}", f"    path: data/{word}-?????-of-?????.parquet"]
    return lines


def _card(data: Split, splits: dict[str, dict[str, Any]]) -> str:
    head = ["---", "license: other", f"pretty_name: ImageNet-S{data.tier}"]
    head += ["task_categories:", "- image-segmentation", *_configs(splits), "---"]
    table = ["| split | images | masks |", "|---|---|---|"]
    for name, one in splits.items():
        table.append(f"| {_word(name)} | {one['samples']:,} | {'yes' if one['masks'] else 'no'} |")
    classes = [
        f"{i}. {wnid}: {words}"
        for i, (wnid, words) in enumerate(zip(data.classes, data.class_names, strict=True), 1)
    ]
    return "\n".join([*head, f"\n# ImageNet-S{data.tier}\n", *table, _TEXT, *classes, ""])


_TEXT = """
The images are those of ImageNet, as they were stored, and are under its terms of access: they may
not be passed on. The masks are ImageNet-S (Gao et al., "Large-scale Unsupervised Semantic
Segmentation", TPAMI 2022, https://github.com/LUSSeg/ImageNet-S), under the terms of its authors.

- `image`, `mask`: the files. A mask is an RGB PNG: class id = R + 256 * G; 0 is other, 1000 is
  ignored. From a decoded one: `ids = a[..., 0] + 256 * a[..., 1]` with
  `a = numpy.asarray(mask, "uint16")`.
- `name`: `<class folder>/<stem>`; `wnid` and `class_id`: the class that the image is filed under
  (0: none of this tier).
- `label`: the ImageNet-1k label; `target_id`: its class id (0: the tier has no such class). For one
  validation image in eight it is another class than `class_id`.
- `width`, `height`: in pixels.

## Classes
"""
