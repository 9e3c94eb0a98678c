"""Subsets that a paper can cite: the same on every machine, in a list file with a digest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets.core.files import write_file
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.tiers import BUCKET_LIMITS, BUCKETS

Rows = npt.NDArray[np.int64]

_SHOWN = 10
_HEAD = re.compile(
    r"# ImageNet-S, tier (\S+), split (\S+), ([0-9]+) samples, sha256 ([0-9a-f]{64})"
)


def per_class(
    names: Sequence[str], class_ids: npt.NDArray[np.integer], count: int, seed: int, fewer: bool
) -> Rows:
    """Chooses so many samples of each class: those whose digests of seed and name are least.

    The choice depends on nothing else, neither on a generator of random numbers nor on the other
    samples. Class 0 is no class.

    Args:
        names: N names.
        class_ids: N class ids.
        count: Samples of each class.
        seed: Any whole number.
        fewer: Whether classes with fewer samples give all they have.

    Returns:
        Indices, ascending.

    Raises:
        UsageError: A class has fewer, or `count` is none.
    """
    for what, number in (("samples a class", count), ("for a seed", seed)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer):
            raise UsageError(f"{number!r} {what}: give a whole number.")
    if count < 1:
        raise UsageError(f"{count} samples a class: give at least 1.")
    keys = [hashlib.sha256(f"{seed} {name}".encode()).digest() for name in names]
    order = sorted(np.flatnonzero(class_ids).tolist(), key=lambda row: (class_ids[row], keys[row]))
    ids = class_ids[order]
    place = np.arange(len(ids)) - np.searchsorted(ids, ids)  # among its class
    found, counts = np.unique(ids, return_counts=True)
    short = found[counts < count]
    if len(short) and not fewer:
        raise UsageError(
            f"{len(short)} classes have fewer than {count} samples, such as class id {short[0]} "
            f"with {counts[counts < count][0]}: give at most {counts.min()}, or allow_fewer=True."
        )
    return np.sort(np.array(order, np.int64)[place < count])


def check_sizes(buckets: Sequence[str]) -> None:
    """Refuses what is no size.

    Raises:
        UsageError: With what may be given.
    """
    for name in buckets or ("",):
        if name not in BUCKETS:
            raise UsageError(f"there is no size {name!r}: choose from {', '.join(BUCKETS)}.")


def of_sizes(shares: npt.NDArray[np.float64], buckets: Sequence[str]) -> Rows:
    """The samples whose object has one of these sizes, as the size metrics of the benchmark say.

    Args:
        shares: N shares of an object in its image, 0..1, of the pixels that are not ignored.
        buckets: "S", "MS", "ML" or "L": up to 5, 25, 50 percent, rounded up, or more.

    Returns:
        Indices, ascending; no sample without the object.
    """
    percent = np.ceil(np.round(100 * shares, 9))  # 7 of 100 is 7, not 7.000000000000001
    size = np.searchsorted(BUCKET_LIMITS, percent)
    wanted = [BUCKETS.index(name) for name in buckets]
    return np.flatnonzero((shares > 0) & np.isin(size, wanted))


def digest_of(names: Iterable[str]) -> str:
    """SHA-256 of names, one a line: what a list file carries and a paper cites."""
    return hashlib.sha256("".join(f"{name}\n" for name in names).encode()).hexdigest()


def write_list(path: Path, names: Sequence[str], tier: str, split: str) -> str:
    """Writes names, one a line, below a line that says what they are and their digest.

    Returns:
        The digest.
    """
    digest = digest_of(names)
    head = f"# ImageNet-S, tier {tier}, split {split}, {len(names)} samples, sha256 {digest}"
    write_file(path, "\n".join([head, *names]) + "\n")
    return digest


def read_list(path: Path, names: Sequence[str], tier: str, split: str) -> Rows:
    """Finds the samples of a list file among names.

    Returns:
        Their indices, in the order of the file.

    Raises:
        MissingError: There is no such file, or it names samples that are not there.
        CorruptError: It is no such list, or not as it was written.
        UsageError: It is of another tier or split.
    """
    return rows_of(path, read_names(path, tier, split), names)


def read_names(path: Path, tier: str, split: str) -> list[str]:
    """What `write_list` wrote.

    Raises:
        MissingError: There is no such file.
        CorruptError: It is no such list, or not as it was written.
        UsageError: It is of another tier or split.
    """
    if not path.is_file():
        raise MissingError(f"{path}: there is no such file. Write it with `save_list`.")
    lines = path.read_text("utf-8-sig", errors="replace").splitlines()
    head = _HEAD.fullmatch(lines[0].strip()) if lines else None
    if head is None:
        raise CorruptError(
            f"{path}: not a list of a subset: its first line must say tier, split and digest. "
            "Write it with `save_list`."
        )
    if head[1] != tier or head[2] != split:
        raise UsageError(
            f"{path}: a list of the split {head[2]} of tier {head[1]}; this data set is the split "
            f"{split} of tier {tier}. Open the other."
        )
    wanted = [line.strip() for line in lines[1:] if line.strip()]
    if str(len(wanted)) != head[3] or digest_of(wanted) != head[4]:
        raise CorruptError(
            f"{path}: not as it was written: it names {len(wanted)} samples, whose digest is not "
            f"that of the {head[3]} its first line tells of. Take it from its source again."
        )
    return wanted


def rows_of(path: Path, wanted: Sequence[str], names: Sequence[str]) -> Rows:
    """The indices of the names that a file wants.

    Raises:
        MissingError: Some are not there; names ten of them.
    """
    rows = {name: row for row, name in enumerate(names)}
    lost = [name for name in wanted if name not in rows]
    if lost:
        more = ", ..." if len(lost) > _SHOWN else ""
        raise MissingError(
            f"{path}: {len(lost)} of its {len(wanted)} samples are not in this data set: "
            f"{', '.join(lost[:_SHOWN])}{more}. Open all of the split."
        )
    return np.array([rows[name] for name in wanted], np.int64)
