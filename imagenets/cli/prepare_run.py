"""What `prepare` and `sample` share: preparing tiers and telling what was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from imagenets.cli import prepare_tables as tables

if TYPE_CHECKING:
    from imagenets.data.prepare.run import Request


def prepare(names: Sequence[str], request: Request, as_json: bool) -> None:
    """Prepares tiers and prints what was made."""
    from imagenets.data.prepare.run import Sources, prepare_tier

    sources = Sources(request)
    reports = [prepare_tier(name, request, sources) for name in names]
    tiers = [asdict(report) for report in reports]
    tables.show({"tiers": tiers}, map(tables.report_table, reports), as_json)
