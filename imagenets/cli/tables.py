"""How `imagenets-prepare` shows its results to people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagenets.data.prepare import Report
    from imagenets.data.verify import Verdict


def report_table(report: Report) -> str:
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
        count, size = report.shards["files"], report.shards["bytes"] / 1e6
        lines.append(f"  shards: {report.shards['path']} ({count} files, {size:,.1f} MB)")
    if report.tree:
        lines.append(f"  tree:   {report.tree}")
    return "\n".join(lines)


def verdict_lines(verdict: Verdict) -> str:
    """What verifying found, every fault on a line."""
    counts = f"{verdict.shards:,} shards, {verdict.samples:,} samples"
    if not verdict.faults:
        return f"{verdict.folder}: sound ({counts})"
    lines = [f"{verdict.folder}: {len(verdict.faults):,} faults ({counts})"]
    return "\n".join([*lines, *(f"  {fault}" for fault in verdict.faults)])
