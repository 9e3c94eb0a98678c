"""Recognises raw ImageNet by looking at what a path holds."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from imagenets.data.sources import folders, tars
from imagenets.data.sources.images import RawImages
from imagenets.data.sources.parts import WNID, Part, split_name
from imagenets.errors import MissingError, UsageError

KINDS = ("folders", "flat", "tar", "kaggle")
"""The raw forms, as `--source-kind` names them."""

FORMS = """\
  class folders      train/<wnid>/*.JPEG and val/<wnid>/*.JPEG, or either of them
  flat validation    val/ILSVRC2012_val_*.JPEG
  official archives  ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, or a folder of <wnid>.tar
  Kaggle             ILSVRC/Data/CLS-LOC/{train/<wnid>,val}"""
"""What is taken, for messages."""

_KAGGLE = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC", "CLS-LOC", ".")
_SPLITS = ("train", "val", "validation")
# Beside the archives that are wanted often lie those of the test set, the boxes, the dogs.
_OTHER_TARS = re.compile(rb".*(_test|_bbox|_devkit|_train_t3).*")


def open_sources(
    paths: Sequence[Path], kind: str | None = None, cache: Path | None = None
) -> RawImages:
    """Recognises raw ImageNet in each path and makes one look-up of all.

    Args:
        paths: Files or folders in any raw form; of a stem that is in two, the first is taken.
        kind: One of `KINDS` to take nothing but that form.
        cache: Folder in which the indexes of archives are kept; None keeps none.

    Raises:
        UsageError: No such kind.
        MissingError: A path does not exist, or holds no image that can be identified.
        CorruptError: An archive is cut off or damaged.
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"there is no source kind {kind!r}: choose {', '.join(KINDS)}.")
    parts: list[Part] = []
    for path in paths:
        if not path.exists():
            raise MissingError(f"{path}: no such file or folder. Give raw ImageNet as\n{FORMS}")
        found = list(_look(path, kind, cache))
        if not any(len(part.stems) for part in found):
            raise _nothing(path, kind, found)
        parts += [part for part in found if len(part.stems) or part.strangers]
    return RawImages(parts)


def _look(path: Path, kind: str | None, cache: Path | None) -> Iterator[Part]:
    """Every part that a path holds, in every form or in the one that is asked for."""
    if path.is_file():
        yield tars.scan(path, cache)
        return
    kaggle = next((path / k for k in _KAGGLE if _is_kaggle(path / k)), None)
    if kaggle is not None and kind in (None, "kaggle"):
        yield from _look_folder("kaggle", kaggle, "kaggle", cache)
    elif kind != "kaggle":
        yield from _look_folder(None, path, kind, cache)


def _is_kaggle(path: Path) -> bool:
    return path.resolve().name == "CLS-LOC" and any((path / s).is_dir() for s in _SPLITS)


def _look_folder(
    label: str | None, path: Path, kind: str | None, cache: Path | None, within: bool = False
) -> Iterator[Part]:
    """The parts of a folder: files first (they can be linked), then archives.

    Args:
        label: The form to report for files; None to tell by their layout.
        path: The folder.
        kind: The form asked for, None for all.
        cache: Folder of the kept indexes.
        within: Whether this is a split's own folder, whose subfolders may have any name.
    """
    names = sorted(os.listdir(os.fsencode(path)))  # noqa: PTH208 - bytes: names need not be UTF-8
    if not within:
        for split in _SPLITS:
            if (path / split).is_dir():
                yield from _look_folder(label, path / split, kind, cache, within=True)
    if kind in (None, "folders", "kaggle"):
        within = within or path.name in _SPLITS
        classes = [n for n in names if WNID.fullmatch(n) or (within and b"." not in n)]
        whole = [os.fsencode(path / os.fsdecode(n)) for n in classes]
        inside = [folder for folder in whole if os.path.isdir(folder)]  # noqa: PTH112
        if inside:
            yield folders.scan(label or "folders", path, inside)
    if kind in (None, "flat", "kaggle") and any(split_name(name) for name in names):
        yield folders.scan(label or "flat", path, [os.fsencode(path)])
    if kind in (None, "tar"):
        for name in names:
            if name.endswith(b".tar") and not _OTHER_TARS.fullmatch(name):
                yield tars.scan(path / os.fsdecode(name), cache)


def _nothing(path: Path, kind: str | None, found: list[Part]) -> MissingError:
    for part in found:
        if part.strangers:
            return MissingError(
                f"{part.path}: holds {part.strangers:,} pictures, but under names such as "
                f"{part.example}, by which they cannot be identified: ImageNet-S needs the ILSVRC "
                "file names (n01440764_10026.JPEG, ILSVRC2012_val_00000293.JPEG). "
                "Give a copy that keeps them."
            )
    as_kind = f" as {kind}" if kind else ""
    return MissingError(f"{path}: no raw ImageNet is found there{as_kind}. Taken are\n{FORMS}")
