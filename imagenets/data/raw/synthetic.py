"""A small generated raw ImageNet with lists and masks, for trying everything without a download.

Six made-up classes, each with its own texture, shapes and (varied) colours, on cluttered
backgrounds: enough for a small network to learn within minutes. It lies on the disk exactly as the
real thing does, so that it goes through the code that the real thing goes through.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imagenets import masks, paths
from imagenets.core.files import part_of, write_json
from imagenets.core.log import progress
from imagenets.data.raw import synthetic_images as drawing
from imagenets.errors import UsageError
from imagenets.tiers import list_paths

NAME = "6"
"""Name of the synthetic tier: its number of classes."""

WNIDS = tuple(f"n9000000{rank}" for rank in range(1, len(drawing.CATEGORIES) + 1))
"""The made-up WordNet ids, found nowhere in ILSVRC."""

TRAIN, SEMI, VALIDATION, TEST = 60, 10, 12, 12
"""Images a class (TRAIN contains SEMI)."""

MARKER = "synthetic.json"


@dataclass(frozen=True)
class SyntheticSet:
    """Where a generated set lies.

    Attributes:
        name: Name of its tier.
        raw: The raw ImageNet: `train/<wnid>/*.JPEG` and a flat `val/`.
        index: The lists, laid out like the published ones.
        archive: The mask archive, `ImageNetS<name>-<md5>.zip`.
    """

    name: str
    raw: Path
    index: Path
    archive: Path


@dataclass(frozen=True, slots=True)
class _Photo:
    """One image to draw: `dst` is the class it is filed under, `src` its ILSVRC class."""

    split: str
    stem: str
    dst: int
    src: int
    second: int | None
    number: int


def find(folder: Path, seed: int = 0) -> SyntheticSet | None:
    """The set that `generate` has drawn with a seed; None unless all of it is there."""
    marker = _read_marker(folder)
    if marker is None or marker["seed"] != seed:
        return None
    found = _set_in(folder, marker["archive"])
    whole = found.raw.is_dir() and found.index.is_dir() and found.archive.is_file()
    return found if whole else None


def generate(folder: Path, seed: int = 0) -> SyntheticSet:
    """Draws the set, about 500 images, unless the folder holds it already.

    Args:
        folder: Where `raw/`, `index/` and the mask archive go; made if need be.
        seed: Another number draws another set; the same one gives the same bytes (with the
            same versions of NumPy and Pillow).

    Returns:
        The paths of what was written.

    Raises:
        UsageError: The folder holds a `raw` or `index` that is not from here.
    """
    if found := find(folder, seed):
        return found
    if marker := _read_marker(folder):
        _remove(folder, _set_in(folder, marker["archive"]))
    taken = [path for path in (folder / "raw", folder / "index") if path.exists()]
    if taken:
        raise UsageError(
            f"{taken[0]}: is in the way and was not generated here. "
            "Delete it, or choose another folder."
        )
    part = part_of(folder / "synthetic")  # moved into place when whole
    shutil.rmtree(part, ignore_errors=True)
    photos = _photos(seed)
    archive = _write_photos(part, photos, seed)
    _write_lists(part / "index", photos)
    for name in ("raw", "index", archive):
        (part / name).rename(folder / name)
    part.rmdir()
    write_json(folder / MARKER, {"archive": archive, "seed": seed})
    return _set_in(folder, archive)


def _set_in(folder: Path, archive: str) -> SyntheticSet:
    return SyntheticSet(NAME, folder / "raw", folder / "index", folder / archive)


def _read_marker(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / MARKER).read_text("utf-8"))
        return {"seed": content["seed"], "archive": Path(content["archive"]).name}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _remove(folder: Path, old: SyntheticSet) -> None:
    (folder / MARKER).unlink()
    for path in (old.raw, old.index):
        shutil.rmtree(path, ignore_errors=True)
    old.archive.unlink(missing_ok=True)


def _photos(seed: int) -> list[_Photo]:
    """Decides what is in each image; some hold two classes, a few of those are filed apart."""
    rng = np.random.default_rng([seed, 1])
    photos: list[_Photo] = []
    count = len(WNIDS) * (VALIDATION + TEST)
    numbers = iter(rng.choice(np.arange(1, 4 * count), count, replace=False).tolist())
    for dst, wnid in enumerate(WNIDS):
        ids = np.sort(rng.choice(np.arange(1, 20_000), TRAIN, replace=False)).tolist()
        semi = set(rng.choice(ids, SEMI, replace=False).tolist())
        images = {"train": [f"{wnid}_{i}" for i in ids]}
        for split, many in (("validation", VALIDATION), ("test", TEST)):
            images[split] = [f"ILSVRC2012_val_{next(numbers):08d}" for _ in range(many)]
        chosen = {f"{wnid}_{i}" for i in semi}
        for split, stems in images.items():
            for rank, stem in enumerate(stems):
                other = int((dst + rng.integers(1, len(WNIDS))) % len(WNIDS))
                second = other if rank % 6 == 4 else None  # one in six: a second, smaller object
                src = other if split != "train" and rank == 4 else dst  # ILSVRC named that one
                place = "train-semi" if stem in chosen else split
                photos.append(_Photo(place, stem, dst, src, second, len(photos)))
    return photos


def _write_photos(part: Path, photos: list[_Photo], seed: int) -> str:
    """Draws and writes every image, then the archive of masks; returns the archive's name."""
    for folder in ("raw/val", *(f"raw/train/{wnid}" for wnid in WNIDS)):
        (part / folder).mkdir(parents=True)
    members: dict[str, bytes] = {}
    cmyk = photos[1].number
    for photo in progress(photos, "drawing the synthetic set", len(photos), unit="image"):
        rng = np.random.default_rng([seed, 2, photo.number])
        image = drawing.draw(rng, photo.dst, photo.second)
        wnid = WNIDS[photo.dst]
        place = f"train/{wnid}" if photo.split.startswith("train") else "val"
        path = part / "raw" / place / f"{photo.stem}.JPEG"
        path.write_bytes(_jpeg(rng, image.rgb, photo.number == cmyk))
        if photo.split in ("train-semi", "validation"):
            name = paths.mask_member(NAME, photo.split, f"{wnid}/{photo.stem}")
            members[name] = masks.encode(image.ids)
    data = _zip(members)
    archive = f"{paths.set_name(NAME)}-{hashlib.md5(data).hexdigest()}.zip"
    (part / archive).write_bytes(data)
    return archive


