"""Opens a split of which nothing is prepared: which images belong to it, the lists say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagenets import masks as codec
from imagenets import paths
from imagenets.core.files import is_litter
from imagenets.data.dataset.finding import Found, in_archive, in_folder, in_parquet
from imagenets.data.dataset.folder_store import FolderStore
from imagenets.data.dataset.originals import Originals, Rows
from imagenets.data.lists import (
    Lists,
    Records,
    check_published,
    have_lists,
    lists_folder,
    read_lists,
)
from imagenets.errors import MissingError, UsageError
from imagenets.tiers import MASKED_SPLITS, TIERS, get_tier, list_paths

log = logging.getLogger(__name__)

_SHOWN = 10
_PROBED = 5
_HUB = (".", "data", "default")  # where repositories of the Hugging Face Hub keep their files
_OTHERS = {"train-semi": ("val", "test")}  # what begins the names of parquet files of other splits
_OTHERS |= dict.fromkeys(("validation", "test"), ("train", "test"))  # both are ILSVRC's validation


def open_folders(
    images: str | Path,
    masks: str | Path | None,
    split: str,
    tier: str,
    index: str | Path | None,
    allow_missing: bool,
) -> FolderStore:
    """Finds a split of a tier among raw images and published masks, by the lists.

    Args:
        images: A folder of images, at any depth; or parquet files: one of them, the folder that
            holds them, or a pattern with `*`.
        masks: A folder of masks, or the zip of them; None: those of the parquet files, or none.
        split: "train-semi", "validation" or "test".
        tier: Name of the tier.
        index: Folder of the lists; None: where imagenets-prepare leaves them.
        allow_missing: Whether what is missing is left out, with a warning.

    Returns:
        The samples, in the order of a prepared set.

    Raises:
        UsageError: There is no such tier or split, or the masks are those of another tier.
        MissingError: Lists, images or masks are not there.
        CorruptError: A list, the zip, a mask or a parquet file is damaged.
    """
    lists = _lists(tier, index)
    if split not in lists.splits:
        raise UsageError(
            f"no list names the images of the split {split!r}: from_folders reads "
            f"{', '.join(lists.splits)}. Prepare others with imagenets-prepare, and open them with "
            "ImageNetS(root, split, classes)."
        )
    if masks is not None and split not in MASKED_SPLITS:
        raise UsageError(f"the masks of {split} are not published: leave `masks` out.")
    wanted = _Wanted(tier, split, lists.splits[split], allow_missing)
    found, own = _find_images(Path(images).expanduser(), wanted)
    rows = _there(found, np.arange(len(found.there)), wanted, "images", images)
    if masks is not None:
        drawn = _find_masks(Path(masks).expanduser(), wanted)
        rows = _there(drawn, rows, wanted, "masks", masks)
        own = drawn.originals.take(rows)
        if own.where(0) == found.originals.where(int(rows[0])):
            raise UsageError(f"{own.where(0)}: found as image and as mask. Give two folders.")
    elif own is not None:
        own = own.take(rows) if split in MASKED_SPLITS else None
    store = FolderStore(lists, _take(wanted.records, rows), found.originals.take(rows), own)
    if own is not None:
        _check_ids(store, tier, masks or images)
    return store


@dataclass(frozen=True, slots=True)
class _Wanted:
    tier: str
    split: str
    records: Records
    allow_missing: bool


def _lists(name: str, index: str | Path | None) -> Lists:
    """The lists of a tier; those of a published one must be the published ones."""
    root = paths.default_root()
    folder = paths.downloads(root)
    if index is not None:
        given = Path(index).expanduser()
        folder = lists_folder(given)
        if not have_lists(name, folder) and have_lists(name, paths.downloads(given)):
            folder = paths.downloads(given)  # the root of a prepared set
    command = f"imagenets-prepare --split {name} --download-only --root {root}"
    if not have_lists(name, folder):
        lost = [path for path in list_paths(name).values() if not (folder / path).is_file()]
        if name not in TIERS and index is None:
            raise UsageError(
                f"there is no tier {name!r}: choose 50, 300 or 919; a custom tier needs "
                f"index=FOLDER with its lists ({', '.join(lost)})."
            )
        fetch = f"Fetch them with {command}, or give" if name in TIERS else "Give"
        raise MissingError(
            f"{folder}: lacks lists of tier {name} ({', '.join(lost)}). They say which images "
            f"belong to a split, and their labels. {fetch} index=FOLDER with them, such as a "
            "checkout of github.com/LUSSeg/ImageNet-S."
        )
    tier = get_tier(name, folder)
    remedy = f"Delete it, then run {command}" if index is None else "Give the published list."
    for entry in tier.lists:
        check_published(folder / entry.path, entry, remedy)
    return read_lists(tier, folder)


def _find_images(path: Path, wanted: _Wanted) -> tuple[Found, Originals | None]:
    """The images, and the masks that lie beside them in parquet files."""
    if files := _parquet_files(path, wanted.split):
        found = in_parquet(files, wanted.records.stems)
        if found is not None:
            return found
    if path.is_file():
        raise UsageError(
            f"{path}: neither a folder of images nor a parquet file"
            f"{' with a column of images' if files else ''}. Unpack an archive first; "
            "imagenets-prepare reads those of ILSVRC in place."
        )
    if not path.is_dir():
        raise MissingError(f"{path}: no such file or folder. Give the folder of the images.")
    if path.absolute().name.endswith(paths.segmentation("")):
        raise UsageError(f"{path}: a folder of masks. Give it as `masks`, and `images` as well.")
    return in_folder(path, wanted.records.stems), None


def _parquet_files(path: Path, split: str) -> list[Path]:
    """The parquet files that a user means; those of other splits in a folder are left out."""
    if path.is_file():
        with path.open("rb") as file:
            return [path] if file.read(4) == b"PAR1" else []
    if path.is_dir():
        every = (sorted((path / name).glob("*.parquet")) for name in _HUB)
        files = [file for found in every for file in found if not is_litter(file.name)]
        return [file for file in files if not file.name.startswith(_OTHERS[split])]
    if not any(letter in str(path) for letter in "*?["):
        return []
    top = Path(path.anchor)
    files = sorted(top.glob(str(path.relative_to(top))))
    if not files or any(file.suffix != ".parquet" for file in files):
        found = f"such as {files[0]}" if files else "none"
        raise MissingError(
            f"{path}: a pattern must name parquet files, there are {found}. Give a folder of "
            "images as it is."
        )
    return files


def _find_masks(path: Path, wanted: _Wanted) -> Found:
    tier, records = wanted.tier, wanted.records
    if path.is_file():
        names = _names(records, np.arange(len(records.stems)))
        members = [paths.mask_member(tier, wanted.split, name) for name in names]
        found = in_archive(path, members)
        _check_tier(path, [] if found.there.any() else found.example.split("/")[:1], tier)
        return found
    if not path.is_dir():
        raise MissingError(
            f"{path}: no such file or folder. Give the folder of the masks, or the zip of them."
        )
    name = paths.segmentation(wanted.split)
    places = (path / paths.set_name(tier) / name, path / name)
    folder = next((place for place in places if place.is_dir()), path)
    found = in_folder(folder, records.stems, masks=True)
    around = [folder.absolute().parent.name, folder.absolute().name]
    _check_tier(folder, [*around, *found.example.split("/")[:1]], tier)
    return found


def _check_tier(place: Path, names: Sequence[str], tier: str) -> None:
    """Refuses masks that lie in the published folder of another tier."""
    for parsed in map(paths.parse_set, names):
        if parsed and parsed[0] != tier:
            raise UsageError(
                f"{place}: these are the masks of tier {parsed[0]}, whose ids are not those of "
                f"tier {tier}. Give the masks of tier {tier}, or classes={parsed[0]}."
            )


def _there(found: Found, rows: Rows, wanted: _Wanted, kind: str, place: str | Path) -> Rows:
    """Those of some rows that were found; what is missing is named, in an error or a warning."""
    there, lost = rows[found.there[rows]], rows[~found.there[rows]]
    if not len(lost):
        return there
    named = ", ".join(_names(wanted.records, lost[:_SHOWN]))
    more = f", and {len(lost) - _SHOWN:,} more" if len(lost) > _SHOWN else ""
    what = f"of the {len(rows):,} {kind} of {wanted.split} of tier {wanted.tier}"
    if not len(there):
        raise MissingError(
            f"{place}: none {what} is there: {named}{more}. {found.seen} Give a complete copy."
        )
    if not wanted.allow_missing:
        raise MissingError(
            f"{place}: {len(lost):,} {what} are not there: {named}{more}. {found.seen} Give a "
            "complete copy, or leave these out with allow_missing=True."
        )
    log.warning(
        "%s: %s %s are not there and are left out: %s%s",
        *(place, f"{len(lost):,}", what, named, more),
    )
    return there


def _check_ids(store: FolderStore, tier: str, place: str | Path) -> None:
    """Refuses masks of another tier: an image is filed under a class that its mask has."""
    last = np.flatnonzero(np.diff(store.class_ids, append=0))[-_PROBED:]  # of the last classes,
    strange = ""  # whose ids differ most between tiers
    for row in last.tolist():
        data = store.mask(row)
        assert data is not None
        ids = np.unique(codec.decode(data, f"{store.where(row)} ({store.name(row)}): mask"))
        if store.class_ids[row] in ids:
            return
        others = ids[(ids != codec.BACKGROUND) & (ids != codec.IGNORED)].tolist()
        if others:
            strange = (
                f"that of {store.name(row)} has the ids {others}, and not {store.class_ids[row]}, "
                "the id of its class"
            )
    if strange:
        raise UsageError(
            f"{place}: these are not the masks of tier {tier}: {strange}. Ids differ from tier to "
            "tier: give the masks of this one."
        )


def _names(records: Records, rows: Rows) -> list[str]:
    pairs = zip(records.wnids[rows].tolist(), records.stems[rows].tolist(), strict=True)
    return [f"{wnid.decode()}/{stem.decode()}" for wnid, stem in pairs]


def _take(records: Records, rows: Rows) -> Records:
    return Records(records.stems[rows], records.wnids[rows], records.sources[rows])
