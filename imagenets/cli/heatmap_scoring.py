"""What `heatmaps` and its comparison share: options, and heat maps measured against targets."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imagenets.cli.options import add_all, add_json, add_root
from imagenets.errors import CorruptError, Fault, FaultsError, UsageError
from imagenets.tiers import MASKED_SPLITS

if TYPE_CHECKING:
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.data.dataset.views import View
    from imagenets.evaluation.localization import LocalizationEvaluator, LocalizationMetrics
    from imagenets.evaluation.localization.map_files import StoredMap

SHOWN = 10
"""Names that are shown of many."""

_CHUNK = 64  # images measured at a time

_REMEDIES = {
    "missing": "Write one heat map for every image whose object is there, or give --list.",
    "unreadable": "Heat maps are H x W numbers: .npy, .npz, .h5, or grey PNG or TIFF.",
    "size": "Write them at the image's own size, or at the size of the view that --view names.",
    "not finite": "Find out where NaN or infinity comes from; a map must have numbers alone.",
}

log = logging.getLogger(__name__)

Map = npt.NDArray[Any]


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
        extra: Names of maps that belong to no image.
    """

    maps: LocalizationMetrics
    baselines: dict[str, LocalizationMetrics]
    constant: list[str]
    resized: int
    extra: list[str]


def measure(
    path: Path, data: ImageNetS, view: View | None, *, baselines: bool, seed: int = 0
) -> Measured:
    """Measures stored heat maps against the targets of a data set.

    Args:
        path: Where the maps lie.
        data: With target="label".
        view: What the method saw; None: whole images.
        baselines: Whether to measure the baselines as well.
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
    reading = _Reading(data, view, maps, partners)
    names = ("maps", *BASELINES) if baselines else ("maps",)
    evaluators = {
        name: LocalizationEvaluator(len(data.classes), data.class_names) for name in names
    }
    with bar("measuring", len(data)) as shown:
        for chunk in reading.chunks():
            if not reading.faults:
                _update(evaluators, chunk, seed)
            shown.update(len(chunk.names))
    if reading.faults:
        example = next(iter(maps.values())).where
        found = f"found: {path} holds {len(maps):,} heat maps such as {example}"
        raise BadMapsError(reading.faults, len(data), found)
    computed = {name: evaluator.compute() for name, evaluator in evaluators.items()}
    own = computed.pop("maps")
    table = own.per_image
    constant = [name for name, flat in zip(table.names, table.constant, strict=True) if flat]
    return Measured(own, computed, constant, reading.resized, extra)


@dataclass(slots=True)
class _Chunk:
    names: list[str] = field(default_factory=list)
    heats: list[Map] = field(default_factory=list)
    targets: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Reading:
    """Targets and heat maps, read and brought into the view; what is wrong is collected."""

    data: ImageNetS
    view: View | None
    maps: Mapping[str, StoredMap]
    partners: Mapping[str, str | None]
    faults: list[Fault] = field(default_factory=list)
    resized: int = 0

    def chunks(self) -> Iterator[_Chunk]:
        ids, chunk = self.data.target_ids.tolist(), _Chunk()
        for index, name in enumerate(self.data.names):
            target, size = self._target(index, ids[index])
            heat = self._heat(name, target, size)
            if heat is not None:
                chunk.names.append(name)
                chunk.heats.append(heat)
                chunk.targets.append(target)
                chunk.ids.append(ids[index])
            if len(chunk.names) == _CHUNK:
                yield chunk
                chunk = _Chunk()
        if chunk.names:
            yield chunk

    def _target(self, index: int, target_id: int) -> tuple[npt.NDArray[np.uint8], tuple[int, int]]:
        """The target in the view, and the image's width and height."""
        from imagenets.data.dataset.targets import target_of

        ids = self.data.mask(index)
        made = target_of(ids, target_id)
        return (made if self.view is None else self.view.target(made)), ids.shape[::-1]

    def _heat(self, name: str, target: npt.NDArray[np.uint8], size: tuple[int, int]) -> Map | None:
        """The map in the view; zeros where there is no object to find; None with a fault."""
        if not (target == 1).any():
            return np.zeros(target.shape, np.float32)  # is counted, and in no average
        partner = self.partners[name]
        if partner is None:
            self.faults.append(Fault("missing", f"{name} has no heat map"))
            return None
        stored = self.maps[partner]
        try:
            heat = stored.read()
        except (CorruptError, OSError) as error:
            self.faults.append(Fault("unreadable", str(error)))
            return None
        if not np.isfinite(heat).all():
            self.faults.append(Fault("not finite", f"{stored.where} holds NaN or infinity"))
            return None
        if heat.shape == target.shape:
            return heat
        if self.view is not None and heat.shape[::-1] == size:
            self.resized += 1
            return self.view.heat(heat, size)
        fits = f"the image is {size[0]} x {size[1]}"
        fits += "" if self.view is None else f", the view {self.view.size} x {self.view.size}"
        text = f"{stored.where} is {heat.shape[1]} x {heat.shape[0]} pixels (W x H), {fits}"
        self.faults.append(Fault("size", text))
        return None


def _update(evaluators: Mapping[str, LocalizationEvaluator], chunk: _Chunk, seed: int) -> None:
    from imagenets.evaluation.localization import baselines

    for name, evaluator in evaluators.items():
        heats = chunk.heats
        if name == "constant":
            heats = [baselines.constant(target.shape) for target in chunk.targets]
        elif name == "random":
            pairs = zip(chunk.targets, chunk.names, strict=True)
            heats = [baselines.random(target.shape, one, seed) for target, one in pairs]
        elif name == "center_gaussian":
            heats = [baselines.center_gaussian(target.shape) for target in chunk.targets]
        elif name == "ground_truth":
            heats = [baselines.ground_truth(target) for target in chunk.targets]
        evaluator.update(heats, chunk.targets, chunk.ids, chunk.names)


def tell(found: Measured, path: Path, view: View | None) -> None:
    """Says on stderr what a reader of the numbers must know."""
    if found.resized:
        log.info(
            "%s: %d maps of their image's size are resized bilinearly to the view %s",
            *(path, found.resized, view),
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
