"""One look-up over every source: file stem -> bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.data.raw.parts import Container, Integers, Location, Part
from imagenets.data.stems import STEM_DTYPE, Stems

_MOST_OPEN = 16
"""Archives that one process holds open at a time."""

_MANY = 4
"""More archives than this in one folder are described as the folder."""


class RawImages:
    """Every image of the given sources; the first source that has a stem gives it.

    Cheap to pickle for what it holds (arrays, no object per image), and safe after a fork: files
    are opened in the process that reads.

    Attributes:
        stems: S32, sorted and distinct, such as b"n01440764_10026"; an image's position in it
            is what the methods take.
        notes: What the user should know: duplicates, images that cannot be identified.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        stems, container, offsets, sizes = _joined(parts)
        order = np.argsort(stems, kind="stable")  # stable: of equal stems the first given leads
        ordered = stems[order]
        first = np.ones(len(ordered), bool)
        first[1:] = ordered[1:] != ordered[:-1]
        order = order[first]
        self.stems: Stems = ordered[first]
        self.notes = _notes(parts, int((~first).sum()))
        self._container: npt.NDArray[np.int32] = container[order]
        self._offsets: Integers = offsets[order]
        self._sizes: Integers = sizes[order]
        self._containers: tuple[Container, ...] = tuple(
            c for part in parts for c in part.containers
        )
        self._found = [
            (kind, path, sum(len(part.stems) for part in group))
            for (kind, path), group in _grouped(parts).items()
        ]
        self._open: dict[int, None] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def __len__(self) -> int:
        return len(self.stems)

    @property
    def has_training(self) -> bool:
        """Whether any training image is there."""
        return self._first_training < len(self.stems)

    @property
    def has_validation(self) -> bool:
        """Whether any validation image is there."""
        return self._first_training > 0

    @property
    def _first_training(self) -> int:
        return int(np.searchsorted(self.stems, np.bytes_(b"n")))  # "ILSVRC..." sorts before "n..."

    def find(self, stems: Stems) -> Integers:
        """Looks up stems.

        Args:
            stems: Bytes array of any length and order.

        Returns:
            int64 positions, -1 where no source has the stem.
        """
        wanted = np.asarray(stems, "S")
        if not len(self.stems) or not len(wanted):
            return np.full(len(wanted), -1, np.int64)
        if wanted.itemsize < STEM_DTYPE.itemsize:
            wanted = wanted.astype(STEM_DTYPE)  # else the search would copy and widen each time
        positions = np.searchsorted(self.stems, wanted).astype(np.int64)
        positions[positions == len(self.stems)] = 0
        positions[self.stems[positions] != wanted] = -1
        return positions

    def training(self, wnids: Sequence[str]) -> Stems:
        """The training images, by the class in their names.

        Args:
            wnids: ILSVRC classes.

        Returns:
            Their stems, S32, sorted.
        """
        bounds = np.array([[f"{w}_", f"{w}`"] for w in sorted(set(wnids))], "S")  # "`" follows "_"
        if not bounds.size:
            return self.stems[:0]
        ranges = np.searchsorted(self.stems, bounds)
        return np.concatenate([self.stems[begin:end] for begin, end in ranges])

    def read(self, position: int) -> bytes:
        """The encoded bytes of an image, exactly as they are stored.

        Raises:
            MissingError: The file or archive is gone or cannot be opened.
            CorruptError: The archive is cut off.
        """
        stem, offset, size = self._row(position)
        return self._reach(position).read(stem, offset, size)

    def mask(self, position: int) -> bytes | None:
        """The encoded bytes of the mask that the source holds for an image; None mostly."""
        stem, offset, _ = self._row(position)
        return self._reach(position).mask(stem, offset)

    def location(self, position: int) -> Location:
        """Where an image lies; `offset` is None when it is a file of its own."""
        stem, offset, size = self._row(position)
        return self._containers[int(self._container[position])].locate(stem, offset, size)

    def sizes(self, positions: npt.ArrayLike) -> Integers:
        """Bytes of images: int64, -1 where only a read would tell (parquet)."""
        wanted = np.asarray(positions, np.int64)
        sizes = self._sizes[wanted]
        for index in np.flatnonzero(sizes < 0):
            stem, offset, _ = self._row(int(wanted[index]))
            container = self._containers[self._container[wanted[index]]]
            sizes[index] = container.size(stem, offset)
        return sizes

    def storage_order(self, positions: npt.ArrayLike) -> Integers:
        """The order in which images lie, archive by archive and front to back.

        Reading in it spares a disk its seeks, and a parquet file from being decoded many times:
        its row groups (a hundred images, in no order of names) can be read only as a whole.

        Returns:
            int64 indices into `positions`.
        """
        wanted = np.asarray(positions, np.int64)
        return np.lexsort((self._offsets[wanted], self._container[wanted]))

    def take(self, positions: npt.ArrayLike) -> RawImages:
        """A look-up over some images only, so that a worker is sent no more than it needs.

        Positions in it are its own: find stems in it again.
        """
        chosen = np.unique(np.asarray(positions, np.int64))
        used, container = np.unique(self._container[chosen], return_inverse=True)
        small = RawImages.__new__(RawImages)
        small.__dict__.update(
            stems=self.stems[chosen],
            notes=self.notes,
            _container=container.astype(np.int32),
            _offsets=self._offsets[chosen],
            _sizes=self._sizes[chosen],
            _containers=tuple(self._containers[index] for index in used),
            _found=self._found,
            _open={},
        )
        return small

    def describe(self) -> list[tuple[str, Path, int]]:
        """What was found: the raw form, its path, its number of images."""
        return list(self._found)

    def close(self) -> None:
        """Closes what this process has open; reading opens it again."""
        for index in list(self._open):
            self._containers[index].close()
        self._open.clear()

    def _row(self, position: int) -> tuple[bytes, int, int]:
        return (
            bytes(self.stems[position]),
            int(self._offsets[position]),
            int(self._sizes[position]),
        )

    def _reach(self, position: int) -> Container:
        """The container of an image; of too many open ones the longest unused is closed."""
        index = int(self._container[position])
        self._open.pop(index, None)
        self._open[index] = None
        if len(self._open) > _MOST_OPEN:
            oldest = next(iter(self._open))
            self._open.pop(oldest, None)
            self._containers[oldest].close()
        return self._containers[index]


