"""A tiny raw ImageNet with lists and masks, written in milliseconds: tier "3", three classes."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from imagenets import masks
from imagenets.tiers import list_paths

CLASSES = ("n90000001", "n90000002", "n90000003")
OUTSIDE = "n90000009"  # an ILSVRC class that the tier has not


def jpeg(number: int, size: tuple[int, int], mode: str = "RGB") -> bytes:
    """A small image that no other number gives."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 1, 3), np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(pixels).resize(size).convert(mode)
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def mask(number: int, size: tuple[int, int], class_id: int) -> bytes:
    """A mask of an image's size with one object and an ignored edge."""
    ids = np.zeros((size[1], size[0]), np.uint16)
    ids[2:-2, 2 : 4 + number % 5] = class_id
    ids[0] = 1000
    return masks.encode(ids)


@dataclass
class Tiny:
    """What the raw ImageNet consists of; change it, then write it."""

    name: str = "3"
    classes: tuple[str, ...] = CLASSES
    train: dict[str, bytes] = field(default_factory=dict)  # stem -> JPEG
    val: dict[str, bytes] = field(default_factory=dict)
    members: dict[str, bytes] = field(default_factory=dict)  # of the mask archive
    lists: dict[str, list[str]] = field(default_factory=dict)

    def renamed(self, old: str, new: str) -> Tiny:
        """The same with another name for a class or an image, everywhere."""

        def swap(names: Iterable[str]) -> list[str]:
            return [name.replace(old, new) for name in names]

        files = (
            dict(zip(swap(held), held.values(), strict=True))
            for held in (self.train, self.val, self.members)
        )
        lists = {what: swap(lines) for what, lines in self.lists.items()}
        return Tiny(self.name, tuple(swap(self.classes)), *files, lists)

    def folders(self, path: Path) -> Path:
        """Writes class folders and a flat val."""
        for stem, data in self.train.items():
            target = path / "train" / stem[:9] / f"{stem}.JPEG"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (path / "val").mkdir(parents=True)
        for stem, data in self.val.items():
            (path / "val" / f"{stem}.JPEG").write_bytes(data)
        return path

    def tars(self, path: Path) -> Path:
        """Writes the two official archives."""
        path.mkdir(parents=True)
        _tar(path / "ILSVRC2012_img_val.tar", {f"{s}.JPEG": d for s, d in self.val.items()})
        inner = {}
        for wnid in sorted({stem[:9] for stem in self.train}):
            own = {f"{s}.JPEG": d for s, d in self.train.items() if s.startswith(wnid)}
            part = path / "part.tar"
            _tar(part, own)
            inner[f"{wnid}.tar"] = part.read_bytes()
            part.unlink()
        _tar(path / "ILSVRC2012_img_train.tar", inner)
        return path

    def index(self, path: Path) -> Path:
        """Writes the lists."""
        for what, place in list_paths(self.name).items():
            (path / place).parent.mkdir(parents=True, exist_ok=True)
            (path / place).write_text("\n".join(self.lists[what]), "utf-8")
        return path

    def archive(self, path: Path, name: str | None = None) -> Path:
        """Writes the mask archive under its published name."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for member in sorted(self.members):
                file.writestr(zipfile.ZipInfo(member), self.members[member])
        md5 = hashlib.md5(buffer.getvalue()).hexdigest()
        path.mkdir(parents=True, exist_ok=True)
        target = path / (name or f"ImageNetS{self.name}-{md5}.zip")
        target.write_bytes(buffer.getvalue())
        return target


def tiny(train: int = 6, semi: int = 2, val: int = 3, test: int = 2, name: str = "3") -> Tiny:
    """Gives one to change: so many images a class, the first one in CMYK, the second grey.

    Every class's first validation image has the class outside the tier as its ILSVRC class.
    """
    return deepcopy(_drawn(train, semi, val, test, name))


@cache
def _drawn(train: int, semi: int, val: int, test: int, name: str) -> Tiny:
    world = Tiny(name=name)
    world.lists = {what: [] for what in list_paths(name)}
    world.lists["categories"] = list(CLASSES)
    number = 0
    for class_id, wnid in enumerate(CLASSES, 1):
        for index in range(train):
            number += 1
            size = (20 + number % 7, 16 + number % 5)
            stem = f"{wnid}_{index * 37 + 5}"
            world.train[stem] = jpeg(number, size, {1: "CMYK", 2: "L"}.get(number, "RGB"))
            if index < semi:
                world.lists["names-train-semi"].append(f"{wnid}/{stem}.JPEG {wnid}/{stem}.png")
                world.members[_member(name, "train-semi", wnid, stem)] = mask(
                    number, size, class_id
                )
        for index in range(val + test):
            number += 1
            size = (20 + number % 7, 16 + number % 5)
            stem = f"ILSVRC2012_val_{(number * 7919) % 50000:08d}"
            world.val[stem] = jpeg(number, size)
            split = "validation" if index < val else "test"
            source = OUTSIDE if index == 0 else wnid
            line = f"{source}/{stem}.JPEG {wnid}/{stem}.JPEG"
            world.lists[f"mapping-{split}"].append(line)
            if split == "validation":
                world.lists["names-validation"].append(f"{wnid}/{stem}.JPEG {wnid}/{stem}.png")
                world.members[_member(name, split, wnid, stem)] = mask(number, size, class_id)
    return world


def _member(name: str, split: str, wnid: str, stem: str) -> str:
    return f"ImageNetS{name}/{split}-segmentation/{wnid}/{stem}.png"


def _tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
