"""The settings of the run."""

from __future__ import annotations

import html

from imagenets.pages.run_files import RunFiles
from imagenets.training.stage import CONFIG


def render(run: RunFiles) -> str:
    """The settings as they were kept."""
    text = (run.out / CONFIG).read_text("utf-8")
    return f"<h2>Settings</h2><pre>{html.escape(text)}</pre>"