def _joined(
    parts: Sequence[Part],
) -> tuple[Stems, npt.NDArray[np.int32], Integers, Integers]:
    """The columns of all parts, their containers counted through."""
    firsts = np.cumsum([0, *(len(part.containers) for part in parts)])
    shifted = [part.container + np.int32(first) for part, first in zip(parts, firsts, strict=False)]
    return (
        np.concatenate([np.empty(0, STEM_DTYPE), *(part.stems for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *shifted]),
        np.concatenate([np.empty(0, np.int64), *(part.offsets for part in parts)]),
        np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)]),
    )


def _grouped(parts: Sequence[Part]) -> dict[tuple[str, Path], list[Part]]:
    """Parts by form and path; those of many archives in one folder by the folder."""
    beside = Counter((part.kind, part.path.parent) for part in parts)
    groups: dict[tuple[str, Path], list[Part]] = {}
    for part in parts:
        many = beside[part.kind, part.path.parent] > _MANY
        groups.setdefault((part.kind, part.path.parent if many else part.path), []).append(part)
    return groups


def _notes(parts: Sequence[Part], duplicates: int) -> tuple[str, ...]:
    notes = []
    for (_, path), group in _grouped(parts).items():
        if "blurred" in f"{path.parent.name}/{path.name}".lower():
            notes.append(
                f"{path}: looks like the edition with blurred faces. Its names are those of the "
                "original, its images are not: scores may differ a little from published ones"
            )
        unidentified = sum(part.unidentified for part in group)
        example = next((part.example for part in group if part.example), "")
        if unidentified:
            such = f" (such as {example})" if example else ""
            notes.append(
                f"{path}: {unidentified:,} images have no ILSVRC file name{such} and are left out"
            )
    if duplicates:
        notes.append(f"{duplicates:,} images are there more than once: the first given is taken")
    return tuple(notes)
