"""What `prepare` and `sample` share: preparing tiers and telling what was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from imagenets.cli import prepare_tables as tables
from imagenets.cli.warm import warming

if TYPE_CHECKING:
    from imagenets.data.prepare.config import PrepareConfig


@contextmanager
def hold_unless_done(names: Sequence[str], config: PrepareConfig) -> Iterator[None]:
    """Makes this the only run on a root; one with nothing to do needs no right to write there."""
    from imagenets.data.prepare.run import prepared_before
    from imagenets.data.prepare.state import hold

    if all(prepared_before(name, config) for name in names):
        yield
        return
    with hold(config.root):
        yield


def prepare(names: Sequence[str], config: PrepareConfig, as_json: bool) -> None:
    """Prepares tiers and prints what was made."""
    from imagenets.data.prepare.run import Sources, prepare_tier

    sources = Sources(config)
    with hold_unless_done(names, config), warming():
        reports = [prepare_tier(name, config, sources) for name in names]
    tiers = [asdict(report) for report in reports]
    tables.show({"tiers": tiers}, map(tables.prepare_table, reports), as_json)