def _jpeg(rng: np.random.Generator, rgb: drawing.Pixels, cmyk: bool) -> bytes:
    image = Image.fromarray(rgb)
    if cmyk:
        image = image.convert("CMYK")
    elif rng.random() < 0.04:
        image = image.convert("L")
    buffer = io.BytesIO()
    image.save(
        buffer,
        "JPEG",
        quality=int(rng.integers(86, 95)),
        progressive=bool(rng.random() < 0.05),
        subsampling=int(rng.choice([0, 2, 2])),
    )
    return buffer.getvalue()


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNGs are packed already
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (2022, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o644 << 16  # alike on every platform
            archive.writestr(info, members[name])
    return buffer.getvalue()


def _write_lists(index: Path, photos: list[_Photo]) -> None:
    lines: dict[str, list[str]] = {"categories": list(WNIDS)}
    for split in ("validation", "test", "train-semi"):
        of_split = [photo for photo in photos if photo.split == split]
        sources = sorted((WNIDS[p.src], p.stem, WNIDS[p.dst]) for p in of_split)
        filed = sorted((WNIDS[p.dst], p.stem) for p in of_split)
        lines[f"mapping-{split}"] = [f"{s}/{n}.JPEG {d}/{n}.JPEG" for s, n, d in sources]
        lines[f"names-{split}"] = [f"{d}/{n}.JPEG {d}/{n}.png" for d, n in filed]
    for what, path in list_paths(NAME).items():
        (index / path).parent.mkdir(parents=True, exist_ok=True)
        (index / path).write_text("\n".join(lines[what]), "utf-8")  # published without a last one
