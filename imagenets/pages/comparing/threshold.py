"""The threshold curves of both runs in one chart."""

from __future__ import annotations

from markupsafe import Markup

from imagenets.pages.comparison import Pair
from imagenets.pages.sections.threshold import chart
from imagenets.pages.templating import Section, fill


def _render(pair: Pair) -> Markup:
    return fill("sections/threshold.html", chart=chart(pair.runs), told={})


SECTION = Section("Threshold", _render)
