"""Submissions: one zip of masks, `method.txt` and, where the protocol has one, `match.json`."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from imagenets import masks
from imagenets.core.files import atomic
from imagenets.core.pool import in_chunks
from imagenets.errors import Fault, FaultsError, MissingError, UsageError
from imagenets.evaluation import matching
from imagenets.evaluation.mask_folders import BadMasksError, Masks, masks_in, pair, what_is_there
from imagenets.pixels.image import DecodeError, decoding, open_image
from imagenets.protocols import Protocol

Sizes = Mapping[str, tuple[int, int] | None]
"""The images of a split, `<wnid>/<stem>` -> (width, height), None where that is not known."""

METHOD, MATCH = "method.txt", "match.json"

_REMEDIES = {
    "zip": "Build the archive with imagenets-evaluate submit.",
    "missing": "Predict a mask for every image of the split.",
    "extra": "The archive holds <wnid>/<stem>.png, method.txt and, if unsupervised, match.json.",
    "size": "Scale every mask to its image's own size, with nearest neighbours.",
    "unreadable": "Masks are RGB PNGs, id = R + 256 * G; imagenets.masks.encode writes them.",
    "range": "Ids are 0 (other) to the number of classes; check --split.",
    "blue": "B must be 0; imagenets.masks.encode writes it so.",
    "method": "Give --method-name and the other fields to imagenets-evaluate submit.",
    "match": "Find the match on the validation set: imagenets-evaluate --find-match match.json.",
}


@dataclass(frozen=True, slots=True)
class Method:
    """What `method.txt` says; line breaks become spaces.

    Attributes:
        name: Of the method; must not be empty.
        training_data: What was trained on.
        training_scheme: How it was trained, such as the protocol and the settings.
        networks: Which networks.
        link: Address of the paper or project.
        description: The method in some sentences.
    """

    name: str
    training_data: str = ""
    training_scheme: str = ""
    networks: str = ""
    link: str = ""
    description: str = ""

    def text(self) -> str:
        """Writes the content of `method.txt`.

        Returns:
            For each of `FIELDS`, in that order, a line of its title, a colon and the value; each
            ends with a line break.
        """
        values = (
            self.name,
            self.training_data,
            self.training_scheme,
            self.networks,
            self.link,
            self.description,
        )
        pairs = zip(FIELDS, values, strict=True)
        return "".join(f"{field}: {' '.join(value.split())}\n" for field, value in pairs)


FIELDS = (
    "Method name",
    "Training data",
    "Training scheme",
    "Networks",
    "Paper/Project link",
    "Method description",
)


class BadSubmissionError(FaultsError):
    """An archive that would not be accepted."""

    def __init__(self, path: Path, faults: Sequence[Fault]) -> None:
        """Words the message: faults of each kind, then what to do.

        Args:
            path: Of the archive, for the message.
            faults: At least one, as `check` gives them.
        """
        title = f"{path}: {len(faults)} fault(s); this is no valid submission."
        super().__init__(title, faults, _REMEDIES)


def build(
    pred: str | Path | Masks,
    images: Sizes,
    num_classes: int,
    protocol: Protocol,
    method: Method,
    out: str | Path,
    *,
    matched: matching.Match | None = None,
    workers: int | None = None,
) -> list[str]:
    """Writes a submission and checks it; nothing is left at `out` unless it is valid.

    Args:
        pred: Predicted masks, or the folder that holds them: RGB PNGs, which go in as they are.
        images: The images of the split, `<wnid>/<stem>` -> (width, height) in pixels; None: the
            size of the mask is not checked.
        num_classes: K.
        protocol: The protocol it is for.
        method: Goes into `method.txt`.
        out: The archive to write; an older one is replaced.
        matched: Predicted id -> class id, goes into `match.json`.
        workers: Processes that check; all available cores by default.

    Returns:
        Names of predictions that were left out, being of no image of the split.

    Raises:
        UsageError: The protocol needs a match and there is none, or takes none and there is one;
            or flat names are not unique.
        BadMasksError: Predictions are missing.
        BadSubmissionError: The masks, the method or the match are not as they must be.
        MissingError: There is no such folder of predictions, or no mask in it.
        OSError: The archive cannot be written.
    """
    if protocol.needs_match != (matched is not None):
        needs = "needs a match: give --match" if protocol.needs_match else "takes no match"
        raise UsageError(f"the {protocol.title} protocol {needs}.")
    preds, out = masks_in(pred), Path(out)
    partners, extra = pair(preds, images)
    lost = [Fault("missing", f"{name}.png") for name, partner in partners.items() if not partner]
    if lost:
        raise BadMasksError(lost, len(images), what_is_there(preds, pred))
    with atomic(out) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            for name, partner in partners.items():
                assert partner is not None
                mask = preds[partner]
                data = mask.read_bytes() if isinstance(mask, Path) else bytes(mask.read())
                archive.writestr(zipfile.ZipInfo(f"{name}.png"), data)
            archive.writestr(zipfile.ZipInfo(METHOD), method.text())
            if matched is not None:
                text = json.dumps({str(i): j for i, j in sorted(matched.items())})
                archive.writestr(zipfile.ZipInfo(MATCH), text)
        faults = check(part, images, num_classes, protocol, workers=workers)
        if faults:
            raise BadSubmissionError(out, faults)
    return extra


def check(
    path: str | Path,
    images: Sizes,
    num_classes: int,
    protocol: Protocol | None = None,
    *,
    workers: int | None = None,
) -> list[Fault]:
    """Finds every fault of an archive.

    Args:
        path: The archive.
        images: The images of the split, `<wnid>/<stem>` -> (width, height) in pixels; None: the
            size of the mask is not checked.
        num_classes: K.
        protocol: The protocol it is for; None: `match.json` may be there or not.
        workers: Processes; all available cores by default.

    Returns:
        The faults; empty where the archive is a valid submission.

    Raises:
        MissingError: There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"{path}: there is no such archive. Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.namelist() if not m.endswith("/")]
            faults = _check_names(members, images)
            faults += _check_method(archive, members)
            faults += _check_match(archive, members, num_classes, protocol)
    except zipfile.BadZipFile as error:
        return [Fault("zip", f"not a zip archive ({error})")]
    present = [(name, size) for name, size in images.items() if f"{name}.png" in set(members)]
    stat = path.stat()
    work = partial(_check_chunk, path, (stat.st_size, stat.st_mtime_ns), num_classes)
    for found in in_chunks(work, present, workers, title="checking"):
        faults += found
    _archive.cache_clear()
    return faults


