"""`imagenets.predict`: masks of a trained run, of a split or of any photographs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagenets.api.places import trained_run
from imagenets.api.session import absolute, ranks, root_folder, session
from imagenets.api.training import assignments_of
from imagenets.core.distributed import on_first
from imagenets.errors import CorruptError, MissingError, UsageError

if TYPE_CHECKING:
    from imagenets.data.dataset.pictures import Pictures
    from imagenets.methods.pass_.pictures import Kind
    from imagenets.methods.pass_.settings import Changes
    from imagenets.training.run import Run

log = logging.getLogger(__name__)


def predict(
    root: str | Path | None = None,
    *,
    split: str | int | None = None,
    run: str | Path | None = None,
    subset: Literal["validation", "test"] | None = None,
    images: str | Path | None = None,
    out: str | Path | None = None,
    overlays: Literal["jpg", "png"] = "jpg",
    set: Sequence[str] | Mapping[str, Any] = (),
    regions: str | Path | None = None,
    regions_from: str | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> Path:
    """Predicts masks with a trained run: of a split, or of the photographs in a folder.

    What `imagenets predict` does, with its options.

    Args:
        root: Folder of the prepared set; None: $IMAGENETS_ROOT, else ./imagenet-s. Photographs do
            not need it.
        split: The tier; None: that of the run, else the one that is prepared.
        run: Folder of the run; None: ROOT/runs/TIER.
        subset: The split to predict; None: test, unless `images` are given.
        images: Folder of photographs, of any sizes and at any depth.
        out: With `images`: where masks, overlays and the names of ids go.
        overlays: What overlays are stored as.
        set: Changes settings that prediction alone reads, such as `{"flip": True}`.
        regions: Folder of segments that vote.
        regions_from: What made them.
        device: "auto", "cpu", "cuda" or "cuda:N".
        workers: Processes that decode images.

    Returns:
        The folder of the masks.

    Raises:
        UsageError: Options do not go together, or the run is of another tier.
        MissingError: There is no such run, it is not trained, or there are no images.
        CorruptError: A file cannot be read.
        FaultsError: A photograph cannot be read.
    """
    from imagenets.methods.pass_.settings import Changes

    if overlays not in ("jpg", "png"):
        raise UsageError(f"overlays {overlays!r}: choose jpg or png.")
    if (images is None) != (out is None):
        raise UsageError("images and out go together: the folders of photographs and of results.")
    if images is not None and subset is not None:
        raise UsageError("give subset or images, not both.")
    places = None if images is None or out is None else photo_folders(Path(images), Path(out))
    changes = Changes(
        regions=None if regions is None else str(absolute(regions)),
        regions_from=regions_from,
        assignments=assignments_of(set),
    )
    place, tier = root_folder(root), None if split is None else str(split)
    folder = None if run is None else Path(run).expanduser()
    with session():
        trained = trained_run(place, tier, folder, device, workers)
        if places is None:
            return predict_split(trained, subset or "test", changes)
        return predict_photos(trained, *places, overlays, changes).masks


def predict_split(run: Run[Any], split: str, changes: Changes | None = None) -> Path:
    """Predicts a split, or what of it is left, with the run's network as it is now.

    Args:
        run: A trained run.
        split: "validation" or "test".
        changes: To settings that prediction reads; the run keeps them.

    Returns:
        The folder of the masks.

    Raises:
        UsageError: There is no such split, or the run takes no changes.
        MissingError: The run is not trained, or the split is not prepared.
    """
    from imagenets.methods import semi
    from imagenets.methods.pass_ import ALL_STAGES
    from imagenets.methods.pass_.mask_files import PREDICTS
    from imagenets.methods.pass_.predict import check_regions
    from imagenets.methods.semi.run import SemiRun
    from imagenets.training.stage import Stages

    if split not in PREDICTS:
        raise UsageError(f"subset {split!r}: choose one of {', '.join(PREDICTS)}.")
    changed = _changed(run, changes)
    with ranks(run.device):
        if changed.config != run.config:
            on_first(lambda: check_regions(changed, split))
        stages = semi.STAGES if isinstance(run, SemiRun) else ALL_STAGES
        Stages(stages, changed).run([PREDICTS[split]])
    return run.out / PREDICTS[split] / split


@dataclass(frozen=True)
class Photos:
    """What was made of photographs.

    Attributes:
        masks: The folder of the masks; overlays and the names of ids lie beside it.
        count: Number of the photographs.
    """

    masks: Path
    count: int


def photo_folders(images: Path, out: Path) -> tuple[Path, Path]:
    """Expands `~` in the folders of photographs and of results, and keeps the two apart.

    Args:
        images: Folder of the photographs.
        out: Folder for masks, overlays and the names of ids; need not be there yet.

    Returns:
        The folder of photographs and that of results.

    Raises:
        UsageError: Both are one folder.
    """
    images, out = images.expanduser(), out.expanduser()
    if out.resolve() == images.resolve():
        raise UsageError(f"--out {out}: is the folder of the photographs. Give another one.")
    return images, out


def predict_photos(
    run: Run[Any], images: Path, out: Path, overlays: Kind, changes: Changes
) -> Photos:
    """Predicts the photographs of a folder; ids are classes where the run is scored.

    Args:
        run: A trained run.
        images: The photographs, at any depth.
        out: Where masks, overlays and the names of ids go.
        overlays: What overlays are stored as.
        changes: To settings that prediction reads.

    Returns:
        The folder of the masks, and how many photographs there are.

    Raises:
        UsageError: The run takes no changes.
        MissingError: The run is not trained, or there are no photographs.
        FaultsError: A photograph cannot be read.
    """
    from imagenets.data.dataset.pictures import Pictures
    from imagenets.methods.semi.pictures import predict_pictures
    from imagenets.methods.semi.run import SemiRun

    changed = _changed(run, changes)
    pictures = Pictures(images, without=out)
    if isinstance(changed, SemiRun):
        predict_pictures(changed, pictures, out, overlays)
    else:
        _generated(changed, pictures, out, overlays)
    return Photos(out / "masks", len(pictures))


def _changed(run: Run[Any], changes: Changes | None) -> Run[Any]:
    """The run, with other settings of prediction."""
    from imagenets.methods.pass_.settings import Changes, with_prediction
    from imagenets.methods.semi.run import SemiRun

    if changes is None or changes == Changes():
        return run
    if isinstance(run, SemiRun):
        raise UsageError("--set and --regions are for runs of `imagenets train`.")
    return replace(run, config=with_prediction(run.config, changes))


def _generated(run: Run[Any], pictures: Pictures, out: Path, kind: Kind) -> None:
    """Masks of a run of PASS; matched to the classes where the run is scored."""
    from imagenets.methods.pass_.pictures import number_of_classes, predict_pictures
    from imagenets.methods.pass_.score import class_names, load_match

    count = number_of_classes(run)
    matched, names = None, []
    try:
        matched, names = load_match(run.out, count), list(class_names(run.out))
    except MissingError:
        log.info("note: this run is not scored, so ids are generated categories without names")
    except CorruptError as error:
        log.warning("%s Ids are generated categories here.", error)
    predict_pictures(run, pictures, out, matched=matched, names=names, kind=kind)
