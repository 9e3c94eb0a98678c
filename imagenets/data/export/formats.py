"""The formats that a prepared set can be exported to, by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from imagenets.errors import UsageError

if TYPE_CHECKING:
    from imagenets.data.export.pieces import Format

FORMATS = {
    "webdataset": "imagenets.data.export.webdataset:WebDataset",
    "parquet": "imagenets.data.export.huggingface:HuggingFace",
    "coco": "imagenets.data.export.coco:Coco",
    "gray16": "imagenets.data.export.gray16:Gray16",
    "imagefolder": "imagenets.data.export.imagefolder:TargetFolders",
}
"""Name of each format and what writes it."""


def make(name: str, **options: Any) -> Format:
    """A format by its name.

    Args:
        name: One of `FORMATS`.
        **options: Those of its class, such as `shard_samples`; None is its default.

    Returns:
        The format, to be given to `export`.

    Raises:
        UsageError: There is no such format, or it has no such option.
    """
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}: choose one of {', '.join(FORMATS)}.")
    module, _, kind = FORMATS[name].partition(":")
    form = getattr(import_module(module), kind)
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in form.__dataclass_fields__:
            raise UsageError(f"the format {name} has no {option}: leave it out.")
    made: Format = form(**given)
    return made
