"""What `heatmaps` and its comparison share: options, and heat maps measured against targets."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagenets.cli.heatmap_reading import Reader, Seen
from imagenets.cli.options import add_all, add_json, add_root
from imagenets.errors import Fault, FaultsError, UsageError
from imagenets.tiers import MASKED_SPLITS

if TYPE_CHECKING:
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.data.dataset.views import View
    from imagenets.evaluation.localization import LocalizationEvaluator, LocalizationMetrics

SHOWN = 10
"""Names that are shown of many."""

_REMEDIES = {
    "missing": "Write one heat map for every image whose object is there, or give --list.",
    "unreadable": "Heat maps are H x W numbers: .npy, .npz, .h5, or grey PNG or TIFF.",
    "size": "Write them at the image's own size, or at the size of the view that --view names.",
    "not finite": "Find out where NaN or infinity comes from; a map must have numbers alone.",
}

log = logging.getLogger(__name__)


class BadMapsError(FaultsError):
    """Heat maps that cannot be measured; nothing was."""

    def __init__(self, faults: Sequence[Fault], images: int, found: str) -> None:
        """Words the message: faults of each kind, what was found, then what to do."""
        title = f"{len(faults)} fault(s) in the heat maps of {images} images; nothing was measured."
        super().__init__(title, faults, _REMEDIES, found)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Adds the options that both have."""
    add_root(parser)
    parser.add_argument(
        "--split", metavar="N", help="tier: 50, 300, 919 or custom (default: the one prepared)"
    )
    parser.add_argument(
        "--subset",
        choices=MASKED_SPLITS,
        default="validation",
        help="whose images they are of (default: validation)",
    )
    parser.add_argument(
        "--list", type=Path, metavar="FILE", help="only the images of a list of `save_list`"
    )
    parser.add_argument(
        "--view",
        metavar="NAME",
        help="what the method saw: resize256-crop224, squash224, pad224, or other sizes; the maps "
        "then have the view's size, or the image's and are resized (default: whole images)",
    )
    parser.add_argument(
        "--maps-at",
        choices=("image", "view"),
        help="whose size the maps have, where the image and the view have the same (default: the "
        "view's, with a warning)",
    )
    parser.add_argument(
        "--bootstrap", type=int, metavar="R", help="intervals from R samples of the images"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is random (default: 0)")
    parser.add_argument(
        "--level", type=float, default=0.95, help="of the intervals (default: 0.95)"
    )
    add_json(parser)
    add_all(parser)


def open_targets(arguments: argparse.Namespace) -> tuple[ImageNetS, View | None]:
    """The images that are meant, with the targets of their labels, and the view."""
    from imagenets.cli.options import only_tier
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.data.dataset.views import named

    if arguments.bootstrap is not None and arguments.bootstrap < 2:
        raise UsageError(f"--bootstrap {arguments.bootstrap}: give at least 2 samples.")
    if not 0 < arguments.level < 1:
        raise UsageError(f"--level {arguments.level}: give a number between 0 and 1.")
    view = None if arguments.view is None else named(arguments.view)
    if arguments.maps_at and view is None:
        raise UsageError(f"--maps-at {arguments.maps_at}: name the view as well, with --view.")
    tier = arguments.split or only_tier(arguments.root)
    data = ImageNetS(arguments.root, arguments.subset, tier, target="label")
    return (data if arguments.list is None else data.subset_from_list(arguments.list)), view


@dataclass(slots=True)
class Measured:
    """What comes of measuring.

    Attributes:
        maps: How well the heat maps do.
        baselines: Those of the baselines by name, where they were asked for.
        constant: Names of images whose map is constant.
        resized: How many maps came at their image's size and were brought into the view.
        unclear: How many were taken as of the view's size, which is their image's, too.
        extra: Names of maps that belong to no image.
        outside: How many maps are of images that were left out by a list.
        reader: What read the images and maps.
    """

    maps: LocalizationMetrics
    baselines: dict[str, LocalizationMetrics]
    constant: list[str]
    resized: int
    unclear: int
    extra: list[str]
    outside: int
    reader: Reader


def measure(
    path: Path,
    data: ImageNetS,
    view: View | None,
    *,
    baselines: bool,
    at: Literal["image", "view"] | None = None,
    seed: int = 0,
) -> Measured:
    """Measures stored heat maps against the targets of a data set.

    Args:
        path: Where the maps lie.
        data: With target="label".
        view: What the method saw; None: whole images.
        baselines: Whether to measure the baselines as well.
        at: Whose size the maps have; None: the view's where that fits.
        seed: Of the random baseline.

    Raises:
        BadMapsError: Maps are missing, unreadable, of another size or not finite; nothing was
            measured.
        MissingError, CorruptError, UsageError: There are no maps, or a mask is damaged.
    """
    from imagenets.core.log import bar
    from imagenets.evaluation.localization import BASELINES, LocalizationEvaluator
    from imagenets.evaluation.localization.map_files import list_maps
    from imagenets.evaluation.mask_folders import pair

    maps = list_maps(path)
    partners, extra = pair(maps, data.names)
    names = ("maps", *BASELINES) if baselines else ("maps",)
    evaluators = {
        name: LocalizationEvaluator(len(data.classes), data.class_names) for name in names
    }
    faults: list[Fault] = []
    resized = unclear = 0
    reader = Reader(data, view, maps, partners, at)
    with bar("measuring", len(data)) as shown:
        for chunk in reader.chunks():
            faults += [seen.fault for seen in chunk if seen.fault]
            resized += sum(seen.resized for seen in chunk)
            unclear += sum(seen.unclear for seen in chunk)
            if not faults:
                _update(evaluators, chunk, seed)
            shown.update(len(chunk))
    if faults:
        example = next(iter(maps.values())).where
        found = f"found: {path} holds {len(maps):,} heat maps such as {example}"
        raise BadMapsError(faults, len(data), found)
    own = evaluators.pop("maps").compute()
    if own.without_target == own.images:
        raise UsageError(
            f"none of the {own.images:,} images shows its object{f' in {view}' if view else ''}: "
            "there is nothing to measure."
        )
    computed = {name: evaluator.compute() for name, evaluator in evaluators.items()}
    table = own.per_image
    constant = [name for name, flat in zip(table.names, table.constant, strict=True) if flat]
    known = {*data.whole.names, *(name.partition("/")[2] for name in data.whole.names)}
    foreign = [name for name in extra if name not in known]
    outside = len(extra) - len(foreign)
    return Measured(own, computed, constant, resized, unclear, foreign, outside, reader)


def _update(
    evaluators: Mapping[str, LocalizationEvaluator], chunk: Sequence[Seen], seed: int
) -> None:
    """Measures the maps of a chunk, and those of baselines that have an evaluator."""
    from imagenets.evaluation.localization import baselines

    targets, names = [seen.target for seen in chunk], [seen.name for seen in chunk]
    makers: dict[str, Callable[[Seen], Any]] = {
        "maps": lambda seen: seen.heat,
        "constant": lambda seen: baselines.constant(seen.target.shape),
        "random": lambda seen: baselines.random(seen.target.shape, seen.name, seed),
        "center_gaussian": lambda seen: baselines.center_gaussian(seen.target.shape),
        "ground_truth": lambda seen: baselines.ground_truth(seen.target),
    }
    ids = [seen.target_id for seen in chunk]
    for name, evaluator in evaluators.items():
        evaluator.update([makers[name](seen) for seen in chunk], targets, ids, names)


def tell(found: Measured, path: Path, view: View | None) -> None:
    """Says on stderr what a reader of the numbers must know."""
    if found.resized:
        log.info(
            "%s: %d maps of their image's size are resized bilinearly to the view %s",
            *(path, found.resized, view),
        )
    if found.outside:
        log.info("%s: %d maps of images outside the list are not used", path, found.outside)
    if found.unclear:
        log.warning(
            "%s: %d images have the size of the view %s: their maps are taken as seen through it. "
            "Say so with --maps-at view, or --maps-at image if they show the whole image.",
            *(path, found.unclear, view),
        )
    if found.maps.without_energy:
        log.warning(
            "%s: %d maps have no value above 0: their energy counts 0",
            *(path, found.maps.without_energy),
        )
    for names, what in (
        (found.constant, "are constant: they point nowhere"),
        (found.extra, "belong to no image, and are left out"),
    ):
        if names:
            more = ", ..." if len(names) > SHOWN else ""
            log.warning(
                "%s: %d maps %s: %s%s", path, len(names), what, ", ".join(names[:SHOWN]), more
            )
