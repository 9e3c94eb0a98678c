"""`imagenets.prepare_sample`: a small generated set, prepared like a real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from imagenets import paths
from imagenets.api.prepare import Asked, prepare_tiers
from imagenets.api.session import absolute, root_folder, session

if TYPE_CHECKING:
    from imagenets.data.prepare.config import PrepareConfig
    from imagenets.data.prepare.run import PrepareReport


def prepare_sample(
    root: str | Path | None = None,
    *,
    layout: Literal["shards", "tree", "both"] = "shards",
    restart: bool = False,
    workers: int | None = None,
) -> PrepareReport:
    """Draws a small set of images and masks and prepares it; no data and no network are needed.

    What `imagenets sample` does. The set is tier 6: six made-up classes, some 500 images.

    Args:
        root: Where everything goes; None: $IMAGENETS_ROOT, else ./imagenet-s.
        layout: Shards, the published folders, or both.
        restart: Put restart markers into JPEGs, without any loss.
        workers: Processes; one for each core by default.

    Returns:
        What was made.

    Raises:
        UsageError: An option is out of range, or raw images that are not of this set are in the
            way.
    """
    asked = Asked(layout=layout, restart=restart, workers=workers)
    with session():
        return prepare_generated(asked.config(absolute(root_folder(root)), None, images=False))


def prepare_generated(config: PrepareConfig) -> PrepareReport:
    """Draws the set unless it is there, serves it from the loopback, and prepares it.

    Args:
        config: What is asked for; images, lists and masks are those of the generated set.

    Returns:
        What was made of the one tier, 6.

    Raises:
        UsageError: Raw images that are not of this set are in the way.
    """
    from imagenets.data.prepare.fetch import Origin
    from imagenets.data.prepare.state import hold
    from imagenets.data.raw.synthetic import find, generate
    from imagenets.data.raw.synthetic_server import serve

    folder = paths.synthetic(config.root)
    sample = find(folder)
    if sample is None:
        with hold(config.root):
            sample = generate(folder)
    with serve(folder) as url:
        origin = Origin(mirror=url, archive=sample.archive.name)
        (report,) = prepare_tiers(
            [sample.name], replace(config, imagenet=(sample.raw,), origin=origin)
        )
    return report
