"""One split of a data set: which samples there are, and what is known without decoding them."""

from __future__ import annotations

import copy
import hashlib
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from imagenets import masks
from imagenets.classes import names as class_names
from imagenets.core.log import bar
from imagenets.data.dataset.sample import Encoded, MaskFolder, MaskSource, Names, StoredMask
from imagenets.data.dataset.store import Store
from imagenets.data.dataset.subsets import (
    check_sizes,
    of_sizes,
    per_class,
    read_list,
    write_list,
)
from imagenets.data.dataset.targets import Labels, labels_of
from imagenets.errors import MissingError, UsageError
from imagenets.tiers import MASKED_SPLITS


class Split:
    """Some samples of one split: all of them, or a view of some.

    Args:
        tier: Name of the tier.
        split: Name of the split.
        store: Where its samples lie.
        masks: Whether masks are wanted where there are some.

    Attributes:
        tier: Name of the tier.
        split: Name of the split.
        classes: The tier's WordNet ids: class id k is `classes[k - 1]`, `class_names[k - 1]` in
            words.
        source_classes: The WordNet ids that `ilsvrc` counts.
        has_masks: Whether the samples carry a mask.
        target: "label" where samples carry the mask of their label, too.
    """

    def __init__(self, tier: str, split: str, store: Store, masks: bool) -> None:
        self.tier, self.split, self._store = tier, split, store
        self.classes = store.classes
        self.source_classes = store.source_classes
        self.has_masks = masks and store.has_masks
        self._rows: npt.NDArray[np.int64] | None = None  # of a view; None: all of the store
        self._mask_source: MaskSource | None = None  # of a view with masks of another make
        self.target: Literal["label"] | None = None

    def __len__(self) -> int:
        return len(self._store.class_ids) if self._rows is None else len(self._rows)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(tier={self.tier!r}, split={self.split!r}, images={len(self)})"
        )

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Which samples of the whole split these are, N int64: 0, 1, 2 ... but for a view."""
        return self._all_rows()

    @property
    def class_ids(self) -> npt.NDArray[np.int16]:
        """The class id of every sample, N int16: 1..K, 0 outside the tier."""
        return self._of_rows(self._store.class_ids)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The tier's classes in words, K of them: class id k is `class_names[k - 1]`.

        Id 0 is background and has no name here. A class that is none of ILSVRC's is named by its
        WordNet id.
        """
        return class_names(self.classes)

    @property
    def ilsvrc(self) -> npt.NDArray[np.int16]:
        """The ILSVRC class of every sample, N int16: 0..999 for published tiers, -1 for none."""
        return self._of_rows(self._store.ilsvrc)

    @property
    def labels(self) -> Labels:
        """How ImageNet-1k indices and the tier's class ids belong together, both ways."""
        return labels_of(self.tier, self.classes, self.source_classes)

    @property
    def target_ids(self) -> npt.NDArray[np.int16]:
        """The class id of the label of every sample, N int16.

        It is that of `ilsvrc`, through the tier's merges: 0 where the tier has no such class. It is
        not `class_ids`, the class that an image is filed under: the two differ for one validation
        image in eight.

        Raises:
            MissingError: No list tells the labels, as of a tree without them.
        """
        if self._store.unlisted:
            raise MissingError(
                f"{self._store.where(0)}: the lists of tier {self.tier} are not at hand, or do not "
                f"name {self._store.unlisted:,} images of {self.split}. Without them the label of "
                "an image cannot be told: its folder is that of another class for one in eight. "
                f"Fetch them into the root of this set with imagenets-prepare --split {self.tier} "
                "--download-only --root ROOT"
            )
        ilsvrc = self.ilsvrc
        return np.where(ilsvrc < 0, np.int16(0), self.labels.ids[ilsvrc])

    @property
    def names(self) -> Sequence[str]:
        """The name of every sample, `<class folder>/<stem>`, made when asked for."""
        return Names(self._store, self._all_rows())

    @property
    def sizes(self) -> npt.NDArray[np.int32]:
        """Width and height of every image, N x 2; over a tree this reads every file's header."""
        return self._store.sizes(self._all_rows())

    def sizes_of(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Tells the sizes of some images; over a tree this reads their headers.

        Args:
            indices: n int64, which samples.

        Returns:
            n x 2 int32, width and height in pixels.

        Raises:
            CorruptError: The header of a file is damaged; over a tree.
        """
        return self._store.sizes(self._all_rows()[indices])

    def encoded(self, index: int) -> Encoded:
        """Reads the sample's files as they are stored, for those who decode themselves.

        Args:
            index: Which sample; negative ones count from the end.

        Returns:
            The encoded image, and the mask where the split has masks.

        Raises:
            IndexError: There is no such index.
            CorruptError: A file is damaged; names the sample.
            MissingError: A file of a tree is not there.
        """
        row = self._row(index)
        mask = self._stored_mask(row).stored() if self.has_masks else None
        return Encoded(self._store.image(row), self._store.segments(row), mask)

    def mask(self, index: int) -> masks.Ids:
        """Reads just the mask of a sample; its image is not decoded.

        Args:
            index: Which sample; negative ones count from the end.

        Returns:
            H x W uint16 ids, 0 background, 1..K classes, 1000 ignored.

        Raises:
            IndexError: There is no such index.
            UsageError: The split has no masks.
            CorruptError: The mask is missing or damaged; names the sample.
            MissingError: The file of the mask is not there, where masks are files.
        """
        self._need_masks()
        return self._read_mask(self._row(index))

    def mask_files(self) -> dict[str, StoredMask]:
        """Finds the encoded mask of every sample, for scoring: no image is read, and no mask yet.

        Returns:
            Name, `<class folder>/<stem>`, -> the mask, to be read where it is needed.

        Raises:
            UsageError: The split has no masks.
        """
        self._need_masks()
        rows = self._all_rows().tolist()
        return {self._store.name(row): self._stored_mask(row) for row in rows}

    @property
    def digest(self) -> str:
        """SHA-256 of what this split, or view of it, is: changes when a sample of it does.

        Masks that `with_masks` laid over it do not count.
        """
        found = hashlib.sha256(self._store.digest().encode())
        if self._rows is not None:
            found.update(self._rows.tobytes())
        return found.hexdigest()

    @property
    def other_masks(self) -> str | None:
        """What tells masks of `with_masks` from others.

        None: the masks are the split's own. "": the source cannot tell, as it has no `identity`.
        """
        if self._mask_source is None:
            return None
        identity = getattr(self._mask_source, "identity", None)
        return "" if identity is None else str(identity(self.names))

    def where(self, index: int) -> str:
        """Says where a sample lies, for messages.

        Args:
            index: Which sample; negative ones count from the end.

        Returns:
            The file of its image or its shard, and its name in parentheses.

        Raises:
            IndexError: There is no such index.
        """
        row = self._row(index)
        return f"{self._store.where(row)} ({self._store.name(row)})"

    def select(self, *classes: int | str) -> Self:
        """A view of some classes only.

        Args:
            *classes: Class ids (0: outside the tier), or WordNet ids.

        Returns:
            The samples that are filed under them, in the order of the data set.

        Raises:
            UsageError: A class is not in the tier.
        """
        wanted = {self._class_id(one) for one in classes}
        return self._view(self._all_rows()[np.isin(self.class_ids, list(wanted))])

    @property
    def whole(self) -> Self:
        """All samples of the split, of a view too."""
        return self if self._rows is None else self._view(None)

    def subset(self, indices: Sequence[int] | npt.NDArray[np.integer | np.bool_]) -> Self:
        """A view of some samples, in the order that is given.

        Args:
            indices: M whole numbers (negative ones count from the end), or N booleans, one for each
                sample, such as `data.class_ids == 2`.

        Returns:
            The M samples, or those that are True. One that is named twice is there twice.

        Raises:
            UsageError: They are neither.
            IndexError: One is out of range, or there is not a boolean for each sample.
        """
        chosen = np.asarray(indices)
        if chosen.dtype == np.bool_ and chosen.shape != (len(self),):
            raise IndexError(f"{chosen.shape} booleans for {len(self)} samples: give one for each")
        if chosen.size and chosen.dtype.kind not in "iub":
            raise UsageError(
                f"indices are {chosen.dtype} (such as {chosen.flat[0]!r}): give whole numbers, or "
                "a boolean for each sample."
            )
        chosen = chosen if chosen.dtype == np.bool_ else chosen.astype(np.int64)
        return self._view(self._all_rows()[chosen])

    def object_shares(self) -> npt.NDArray[np.float64]:
        """Measures how much of each image its object covers.

        The object is that of the label, of a data set with target="label"; else that of the class
        that the image is filed under. Reads every mask: some seconds for 12,419.

        Returns:
            N float64, shares (0..1) of the pixels that are not ignored; 0 where the object is not
            there, and where all is ignored.

        Raises:
            UsageError: The split has no masks.
            CorruptError: A mask is missing or damaged; names the sample.
        """
        self._need_masks()
        shares = np.zeros(len(self))
        objects = self._object_ids()
        with bar("masks", len(self), unit="mask") as shown:
            for place, row in enumerate(self._all_rows().tolist()):
                ids = self._read_mask(row)
                whole = np.count_nonzero(ids != masks.IGNORED)
                if objects[place] and whole:
                    shares[place] = np.count_nonzero(ids == objects[place]) / whole
                shown.update()
        return shares

    def subset_per_class(self, count: int = 1, seed: int = 0, allow_fewer: bool = False) -> Self:
        """A view of so many samples of each class, the same on every machine.

        A class is that of the label, of a data set with target="label"; else the class that images
        are filed under.

        Args:
            count: Samples of each class, at least 1.
            seed: Any whole number; another one chooses others.
            allow_fewer: Whether classes that have fewer give all of theirs.

        Returns:
            The chosen samples, in the order of the data set; none without a class.

        Raises:
            UsageError: A class has fewer, or `count` is below 1.
        """
        return self.subset(per_class(self.names, self._object_ids(), count, seed, allow_fewer))

    def subset_by_size(self, *buckets: str) -> Self:
        """A view of the samples whose object has one of these sizes; see `object_shares`.

        Args:
            buckets: "S", "MS", "ML", "L": up to 5, 25, 50 percent of its image, or more.

        Returns:
            Those samples, in the order of the data set; none without its object.

        Raises:
            UsageError: There is no such size, or the split has no masks.
            CorruptError: A mask is missing or damaged; names the sample.
        """
        check_sizes(buckets)
        return self.subset(of_sizes(self.object_shares(), buckets))

    def subset_present(self, present: bool = True) -> Self:
        """A view of the samples whose object is there, or of those without; see `object_shares`.

        Args:
            present: True for those with their object, False for the others.

        Returns:
            Those samples, in the order of the data set.

        Raises:
            UsageError: The split has no masks.
            CorruptError: A mask is missing or damaged; names the sample.
        """
        return self.subset((self.object_shares() > 0) == present)

    def save_list(self, path: str | Path) -> str:
        """Writes the names of these samples, in their order, to a list file with a digest.

        Args:
            path: The text file; an old one is replaced.

        Returns:
            SHA-256 of the names, each ended by a newline. It names the subset, in a paper for
            example.
        """
        return write_list(Path(path).expanduser(), self.names, self.tier, self.split)

    def subset_from_list(self, path: str | Path) -> Self:
        """A view of the samples of a list file that `save_list` wrote, in its order.

        Args:
            path: The list file.

        Returns:
            Those samples.

        Raises:
            MissingError: There is no such file, or it names samples that are not here.
            CorruptError: It is no such list, or not as it was written.
            UsageError: It is of another tier or split.
        """
        rows = read_list(Path(path).expanduser(), self.names, self.tier, self.split)
        return self.subset(rows)

    def with_masks(self, source: str | Path | MaskSource) -> Self:
        """A view with masks of another make, such as pseudo labels or predictions.

        Args:
            source: The folder where they lie as `<name>.png`; or what reads them. If it has a
                method `identity(names)`, whose text changes when a mask does, an export of the
                view that was stopped goes on; without, it starts anew.

        Returns:
            The same samples; their masks are read when they are asked for.
        """
        if isinstance(source, str | Path):
            source = MaskFolder(Path(source).expanduser())
        view = self._view(self._all_rows())
        view._mask_source, view.has_masks = source, True
        return view

    def _need_masks(self) -> None:
        if not self.has_masks:
            what = f"the split {self.split} of tier {self.tier} has no masks here"
            if self._store.has_masks:
                raise UsageError(f"{what}: leave masks=False out.")
            if self.split not in MASKED_SPLITS:
                raise UsageError(f"{what}: only those of {', '.join(MASKED_SPLITS)} are published.")
            raise UsageError(
                f"{what}. Prepare it again with the mask archive, or give `masks` to from_folders."
            )

    def _stored_mask(self, row: int) -> StoredMask:
        return StoredMask(self._store, row, self._mask_source)

    def _read_mask(self, row: int) -> masks.Ids:
        return self._stored_mask(row).ids()

    def _object_ids(self) -> npt.NDArray[np.int16]:
        return self.class_ids if self.target is None else self.target_ids

    def _row(self, index: int) -> int:
        if isinstance(index, bool):
            raise TypeError(f"index is {index}: give a whole number, or see `subset`")
        number, count = operator.index(index), len(self)
        if not -count <= number < count:
            raise IndexError(f"index {number}: {self.split} of tier {self.tier} has {count} images")
        number += count if number < 0 else 0
        return number if self._rows is None else int(self._rows[number])

    def _all_rows(self) -> npt.NDArray[np.int64]:
        return np.arange(len(self)) if self._rows is None else self._rows

    def _of_rows(self, column: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return column if self._rows is None else column[self._rows]

    def _view(self, rows: npt.NDArray[np.int64] | None) -> Self:
        view = copy.copy(self)
        view._rows = rows
        return view

    def _class_id(self, one: int | str) -> int:
        if isinstance(one, str):
            if one in self.classes:
                return self.classes.index(one) + 1
        elif not isinstance(one, bool) and 0 <= operator.index(one) <= len(self.classes):
            return operator.index(one)
        raise UsageError(
            f"{one!r} is no class of tier {self.tier}: give ids from 1 to {len(self.classes)}, "
            f"or WordNet ids such as {self.classes[0]!r}."
        )