def _check_names(members: Sequence[str], images: Sizes) -> list[Fault]:
    expected = {f"{name}.png" for name in images}
    tops = {member.partition("/")[0] for member in members}
    if len(tops) == 1 and len(members) > 1 and not expected & set(members):
        top = tops.pop()
        if f"{top}/{METHOD}" in members or any(m.count("/") > 1 for m in members):
            return [Fault("zip", f"everything lies below {top}/; it must lie at the top")]
    twice = [member for member, number in Counter(members).items() if number > 1]
    faults = [Fault("zip", f"{member} is there more than once") for member in twice]
    faults += [Fault("missing", name) for name in sorted(expected - set(members))]
    others = sorted(set(members) - expected - {METHOD, MATCH})
    return faults + [Fault("extra", name) for name in others]


def _check_method(archive: zipfile.ZipFile, members: Sequence[str]) -> list[Fault]:
    if METHOD not in members:
        return [Fault("method", f"there is no {METHOD}")]
    try:
        lines = archive.read(METHOD).decode("utf-8").splitlines()
    except (UnicodeDecodeError, zipfile.BadZipFile, RuntimeError) as error:
        return [Fault("method", f"{METHOD} cannot be read ({error})")]
    found = dict(line.partition(":")[::2] for line in lines if ":" in line)
    faults = [
        Fault("method", f"{METHOD} lacks the line `{field}: `")
        for field in FIELDS
        if field not in found
    ]
    if not found.get(FIELDS[0], "-").strip():
        faults.append(Fault("method", f"{METHOD}: `{FIELDS[0]}` is empty"))
    return faults


def _check_match(
    archive: zipfile.ZipFile, members: Sequence[str], num_classes: int, protocol: Protocol | None
) -> list[Fault]:
    if MATCH not in members:
        needed = protocol is not None and protocol.needs_match
        return [Fault("match", f"there is no {MATCH}")] if needed else []
    if protocol is not None and not protocol.needs_match:
        return [Fault("extra", f"{MATCH}: the {protocol.title} protocol takes none")]
    try:
        matched = matching.parse(archive.read(MATCH), num_classes)
    except (ValueError, zipfile.BadZipFile, RuntimeError) as error:
        return [Fault("match", f"{MATCH}: {error}")]
    lost = sorted(set(range(num_classes + 1)) - set(matched))
    listed = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
    return [Fault("match", f"{MATCH} has no class for the ids {listed}")] if lost else []


def _check_chunk(
    path: Path,
    stamp: tuple[int, int],
    num_classes: int,
    present: Sequence[tuple[str, tuple[int, int] | None]],
) -> list[Fault]:
    archive = _archive(path, stamp)
    faults = []
    for name, size in present:
        try:
            data = archive.read(f"{name}.png")
        except (zipfile.BadZipFile, RuntimeError, OSError) as error:
            faults.append(Fault("unreadable", f"{name}.png: {error}"))
        else:
            faults += _check_mask(data, f"{name}.png", size, num_classes)
    return faults


@lru_cache(maxsize=1)
def _archive(path: Path, stamp: tuple[int, int]) -> zipfile.ZipFile:
    """Open once in each process: reading the directory of 27,000 members takes a while."""
    return zipfile.ZipFile(path)


def _check_mask(
    data: bytes, name: str, size: tuple[int, int] | None, num_classes: int
) -> list[Fault]:
    try:
        with decoding(), open_image(data) as image:
            if (image.format, image.mode) != ("PNG", "RGB"):
                kind = f"{image.mode} {image.format}"
                return [Fault("unreadable", f"{name} is of the kind {kind}, not RGB PNG")]
            if size is not None and image.size != size:
                found, wanted = (" x ".join(map(str, pixels)) for pixels in (image.size, size))
                return [Fault("size", f"{name} is {found} pixels (W x H), not {wanted}")]
            rgb = np.asarray(image)
    except DecodeError as error:
        return [Fault("unreadable", f"{name}: not a readable PNG ({error})")]
    faults = []
    highest = int(masks.from_rgb(rgb).max())
    if highest > num_classes:
        faults.append(Fault("range", f"{name} holds {highest}; ids are 0..{num_classes}"))
    if rgb[..., 2].any():
        faults.append(Fault("blue", f"{name} has pixels whose B is not 0 (B, G, R order?)"))
    return faults
