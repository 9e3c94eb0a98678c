"""How `imagenets-prepare` shows its results to people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagenets.data.prepare.dry_run import DryRunReport
    from imagenets.data.prepare.run import PrepareReport
    from imagenets.data.prepare.verify import VerifyReport


def show(content: dict[str, Any], text: Iterable[str], as_json: bool) -> None:
    """Prints a result, for machines or for people."""
    print(json.dumps(content, indent=1) if as_json else "\n".join(text))


def prepare_table(report: PrepareReport) -> str:
    """What was prepared: one line a split, then where it lies."""
    what = "nothing to do: prepared before" if report.done_before else f"in {report.seconds:.1f} s"
    lines = [
        f"ImageNet-S tier {report.tier}: {report.classes} classes, {what}",
        f"  {'split':<12}{'images':>12}{'masks':>10}{'missing':>10}",
    ]
    for name, split in report.splits.items():
        counts = f"{split['images']:>12,}{split['masks']:>10,}{split['missing']:>10,}"
        lines.append(f"  {name:<12}{counts}")
    if report.shards:
        count, size = report.shards["files"], _size(report.shards["bytes"])
        lines.append(f"  shards: {report.shards['path']} ({count:,} files, {size})")
    if report.tree:
        lines.append(f"  tree:   {report.tree}")
    return "\n".join(lines)


def verify_lines(report: VerifyReport) -> str:
    """What verifying found, every fault on a line."""
    counts = f"{report.shards:,} shards, {report.samples:,} samples"
    if not report.faults:
        return f"{report.folder}: sound ({counts})"
    lines = [f"{report.folder}: {len(report.faults):,} faults ({counts})"]
    return "\n".join([*lines, *(f"  {fault}" for fault in report.faults)])


def dry_run_table(report: DryRunReport) -> str:
    """What a run would find and take, one line a split."""
    what = "prepared before: nothing to do" if report.done_before else "not prepared (--dry-run)"
    lines = [
        f"ImageNet-S tier {report.tier}, {what}",
        f"  {'split':<12}{'expected':>12}{'found':>12}{'missing':>10}{'to write':>12}",
    ]
    for name, split in report.splits.items():
        expected = "?" if split.expected is None else f"{split.expected:,}"
        counts = f"{expected:>12}{split.found:>12,}{split.missing:>10,}{_size(split.bytes):>12}"
        lines.append(f"  {name:<12}{counts}")
        lines += [f"    missing: {lost}" for lost in split.missing_names[:_SHOWN]]
        if len(split.missing_names) > _SHOWN:
            lines.append(f"    and {len(split.missing_names) - _SHOWN:,} more (--json has all)")
    if report.archive:
        lines.append(f"  masks: {report.archive}")
    if report.done_before:
        return "\n".join(lines)
    lines.append(
        f"  to write: about {_size(report.bytes)}, free: {_size(report.free)}, "
        f"time: about {_time(report.seconds)}"
    )
    return "\n".join(lines)


_SHOWN = 10


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
