"""The settings of the run, and what it was made from."""

from __future__ import annotations

import json

from markupsafe import Markup

from imagenets.pages.run_files import RunFiles
from imagenets.pages.templating import Section, fill


def _render(run: RunFiles) -> Markup:
    source = run.scores.get("provenance", {})
    results = source.get("results", {})
    stages = [
        {
            "name": name,
            "code": source.get("code", {}).get(name),
            "digest": results[name],
            "made_on": source.get("made_on", {}).get(name),
            "reports": run.reports.get(name, {}),
        }
        for name in results
    ]
    return fill(
        "sections/settings.html",
        settings=run.settings,
        stages=stages,
        data=source.get("data", {}),
        seed=source.get("seed"),
        scored_with=source.get("scored_with", {}),
        text=json.dumps(run.settings, indent=2),
    )


SECTION = Section("Settings and provenance", _render)
