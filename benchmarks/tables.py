"""The tables of the documents, from what benchmarks have measured: see figures.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import Any

VIEWS = ("antialiased, float", "plain, float", "antialiased, uint8", "plain, uint8")
STORED = {
    "original": "original bytes",
    "restart": "restart-marked, native size",
    "500 px q90": "500 px q90, restart-marked",
    "256 q90": "short side 256 q90, restart-marked",
}
STEPS = ("pretrain", "attention", "finetune")
PILLOWS = "DataLoader + Pillow"
RIVALS = {
    "webdataset": "WebDataset {} with Pillow",
    "streaming": "MosaicML Streaming {} with Pillow",
    "litdata": "LitData {} with Pillow",
    "dali": "DALI {} on the CPU",
    "ffcv": "FFCV {}, original bytes",
    "ffcv_recipe": "FFCV {} as its authors store ImageNet",
}


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def head(*names: str) -> list[str]:
    return [row(*names), "|---" * len(names) + "|"]


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median and, of several, the range."""
    middle = f"{median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}-{max(values):,.{digits}f})"


def by_round(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Ratios of what was measured in the same round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def machines(kept: Mapping[str, Any]) -> list[str]:
    """Each machine with its versions, and what was measured on it, by day."""

    def place(name: str) -> tuple[str, str]:
        versions = dict(kept[name]["machine"])
        where = f"{versions.pop('processor')}, {versions.pop('cores')} cores"
        told = ", ".join(f"{package} {number}" for package, number in versions.items())
        return kept[name]["day"], f"{where}, {told}"

    names = sorted(kept, key=place)
    return [
        f"- {day}, {', '.join(f'`{name}`' for name in some)}: {where}."
        for (day, where), some in groupby(names, key=place)
    ]


def full_size(found: Mapping[str, Any]) -> list[str]:
    """Preparing at true size."""
    steps = {
        "dry run, all tiers": "`--dry-run --split all` (goal: 1 GB)",
        "tree of 919": "tree of 919, symlinks: 1,232,354 images, 21,609 masks",
        "tree of 919 again": "the same again",
        "packing": f"packing {found['images packed']:,} images (validation, test, train-semi)",
        "packing without decoding": "the same without decoding",
        "second run": "a second run, nothing to do (goal: 5 s)",
    }
    lines = head("step", "time", "peak memory")
    for name, told in steps.items():
        if name in found:
            lines.append(
                row(told, f"{found[name]['seconds']:.1f} s", f"{found[name]['peak_mb']} MB")
            )
    lines += ["", *head("ratio", "measured", "goal")]
    floor = f"decode floor ({found['decode floor, s']:.1f} s) / packing"
    lines.append(row(floor, f"{found['decode floor / packing']:.2f}", "0.85"))
    copy = f"plain copy, safely on the disk ({found['plain copy, s']:.1f} s) / packing, no decoding"
    lines.append(row(copy, f"{found['copy / packing without decoding']:.2f}", "0.7"))
    rest = found["checking masks, planning, s"]
    return [*lines, "", f"Planning and the check of the masks ({rest:.1f} s) are not counted."]


def loader(found: Mapping[str, Any]) -> list[str]:
    """Random crops against Pillow's, and other people's loaders."""
    speeds, sizes = found["images a second"], found["bytes an image"]
    unit = median(speeds[PILLOWS])
    lines = [f"1.0 is {PILLOWS}: {spread(speeds[PILLOWS], 0)} images/s.", ""]
    lines += head("stored as", "KB", *VIEWS)
    for stored, told in STORED.items():
        cells = []
        for view in VIEWS:
            own = speeds[f"{stored}: {view}"]
            cells.append(f"{median(own) / unit:.2f} ({min(own):.0f}-{max(own):.0f})")
        lines.append(row(told, f"{sizes[stored] / 1000:.0f}", *cells))
    lines += ["", *head("", "ratio", "images/s")]
    whole = "whole images and masks"
    ratios = by_round(speeds[whole], speeds[f"{whole}: {PILLOWS}"])
    lines.append(row(f"{whole} / {PILLOWS} on the same", spread(ratios), spread(speeds[whole], 0)))
    for view in ("antialiased, float", "plain, uint8"):
        floors = (
            median(by_round(speeds[f"{stored}: {view}"], speeds[f"{stored}: floor, {view}"]))
            for stored in STORED
        )
        told = f"loader / bare loops (floor), {view}: original, restart, 500, 256"
        lines.append(row(told, ", ".join(f"{one:.2f}" for one in floors), ""))
    for name, values in speeds.items():
        rival, _, version = name.partition(" ")
        if rival in RIVALS:
            told = RIVALS[rival].format(version)
            lines.append(row(told, f"{median(values) / unit:.2f}", spread(values, 0)))
    return lines


def views(found: Mapping[str, Any]) -> list[str]:
    """Evaluation views with targets."""
    speeds = found["images a second"]
    lines = head("stored as", "normalised float32 (goal: 4)", "uint8")
    for stored, told in STORED.items():
        cells = []
        for kind in ("float", "uint8"):
            name = f"{stored}: view and target, {kind}"
            cells.append(spread(by_round(speeds[name], speeds[f"{name}: {PILLOWS}"])))
        lines.append(row(told, *cells))
    return lines


def scale(found: Mapping[str, float]) -> list[str]:
    """A set of 1,281,167 samples."""
    return [
        f"A set of 1,281,167 samples in 626 shards opens in {found['open, s']:.1f} s (goal 2), its "
        f"index takes {found['memory, MB']:.0f} MB a process (goal 150), an epoch is shuffled in "
        f"{found['shuffle, s']:.2f} s (goal 1)."
    ]


def augment(found: Mapping[str, Sequence[float]]) -> list[str]:
    """From JPEG bytes to crops, and the resampler alone."""
    lines = head("crops", "by", "images/s", "imagenets is faster by")
    names = [name for name in found if not name.startswith("to ")]
    for name in sorted(names, key=lambda name: (name.partition(":")[0], "imagenets" not in name)):
        recipe, _, arm = name.partition(": ")
        ratios = by_round(found[f"{recipe}: imagenets"], found[name])
        faster = "" if arm == "imagenets" else spread(ratios, 1)
        lines.append(row(recipe, arm, spread(found[name], 0), faster))
    lines += ["", *head("microseconds a crop, one core", "imagenets", "torch, uint8", "Pillow")]
    for size in (224, 96):
        own = found[f"to {size}: imagenets"]
        cells = [spread(own, 0)]
        for rival in ("torch, uint8", "Pillow"):
            times = found[f"to {size}: {rival}"]
            cells.append(f"{spread(times, 0)}, {median(by_round(times, own)):.1f} times")
        lines.append(row(f"to {size} x {size}", *cells))
    return lines


def train(found: Mapping[str, Sequence[float]]) -> list[str]:
    """Steps and predictions beside the bare network."""
    lines = head("", "goal", "work / bare network")
    for name in (*STEPS, *(name for name in found if name not in STEPS)):
        ratios, goal = found[name], 1.10 if name in STEPS else 1.15
        missed = ", missed" if round(median(ratios), 2) > goal else ""
        lines.append(row(f"`{name}`", f"{goal:.2f}", f"{spread(ratios)}{missed}"))
    return lines


def semi(found: Mapping[str, Sequence[float]]) -> list[str]:
    """A step of fine-tuning on labels."""
    return [f"Step / bare pass: {spread(found['step / bare'])}."]


def evaluate(found: Mapping[str, Sequence[float]]) -> list[str]:
    """All metrics, against the published method and reading alone."""
    rows = {
        "rival / ours": ("published method / all metrics", "at least 25", 0),
        "ours / floor": ("all metrics / floor", "at most 2", 2),
        "decoding with Pillow / ours": ("decoding both PNGs with Pillow / all metrics", "", 1),
        "sweep / evaluation": (
            "sweep of 81 thresholds / one evaluation, 12,419 images",
            "at most 1.5",
            2,
        ),
        "matching, s": (
            "co-occurrence and match of 919 x 919 from 12,419 images, s",
            "0.5",
            2,
        ),
        "a whole 919 validation, s": ("a whole 919 validation, 12,419 images, s", "", 0),
        "its memory, MiB": ("its peak memory, MiB, shared pages counted once", "477", 0),
    }
    lines = head("", "measured", "goal")
    for name, (told, goal, digits) in rows.items():
        lines.append(row(told, spread(found[name], digits), goal))
    return lines
