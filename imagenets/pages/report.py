"""One HTML page of a run, everything inside the file; a new section is a file and a line here."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

from imagenets.core.files import write_file
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.pages.run_files import RunFiles

SECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "scores": "imagenets.pages.sections.scores:render",
        "protocols": "imagenets.pages.sections.protocols:render",
        "training": "imagenets.pages.sections.training:render",
        "gallery": "imagenets.pages.sections.gallery:render",
        "classes": "imagenets.pages.sections.classes:render",
        "settings": "imagenets.pages.sections.settings:render",
    }
)
"""Name -> `module:function`, in the order of the page; (files of the run) -> HTML."""

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1100px;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:right}
th{border-bottom:1px solid #888}td:first-child,th:first-child{text-align:left}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(500px,1fr));gap:1rem}
figure{margin:0}figcaption{font-size:12px;color:#555}img{margin-right:4px;vertical-align:top}
svg{background:#fafafa;border:1px solid #ddd;margin:.3rem}svg text{font-size:11px;fill:#555}
.bar{background:#4477aa;height:.7rem;display:inline-block}
"""


def write_report(root: Path, tier: str, out: Path) -> Path:
    """Writes `report.html` of a scored run.

    Args:
        root: The prepared set.
        tier: Its tier.
        out: The folder of the run.

    Returns:
        The page, a single file that needs no other.

    Raises:
        MissingError: The run is not scored yet.
    """
    run = RunFiles(out, ImageNetS(root, "validation", tier))
    title = html.escape(f"ImageNet-S {tier}: PASS baseline")
    head = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        f"<style>{_STYLE}</style><h1>{title}</h1>"
    )
    sections = [_section(name)(run) for name in SECTIONS]
    path = out / "report.html"
    write_file(path, "\n".join([head, *sections]))
    return path


def _section(name: str) -> Callable[[RunFiles], str]:
    module, _, what = SECTIONS[name].partition(":")
    render: Callable[[RunFiles], str] = getattr(import_module(module), what)
    return render
