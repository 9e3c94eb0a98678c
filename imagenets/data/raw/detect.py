"""Recognises raw ImageNet by looking at what a path holds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagenets.classes import is_wnid
from imagenets.core.files import is_litter, listing
from imagenets.data.raw import folders, parquets, tars
from imagenets.data.raw.images import RawImages
from imagenets.data.raw.parts import Part
from imagenets.data.stems import split_name
from imagenets.errors import MissingError, UsageError
from imagenets.paths import export_state

KINDS = ("folders", "flat", "tar", "kaggle", "parquet", "webdataset")
"""The raw forms, as `--source-kind` names them."""

FORMS = """\
  class folders      train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, or either of them
  flat validation    val/ILSVRC2012_val_*.JPEG
  official archives  ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, or a folder of <wnid>.tar
  Kaggle             ILSVRC/Data/CLS-LOC/{train/<wnid>,val}
  parquet            train-*.parquet, validation-*.parquet that keep the ILSVRC file names
  WebDataset         *.tar whose keys are the ILSVRC file names
Any of them, or the folder that holds it; train and validation may be given as two paths."""
"""What is taken, for messages."""

_TARS = ("tar", "webdataset")
_DEEPEST = 2
_KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC", ".")
_SPLITS = ("train", "val", "validation")
_HUB = ("data", "default")  # where repositories of the Hugging Face Hub keep their files
# Archives of the test set, the bounding boxes and the dogs often lie in the same folder.
_OTHERS = re.compile(rb"(test-|.*(_test|_bbox|_devkit|_train_t3|-test-)).*")


def open_sources(
    paths: Sequence[Path], kind: str | None = None, cache: Path | None = None
) -> RawImages:
    """Recognises raw ImageNet in each path and makes one look-up of all.

    Args:
        paths: Files or folders in any raw form; of a stem that is in two, the first is taken.
        kind: One of `KINDS` to take nothing but that form.
        cache: Folder in which the indexes of archives are kept; None keeps none.

    Raises:
        UsageError: There is no such kind, or a file is of another.
        MissingError: A path does not exist, or holds no image that can be identified.
        CorruptError: An archive is cut off or damaged.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no source kind {kind!r}: choose {', '.join(KINDS)}.")
    require(paths)
    parts: list[Part] = []
    for path in paths:
        found = list(_parts_of(path, kind, cache))
        if not any(len(part.stems) for part in found):
            raise _nothing(path, kind, found)
        parts += [part for part in found if len(part.stems) or part.unidentified]
    return RawImages(parts)


def require(paths: Sequence[Path]) -> None:
    """Checks that paths are there, before anything else is done.

    Raises:
        MissingError: One is not.
    """
    for path in paths:
        if not path.exists():
            raise MissingError(f"{path}: no such file or folder. Give raw ImageNet as\n{FORMS}")


def _parts_of(path: Path, kind: str | None, cache: Path | None) -> Iterator[Part]:
    """Every part that a path holds, in every form or in the one that is asked for."""
    if path.is_file():
        yield _part_of_file(path, kind, cache)
        return
    kaggle = next((path / k for k in _KAGGLE if _is_kaggle(path / k)), None)
    if kaggle is not None and kind in (None, "kaggle"):
        yield from _parts_of_folder(kaggle, "kaggle", cache, "kaggle")
    elif kind != "kaggle":
        yield from _parts_of_folder(path, kind, cache)


def _part_of_file(path: Path, kind: str | None, cache: Path | None) -> Part:
    """The part that a file holds, by its first bytes."""
    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    if kind not in (None, "parquet") if parquet else kind not in (None, *_TARS):
        found = "a parquet file" if parquet else "a single file"
        raise UsageError(f"{path}: {found}, but --source-kind is {kind}. Leave that out.")
    return parquets.scan(path, [path]) if parquet else tars.scan(path, cache)


def _is_kaggle(path: Path) -> bool:
    return path.resolve().name == "CLS-LOC" and any((path / s).is_dir() for s in _SPLITS)


def _parts_of_folder(
    path: Path, kind: str | None, cache: Path | None, label: str | None = None, depth: int = 0
) -> Iterator[Part]:
    """The parts of a folder: files first (they can be linked), then archives.

    Args:
        path: The folder.
        kind: The form asked for, None for all.
        cache: Folder of the kept indexes.
        label: The form to report for files; None to tell by their layout.
        depth: How many folders with known names lead here from the path that was given.
    """
    names = [n for n in listing(os.fsencode(path)) if not is_litter(os.fsdecode(n))]
    here = os.fsencode(path) + b"/"
    unlike = [n for n in names if split_name(n) is None]  # asks no image whether it is a folder
    inside = {n for n in unlike if os.path.isdir(here + n)}  # noqa: PTH112
    for name in (*_SPLITS, *_HUB):
        if os.fsencode(name) in inside and depth < _DEEPEST:
            yield from _parts_of_folder(path / name, kind, cache, label, depth + 1)
    if kind in (None, "folders", "kaggle"):
        # Within a split's own folder the subfolders may have any name: the files' names count.
        loose = path.name in _SPLITS
        chosen = (n for n in names if n in inside and (is_wnid(n) or loose))
        classes = [here + name for name in chosen]
        if classes:
            yield folders.scan(label or "folders", path, classes)
    if kind in (None, "flat", "kaggle") and len(unlike) < len(names):
        yield folders.scan(label or "flat", path, [os.fsencode(path)])
    ours = any(export_state(folder).is_dir() for folder in (path, path.parent))
    archives = [path / os.fsdecode(n) for n in unlike if ours or not _OTHERS.fullmatch(n)]
    if kind in (None, *_TARS):
        parts = [tars.scan(archive, cache) for archive in archives if archive.suffix == ".tar"]
        # of an image that is there twice, the one with a mask
        yield from sorted(parts, key=lambda part: not part.has_masks)
    files = [archive for archive in archives if archive.suffix == ".parquet"]
    if kind in (None, "parquet") and files:
        yield parquets.scan(path, files)


def _nothing(path: Path, kind: str | None, found: list[Part]) -> MissingError:
    """Why a path gives no image: images that cannot be identified, or no known form."""
    unidentified = sum(part.unidentified for part in found)
    if unidentified:
        example = next((part.example for part in found if part.example), "")
        names = f"under names such as {example}" if example else "without file names"
        return MissingError(
            f"{path}: holds {unidentified:,} images, but {names}, so they cannot be identified: "
            "ImageNet-S needs the ILSVRC file names (n01440764_10026.JPEG, "
            "ILSVRC2012_val_00000293.JPEG). Give a copy that keeps them."
        )
    as_kind = f" as {kind}" if kind else ""
    return MissingError(f"{path}: no raw ImageNet is found there{as_kind}. Taken are\n{FORMS}")
