"""For which protocols of the benchmark the scores are valid, and why not for the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill
from imagenets.protocols import PROTOCOLS, RULES, VALID


def _render(run: RunFiles) -> Markup:
    return fill("sections/protocols.html", **verdicts(run.scores))


def verdicts(scores: Mapping[str, Any]) -> dict[str, Any]:
    """What scores say of every protocol, for the template; where they say nothing, it is said."""
    found = scores.get("valid_for", {})
    nothing = {"valid": None, "why": "the scores do not tell"}
    rows = [
        {
            "title": protocol.title,
            "valid": VALID[found.get(name, nothing)["valid"]],
            "why": found.get(name, nothing)["why"],
            "allows": [answer or "–" for answer in protocol.allows],  # noqa: RUF001 - a dash
        }
        for name, protocol in PROTOCOLS.items()
    ]
    return {"protocols": rows, "rules": RULES, "told": bool(found)}


SECTION = Section("Protocols", _render)
