"""Preparing at true size: lays out a raw ImageNet of hard links, and measures on it.

    python benchmarks/full_size.py lay-out --photos DIR --lists DIR --to WORLD
    python benchmarks/full_size.py measure WORLD

The layout has all names of ILSVRC that ImageNet-S needs: 50,000 validation images, 1,281,167
training images in 1,000 class folders (each tier has its published number), every one a hard link
to one of the given photographs, and generated masks for 919. `measure` times `imagenets-prepare`
on it and compares packing with a plain copy of the same bytes and with decoding alone, all in one
run, on the same processors. Needs 10 GB; laying out takes a few minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed
from PIL import Image
from tqdm import tqdm

from imagenets import masks
from imagenets.classes import ilsvrc_classes
from imagenets.core.pool import available_cpus
from imagenets.data.lists import read_lists
from imagenets.data.prepare.fetch import Origin, fetch_lists
from imagenets.data.prepare.planning import mask_members
from imagenets.data.shards import ShardReader
from imagenets.data.shards.manifest import Manifest
from imagenets.tiers import TIERS

VALIDATION = 50_000


def main() -> None:
    """Runs one of the two parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    lay = parts.add_parser("lay-out")
    lay.add_argument("--photos", type=Path, required=True)
    lay.add_argument("--lists", type=Path, required=True)
    lay.add_argument("--to", type=Path, required=True)
    measure_ = parts.add_parser("measure")
    measure_.add_argument("world", type=Path)
    measure_.add_argument("--skip-tree", action="store_true")
    arguments = parser.parse_args()
    if arguments.part == "lay-out":
        lay_out(arguments.photos, arguments.lists, arguments.to)
    else:
        print(json.dumps(measure(arguments.world, not arguments.skip_tree), indent=1))


