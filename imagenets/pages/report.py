"""One HTML page of a run: figures, curves and pictures, everything inside the file."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets import masks
from imagenets.core.files import write_file
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.errors import MissingError
from imagenets.evaluation import matching
from imagenets.palette import palette

PICTURES = 24
"""How many validation images are shown, spread evenly over the split."""

SIDE = 160
"""Longest side of a picture on the page, pixels."""

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
    figures = _read(out / "scores.json")
    data = ImageNetS(root, "validation", tier)
    title = html.escape(f"ImageNet-S {tier}: PASS baseline")
    page = "\n".join(
        [
            "<!doctype html><html lang='en'><meta charset='utf-8'>",
            f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>",
            f"<p>{len(data)} validation images, {len(data.classes)} classes; figures in percent, "
            "after image-level matching on validation.</p>",
            _figure_table(figures),
            "<h2>Training</h2>",
            *_curves(out),
            "<h2>Validation images</h2><p>Photograph, ground truth, prediction (matched); "
            "black is other, white is ignored.</p>",
            _gallery(data, out),
            "<h2>Classes</h2>",
            _class_table(figures["IoUs"], data.classes),
            f"<h2>Settings</h2><pre>{html.escape((out / 'config.json').read_text('utf-8'))}</pre>",
        ]
    )
    path = out / "report.html"
    write_file(path, page)
    return path


def _read(path: Path) -> Any:
    if not path.is_file():
        raise MissingError(f"{path}: not there. Run `imagenets-baseline score` on this run first.")
    return json.loads(path.read_text("utf-8"))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure_table(figures: Mapping[str, Any]) -> str:
    names = [name for name in figures if name != "IoUs"]
    return _table(names, [[f"{figures[name]:.2f}" for name in names]])


def _class_table(ious: Sequence[float], classes: Sequence[str]) -> str:
    names = ("other", *classes)
    ranked = sorted(zip(names, ious, strict=True), key=lambda pair: -pair[1])
    return _table(
        ("class", "IoU", ""),
        [
            (name, f"{iou:.1f}", f"<span class='bar' style='width:{2 * iou:.0f}px'></span>")
            for name, iou in ranked
        ],
    )


def _curves(out: Path) -> Iterable[str]:
    """A curve of the loss of every trained step, and the threshold sweep."""
    for stage in ("pretrain", "attention", "finetune"):
        path = out / stage / "log.jsonl"
        rows = path.read_text("utf-8").splitlines() if path.is_file() else []
        if rows:
            losses = [json.loads(row)["loss"] for row in rows]
            yield plot(range(1, len(losses) + 1), losses, f"{stage}: loss by epoch")
    path = out / "pseudo" / "threshold.json"
    if path.is_file():
        sweep = _read(path)
        best = f"validation mIoU by attention threshold, best at {sweep['best']:.2f}"
        yield plot(sweep["thresholds"], sweep["mIoU"], best)


def plot(xs: Sequence[float], ys: Sequence[float], title: str) -> str:
    """Draws one line as SVG, 340 x 200 pixels, with the ends of both axes written out."""
    left, top, width, height = 45, 25, 280, 145
    low, high = min(ys), max(ys)
    spread = (high - low) or 1.0
    reach = (xs[-1] - xs[0]) or 1.0
    points = " ".join(
        f"{left + (x - xs[0]) / reach * width:.1f},{top + (high - y) / spread * height:.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    return (
        f"<svg width='340' height='200'><text x='{left}' y='15'>{html.escape(title)}</text>"
        f"<polyline points='{points}' fill='none' stroke='#4477aa' stroke-width='2'/>"
        f"<text x='2' y='{top + 8}'>{high:.4g}</text>"
        f"<text x='2' y='{top + height}'>{low:.4g}</text>"
        f"<text x='{left}' y='190'>{xs[0]:g}</text>"
        f"<text x='{left + width}' y='190' text-anchor='end'>{xs[-1]:g}</text></svg>"
    )


def _gallery(data: ImageNetS, out: Path) -> str:
    matched = matching.load(out / "match.json", len(data.classes))
    figures = []
    for index in np.linspace(0, len(data) - 1, min(PICTURES, len(data))).astype(int):
        sample = data[int(index)]
        name = sample["name"]
        pred = masks.decode(out / "predict" / "validation" / f"{name}.png")
        ids = [sample["mask"].numpy(), matching.apply(matched, pred)]
        photo = sample["image"].permute(1, 2, 0).numpy()
        pictures = [photo, *(palette()[i] for i in ids)]
        images = "".join(f"<img alt='' src='{_embedded(pixels)}'>" for pixels in pictures)
        figures.append(f"<figure>{images}<figcaption>{html.escape(name)}</figcaption></figure>")
    return f"<div class='grid'>{''.join(figures)}</div>"


def _embedded(pixels: npt.NDArray[np.uint8]) -> str:
    """A data URI of an H x W x 3 picture, reduced to the size it is shown at."""
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
