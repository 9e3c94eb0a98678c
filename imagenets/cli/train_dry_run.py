"""`imagenets train --dry-run`: what a run would take, stage by stage."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets.core.log import duration

if TYPE_CHECKING:
    from imagenets.methods.pass_.dry_run import Estimate
    from imagenets.methods.pass_.presets import Config
    from imagenets.training.run import Run


def show(run: Run[Config]) -> None:
    """Measures a run, and prints what it would take and what would not fit."""
    from imagenets.methods.pass_.dry_run import dry_run
    from imagenets.training.usage import available

    found = dry_run(run)
    print(text(found, available(run.device), free_space(run.out), str(run.device)))


def free_space(folder: Path) -> int:
    """Bytes that are free where a folder is, or will be."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def text(estimates: Sequence[Estimate], room: int | None, free: int, device: str) -> str:
    """The table, then what does not fit and what would.

    Args:
        estimates: Of the stages.
        room: Bytes of memory, where that is known.
        free: Bytes that are free on the disk.
        device: Where it was measured.
    """
    lines = [f"{'step':10} {'images/s':>9} {'time':>11} {'memory GB':>10} {'disk GB':>9}"]
    for one in estimates:
        rate = "-" if one.images_per_second is None else f"{one.images_per_second:,.1f}"
        memory = f"{one.memory / 1e9:,.2f}" if one.memory else "-"
        time, disk = duration(one.seconds), f"{one.disk / 1e9:,.3f}"
        lines.append(f"{one.stage:10} {rate:>9} {time:>11} {memory:>10} {disk:>9}")
    seconds, disk_all = sum(e.seconds for e in estimates), sum(e.disk for e in estimates)
    most = max(one.memory for one in estimates)
    lines.append(
        f"{'all':10} {'':9} {duration(seconds):>11} {most / 1e9:>10,.2f} {disk_all / 1e9:>9,.3f}"
    )
    there = "unknown" if room is None else f"{room / 1e9:,.1f} GB"
    lines.append(
        f"on {device}, measured with {estimates[0].measured} images a step; memory there: {there}, "
        f"free on the disk: {free / 1e9:,.1f} GB"
    )
    lines += [
        f"does not fit: {one.stage} needs {one.memory / 1e9:,.1f} GB of memory; {one.advice}"
        for one in estimates
        if one.advice
    ]
    if disk_all > free:
        lines.append(
            f"does not fit: the run needs {disk_all / 1e9:,.1f} GB on the disk; choose an --out "
            "with more room"
        )
    return "\n".join(lines)
