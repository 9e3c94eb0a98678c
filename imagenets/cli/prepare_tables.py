"""How `imagenets-prepare` shows its results to people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from imagenets.data.prepare.dry_run import Survey
    from imagenets.data.prepare.run import Report
    from imagenets.data.prepare.verify import Verdict


def show(content: dict[str, Any], text: Iterable[str], as_json: bool) -> None:
    """Prints a result, for machines or for people."""
    print(json.dumps(content, indent=1) if as_json else "\n".join(text))


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
        count, size = report.shards["files"], _size(report.shards["bytes"])
        lines.append(f"  shards: {report.shards['path']} ({count:,} files, {size})")
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


def survey_table(survey: Survey) -> str:
    """What a run would find and take, one line a split."""
    lines = [
        f"ImageNet-S tier {survey.tier}, not prepared (--dry-run)",
        f"  {'split':<12}{'expected':>12}{'found':>12}{'missing':>10}{'to write':>12}",
    ]
    for name, split in survey.splits.items():
        expected = "?" if split.expected is None else f"{split.expected:,}"
        counts = f"{expected:>12}{split.found:>12,}{split.missing:>10,}{_size(split.bytes):>12}"
        lines.append(f"  {name:<12}{counts}")
        lines += [f"    missing: {lost}" for lost in split.missing_names[:_SHOWN]]
        if len(split.missing_names) > _SHOWN:
            lines.append(f"    and {len(split.missing_names) - _SHOWN:,} more (--json has all)")
    if survey.archive:
        lines.append(f"  masks: {survey.archive}")
    lines.append(
        f"  to write: about {_size(survey.bytes)}, free: {_size(survey.free)}, "
        f"time: about {_time(survey.seconds)}"
    )
    if survey.bytes > survey.free:
        lines.append("  This does not fit: choose another --root, fewer --subsets, or --resize.")
    return "\n".join(lines)


_SHOWN = 10


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:,.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"
