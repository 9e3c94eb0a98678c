"""For which protocols of the benchmark the result is valid, and why not for the others."""

from __future__ import annotations

import html

from imagenets.pages.elements import table
from imagenets.pages.run_files import RunFiles
from imagenets.protocols import PROTOCOLS, VALID


def render(run: RunFiles) -> str:
    """A row for each protocol; nothing where an earlier release scored the run."""
    found = run.scores.get("valid_for", {})
    rows = [
        (PROTOCOLS[name].title, VALID[verdict["valid"]], html.escape(verdict["why"]))
        for name, verdict in found.items()
    ]
    return "<h2>Protocols</h2>" + table(("protocol", "valid", "why"), rows) if rows else ""
