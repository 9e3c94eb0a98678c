"""What `prepare` and `sample` share: preparing tiers and telling what was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from imagenets.api.prepare import prepare_tiers
from imagenets.cli import prepare_tables as tables

if TYPE_CHECKING:
    from imagenets.data.prepare.config import PrepareConfig
    from imagenets.data.prepare.run import PrepareReport


def prepare(names: Sequence[str], config: PrepareConfig, as_json: bool) -> None:
    """Prepares tiers and prints what was made."""
    show(prepare_tiers(names, config), as_json)


def show(reports: Sequence[PrepareReport], as_json: bool) -> None:
    """Prints what was made."""
    tiers = [asdict(report) for report in reports]
    tables.show({"tiers": tiers}, map(tables.prepare_table, reports), as_json)