def lay_out(photos: Path, lists: Path, to: Path) -> None:
    """Writes `<to>/raw`, `<to>/index` and the mask archive of 919."""
    shutil.copytree(lists, to / "index", dirs_exist_ok=True)
    (to / "photos").mkdir(exist_ok=True)
    originals = []
    for path in sorted(photos.glob("*.JPEG")):
        originals.append(to / "photos" / path.name)
        if not originals[-1].exists():
            shutil.copyfile(path, originals[-1])
    read = {
        name: read_lists(fetch_lists(name, Origin(index=to / "index"), to / "index"), to / "index")
        for name in TIERS
    }
    semi = read["919"].splits["train-semi"].stems.tolist()
    names = {f"val/ILSVRC2012_val_{n:08d}.JPEG" for n in range(1, VALIDATION + 1)}
    for wnid, count in class_counts({name: read[name].classes for name in TIERS}).items():
        listed = {stem.decode() for stem in semi if stem.startswith(wnid.encode())}
        extra = (stem for n in range(1, 10**6) if (stem := f"{wnid}_{n}") not in listed)
        stems = [*sorted(listed), *(next(extra) for _ in range(count - len(listed)))]
        names.update(f"train/{wnid}/{stem}.JPEG" for stem in stems)
    for name in tqdm(sorted(names), "linking", unit="file", disable=None):
        path = Path(f"{to}/raw/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # of a run that was cut short
            path.hardlink_to(originals[photo_of(path.name, len(originals))])
    write_masks(to, read["919"].classes, mask_members(TIERS["919"], read["919"]), originals)


def class_counts(classes: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """A number of images for each ILSVRC class with which every tier has its published number."""
    merged = TIERS["919"].merges
    left = dict.fromkeys(ilsvrc_classes(), 0)
    counted: set[str] = set()
    total = 0
    for name in ("50", "300", "919", "all"):
        inside = {*classes["919"], *merged} if name == "919" else set(classes.get(name, left))
        new = sorted(inside - counted)
        counts = TIERS["919"].counts if name == "all" else TIERS[name].counts
        goal = counts["train-full" if name == "all" else "train"]
        share, more = divmod(goal - total, len(new))
        left.update({wnid: share + (rank < more) for rank, wnid in enumerate(new)})
        counted |= inside
        total = goal
    return left


def photo_of(name: str, photos: int) -> int:
    """Which photograph stands for an image."""
    return sum(name.partition(".")[0].encode()) * 7919 % photos


def write_masks(
    to: Path, classes: tuple[str, ...], members: tuple[str, ...], originals: list[Path]
) -> None:
    """One object of the class in each mask, with an ignored outline."""
    sizes = []
    for path in originals:
        with Image.open(path) as image:
            sizes.append(image.size)
    chunks = [members[first : first + 500] for first in range(0, len(members), 500)]
    drawn = Parallel(n_jobs=available_cpus(), return_as="generator")(
        delayed(draw_masks)(chunk, classes, sizes) for chunk in chunks
    )
    with zipfile.ZipFile(to / "ImageNetS919-generated.zip", "w") as archive:
        for chunk in tqdm(drawn, "masks", total=len(chunks), disable=None):
            for member, data in chunk:
                archive.writestr(member, data)


def draw_masks(
    members: tuple[str, ...], classes: tuple[str, ...], sizes: list[tuple[int, int]]
) -> list[tuple[str, bytes]]:
    """The PNGs of some members."""
    ranks = {wnid: rank for rank, wnid in enumerate(classes, 1)}
    outlines = lru_cache(512)(blob)  # here, since workers cannot be sent a cache
    done = []
    for member in members:
        wnid, name = member.split("/")[-2:]
        outline = outlines(sizes[photo_of(name, len(sizes))], sum(name.encode()) % 4)
        ids = np.choose(outline, [masks.OTHER, ranks[wnid], masks.IGNORED])
        done.append((member, masks.encode(ids)))
    return done


def blob(size: tuple[int, int], seed: int) -> npt.NDArray[np.int64]:
    """An irregular shape: 0 outside, 1 inside, 2 on its outline."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[1], : size[0]]
    angle = np.arctan2(y - size[1] / 2, x - size[0] / 2)
    wave = sum(rng.uniform(0, 0.1) * np.sin(k * angle + rng.uniform(0, 6)) for k in range(2, 9))
    radius = np.hypot((x - size[0] / 2) / size[0], (y - size[1] / 2) / size[1]) / (0.35 + wave)
    return np.select([abs(radius - 1) < 0.02, radius < 1], [2, 1], 0)


def measure(world: Path, tree: bool) -> dict[str, Any]:
    """Times each step on the laid-out world; peak memory of the main process in MB."""
    given = ["--imagenet", str(world / "raw"), "--index", str(world / "index")]
    given += ["--annotations", str(world / "ImageNetS919-generated.zip"), "--split"]
    root = world / "root"
    shutil.rmtree(root, ignore_errors=True)
    results: dict[str, Any] = {"processors": available_cpus()}
    results["dry run, all tiers"] = timed([*given, "all", "--dry-run"], root)
    if tree:
        results["tree of 919"] = timed([*given, "919", "--layout", "tree"], root)
        results["tree of 919 again"] = timed([*given, "919", "--layout", "tree"], root)
    some = [*given, "919", "--subsets", "validation", "test", "train-semi"]
    packed = timed(some, root)
    results["second run"] = timed(some, root)
    folder = root / "ImageNetS919.shards"
    manifest = Manifest.load(folder)
    images = sum(shard.samples for shard in manifest.shards)
    copy, floor = timed_copy(folder, manifest, world / "copy"), timed_floor(folder, manifest)
    shutil.rmtree(folder)
    shutil.rmtree(root / ".prepare" / "ImageNetS919")
    quick = timed([*some, "--no-decode"], root)
    check = check_seconds(root, some)
    results["images packed"] = images
    results["packing"] = packed
    results["packing without decoding"] = quick
    results["plain copy, s"] = copy
    results["decode floor, s"] = floor
    results["checking masks, planning, s"] = check
    results["decode floor / packing"] = round(floor / (packed["seconds"] - check), 3)
    results["copy / packing without decoding"] = round(copy / (quick["seconds"] - check), 3)
    return results


def timed(arguments: list[str], root: Path) -> dict[str, float]:
    """Seconds and peak memory of one run of the command."""
    command = [sys.executable, "-m", "imagenets.cli.prepare", *arguments, "--root", str(root)]
    start = time.perf_counter()
    pid = subprocess.Popen([*command, "--json"], stdout=subprocess.DEVNULL).pid
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code and not (code == 1 and "--dry-run" in arguments):  # 1: all that would not fit here
        raise SystemExit(f"{' '.join(command)} ended with {code}")
    seconds = round(time.perf_counter() - start, 2)
    return {"seconds": seconds, "peak_mb": round(usage.ru_maxrss / 1024)}


def check_seconds(root: Path, arguments: list[str]) -> float:
    """What a run takes for all but packing: the shards are there, their note is not."""
    (root / ".prepare" / "ImageNetS919" / "finished.json").unlink()
    (root / ".prepare" / "ImageNetS919" / "archive.json").unlink()
    return timed([*arguments, "--no-decode"], root)["seconds"]


def timed_copy(folder: Path, manifest: Manifest, to: Path) -> float:
    """Seconds to copy the same bytes, safely on the disk like shards."""
    to.mkdir()
    start = time.perf_counter()
    for shard in manifest.shards:
        shutil.copyfile(folder / shard.file, to / shard.file)
        with (to / shard.file).open("r+b") as file:
            os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    shutil.rmtree(to)
    return round(seconds, 2)


def timed_floor(folder: Path, manifest: Manifest) -> float:
    """Seconds to decode every image once from the shards with the fastest decoder."""
    start = time.perf_counter()
    paths = [folder / shard.file for shard in manifest.shards]
    Parallel(n_jobs=available_cpus())(delayed(decode_all)(path) for path in paths)
    return round(time.perf_counter() - start, 2)


def decode_all(path: Path) -> None:
    """Decodes each image of a shard; with simplejpeg, Pillow where that cannot."""
    import simplejpeg

    for data in images_of(path):
        if simplejpeg.is_jpeg(data):
            simplejpeg.decode_jpeg(data, colorspace="RGB", fastdct=True, fastupsample=True)
        else:
            Image.open(io.BytesIO(data)).load()


def images_of(path: Path) -> Iterator[memoryview]:
    """The encoded images of a shard."""
    with ShardReader(path) as reader:
        for index in range(len(reader)):
            yield reader.image(index)


if __name__ == "__main__":
    main()
