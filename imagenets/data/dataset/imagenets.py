"""`ImageNetS`, one sample at a time: a map-style dataset over shards, a tree or raw folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.utils.data import Dataset
from typing_extensions import TypeVar

from imagenets import masks
from imagenets.classes import ilsvrc_classes
from imagenets.data.dataset.folder_opening import open_folders
from imagenets.data.dataset.opening import open_store
from imagenets.data.dataset.sample import Sample
from imagenets.data.dataset.split import Split
from imagenets.data.dataset.store import REPLACE, UNLIKE, Store
from imagenets.data.dataset.targets import OBJECT, settled, target_of
from imagenets.data.dataset.tv_tensors import require, wrapped
from imagenets.errors import CorruptError, UsageError
from imagenets.palette import overlay, with_key
from imagenets.pixels.image import DecodeError, decode

log = logging.getLogger(__name__)

T = TypeVar("T", covariant=True, default=Sample)
U = TypeVar("U")


class ImageNetS(Split, Dataset[T], Generic[T]):
    """A split of ImageNet-S.

    The samples are the same, in the same order (by class folder, then file stem), whether they
    come from shards or from a tree. Pickles without anything open, so that workers may be forked
    or spawned. Over a tree, `ilsvrc` of validation and test images needs the lists below
    `<root>/downloads`, where imagenets-prepare leaves them; without them it is the class folder's.

    Args:
        root: What imagenets-prepare was given as `--root`, or the set's own folder in it.
        split: "train", "train-semi", "validation", "test", or (tier 919) "train-full".
        classes: The tier: 50, 300, 919, or the name of a custom one.
        transform: Turns each sample into what is returned. Where torchvision is installed it gets
            `tv_tensors`, so that v2 transforms move image and mask alike; see `wrapped`.
        layout: "shards", "tree", or "auto": shards where they are there.
        masks: Whether to decode masks; False leaves them out of the samples.
        target: "label": samples also have the mask of the object that their ImageNet-1k label
            names, as `target`, `target_id` and `present`; see `Sample`. `present` is of what
            `transform` makes of the target, where it returns both.
        tv_tensors: Whether samples without a transform hold `torchvision.tv_tensors` as well: an
            Image, and a Mask each for mask and target. Then any v2 transform, also one of a batch
            on a GPU, moves them alike.

    Attributes:
        tier: Name of the tier.
        split: Name of the split.
        classes: The tier's WordNet ids: class id k is `classes[k - 1]`, `class_names[k - 1]` in
            words.
        source_classes: The WordNet ids that `ilsvrc` counts.
        has_masks: Whether the samples carry a mask.
        transform: As given; may be set anew.
        target: As given.
        tv_tensors: As given.

    Raises:
        UsageError: There is no such tier, split, layout or target, or no mask to take it from.
        DependencyError: `tv_tensors` without torchvision.
        MissingError: It is not prepared here; the message says what to run. Or a target is wanted,
            and no list says which label an image has.
        CorruptError: A file is damaged.
    """

    @overload
    def __init__(
        self: ImageNetS[Sample],
        root: str | Path,
        split: str = ...,
        classes: int | str = ...,
        transform: None = ...,
        layout: Literal["auto", "shards", "tree"] = ...,
        masks: bool = ...,
        target: Literal["label"] | None = ...,
        tv_tensors: bool = ...,
    ) -> None: ...

    @overload
    def __init__(
        self,
        root: str | Path,
        split: str = ...,
        classes: int | str = ...,
        *,
        transform: Callable[[Sample], T],
        layout: Literal["auto", "shards", "tree"] = ...,
        masks: bool = ...,
        target: Literal["label"] | None = ...,
        tv_tensors: bool = ...,
    ) -> None: ...

    def __init__(
        self,
        root: str | Path,
        split: str = "validation",
        classes: int | str = 919,
        transform: Callable[[Sample], Any] | None = None,
        layout: Literal["auto", "shards", "tree"] = "auto",
        masks: bool = True,
        target: Literal["label"] | None = None,
        tv_tensors: bool = False,
    ) -> None:
        tier, store = open_store(Path(root), split, str(classes), layout)
        super().__init__(tier, split, store, masks)
        self._finish(transform, target, tv_tensors)

    def _finish(
        self,
        transform: Callable[[Sample], Any] | None,
        target: Literal["label"] | None,
        tv_tensors: bool,
    ) -> None:
        if tv_tensors:
            require()
        if transform is not None and not callable(transform):
            raise UsageError(
                f"transform is {transform!r}: give a function of a sample, such as "
                "ResizeCrop(256, 224) or views.named('resize256-crop224')."
            )
        self.transform, self.target, self.tv_tensors = transform, target, tv_tensors
        if target is None:
            return
        if target != "label":
            raise UsageError(f'there is no target {target!r}: give "label", or leave it out.')
        self._need_masks()
        _ = self.target_ids  # raises where no list tells them
        if self.source_classes != ilsvrc_classes():
            log.warning(
                "tier %s has classes that are none of ILSVRC's: `ilsvrc` counts its own "
                "source_classes, and is no ImageNet-1k label",
                self.tier,
            )

    @overload
    @classmethod
    def from_folders(
        cls,
        images: str | Path,
        masks: str | Path | None = ...,
        split: str = ...,
        classes: int | str = ...,
        index: str | Path | None = ...,
        transform: None = ...,
        allow_missing: bool = ...,
        target: Literal["label"] | None = ...,
        tv_tensors: bool = ...,
    ) -> ImageNetS[Sample]: ...

    @overload
    @classmethod
    def from_folders(
        cls,
        images: str | Path,
        masks: str | Path | None = ...,
        split: str = ...,
        classes: int | str = ...,
        index: str | Path | None = ...,
        *,
        transform: Callable[[Sample], U],
        allow_missing: bool = ...,
        target: Literal["label"] | None = ...,
        tv_tensors: bool = ...,
    ) -> ImageNetS[U]: ...

    @classmethod
    def from_folders(
        cls,
        images: str | Path,
        masks: str | Path | None = None,
        split: str = "validation",
        classes: int | str = 919,
        index: str | Path | None = None,
        transform: Callable[[Sample], Any] | None = None,
        allow_missing: bool = False,
        target: Literal["label"] | None = None,
        tv_tensors: bool = False,
    ) -> ImageNetS[Any]:
        """Reads raw images and published masks where they lie: nothing is prepared or unpacked.

        The samples are those of a prepared set, in the same order. What belongs to the split and
        how it is labelled is read from the lists; an image is known by the stem of its file name
        (`ILSVRC2012_val_00000293`, `n01440764_10026`), whatever folder it lies in.

        Args:
            images: A folder of images, at any depth. Or parquet files of the Hugging Face Hub: the
                folder that holds them, one of them, or a pattern with `*`.
            masks: `ImageNetS919/validation-segmentation`, a folder above it, or the published zip.
                None: those in the parquet files where these have a column of masks, else none.
            split: "validation", "test" or "train-semi"; no list names the images of others.
            classes: The tier: 50, 300, 919, or the name of a custom one.
            index: Folder of the lists: that of a custom tier, a checkout of the publishers'
                repository, or the root of a prepared set. None: where `imagenets-prepare` leaves
                them, `downloads` below $IMAGENETS_ROOT or `imagenet-s`.
            transform: As in `ImageNetS`.
            allow_missing: Whether images of which image or mask is not there are left out, with a
                warning.
            target: As in `ImageNetS`.
            tv_tensors: As in `ImageNetS`.

        Returns:
            The split, in the order of a prepared set.

        Raises:
            UsageError: There is no such tier, split or target, or the masks are of another tier.
            MissingError: Lists, images or masks are not there; ten of them are named.
            CorruptError: A list, the zip, a mask or a parquet file is damaged.
            DependencyError: pyarrow, which reads parquet files, is not installed; or `tv_tensors`
                without torchvision.
        """
        store = open_folders(images, masks, split, str(classes), index, allow_missing)
        data = cls.__new__(cls)
        Split.__init__(data, str(classes), split, store, masks=True)
        data._finish(transform, target, tv_tensors)
        return data

    @overload
    def __getitem__(self, index: slice) -> ImageNetS[T]: ...

    @overload
    def __getitem__(self, index: int) -> T: ...

    def __getitem__(self, index: int | slice) -> Any:
        """The sample at an index (negative ones count from the end), or a slice as a view.

        Raises:
            IndexError: There is no such index.
            CorruptError: The image or mask cannot be decoded; names the sample.
        """
        if isinstance(index, slice):
            return self._view(self._all_rows()[index])
        sample = self._sample(self._row(index))
        if self.transform is None:
            return wrapped(sample) if self.tv_tensors else sample
        made: Any = self.transform(wrapped(sample))
        if self.target is not None and isinstance(made, dict) and "target" in made:
            made["target"] = settled(made["target"])
            made["present"] = bool((made["target"] == OBJECT).any())
        return made

    def __getitems__(self, indices: Sequence[int]) -> list[T]:
        """Several samples at once; what DataLoader calls for a batch."""
        return [self[index] for index in indices]

    def __iter__(self) -> Iterator[T]:
        return (self[index] for index in range(len(self)))

    def plot(self, index: int, path: str | Path | None = None, names: bool = False) -> Image.Image:
        """The photograph and, where there is a mask, the same with the mask laid over it.

        Args:
            index: Which sample.
            path: Where to save the picture as well.
            names: Whether the tier's classes in the mask are named below, 16 pixels a line.

        Returns:
            An RGB picture, H x 2 W, or H x W without a mask. Each class has its fixed colour.
        """
        sample = self._sample(self._row(index))
        photo = sample["image"].permute(1, 2, 0).numpy()
        halves = [photo]
        if "mask" in sample:
            halves.append(overlay(photo, sample["mask"].numpy()))
        pixels = np.concatenate(halves, axis=1)
        if names and "mask" in sample:
            pixels = with_key(pixels, self._names_in(sample["mask"].numpy()))
        picture = Image.fromarray(pixels)
        if path is not None:
            picture.save(Path(path).expanduser())
        return picture

    def _names_in(self, ids: npt.NDArray[np.integer]) -> dict[int, str]:
        found = set(np.unique(ids).tolist())
        return {i: name for i, name in enumerate(self.class_names, 1) if i in found}

    def _sample(self, row: int) -> Sample:
        store, name = self._store, self._store.name(row)
        image = _decode(store.image(row), store, row)
        sample: Sample = {"image": torch.from_numpy(image)}
        if self.has_masks:
            ids = self._read_mask(row)
            if ids.shape != image.shape[1:]:
                raise CorruptError(
                    f"{store.where(row)} ({name}): the mask is {ids.shape[1]} x {ids.shape[0]}, "
                    f"the image {image.shape[2]} x {image.shape[1]}. {UNLIKE}"
                )
            sample["mask"] = torch.from_numpy(ids.astype(np.int64))
            if self.target is not None:
                self._add_target(sample, ids, int(store.ilsvrc[row]))
        sample["class_id"] = int(store.class_ids[row])
        sample["ilsvrc"] = int(store.ilsvrc[row])
        sample["name"] = name
        return sample

    def _add_target(self, sample: Sample, ids: masks.Ids, ilsvrc: int) -> None:
        target_id = int(self.labels.ids[ilsvrc]) if ilsvrc >= 0 else 0
        sample["target"] = torch.from_numpy(target_of(ids, target_id))
        sample["target_id"] = target_id
        sample["present"] = bool((sample["target"] == OBJECT).any())


def _decode(data: bytes | memoryview, store: Store, row: int) -> npt.NDArray[np.uint8]:
    """Decodes an image as Pillow does, to RGB; returns 3 x H x W."""
    try:
        pixels = decode(data)
    except DecodeError as error:
        raise CorruptError(
            f"{store.where(row)} ({store.name(row)}): not a readable image ({error}). {REPLACE}"
        ) from error
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
