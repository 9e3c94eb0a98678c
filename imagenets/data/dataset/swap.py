"""Objects on the backgrounds of other images, by a pairing that can be drawn again and saved.

After Xiao et al., "Noise or Signal: The Role of Image Backgrounds in Object Recognition", ICLR 2021
(their "mixed-rand"), with the masks of ImageNet-S.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from imagenets.core.log import bar
from imagenets.data.dataset.composition import background, filling
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.dataset.sample import Sample
from imagenets.data.dataset.subsets import read_names, rows_of, write_list
from imagenets.data.dataset.targets import LEFT_OUT, OBJECT
from imagenets.errors import CorruptError, UsageError
from imagenets.masks import BACKGROUND, IGNORED

Pairs = npt.NDArray[np.int64]
BackgroundFill = Literal["mean", "black", "noise"]


class Swapped(Sample, total=False):
    """An object on another image's background.

    Attributes:
        image: uint8, 3 x H x W: the object's pixels, laid over the background.
        target: uint8, H x W: 1 the object, 0 not; nothing is ignored.
        class_id: Of the object's image, as are `ilsvrc`, `name`, `target_id` and `present`.
        background: Name of the image that the background is of.
    """

    background: str


class Swap:
    """Pairs of an object and a background; `swap[i]` is the picture made of the i-th.

    Args:
        dataset: With target="label", and a transform that gives all images one size.
        pairs: See the attribute.
        fill: What stands where the background's own object was.
        seed: Of noise.

    Attributes:
        pairs: int64 M x 2, indices into the data set: the image of the object, and that of the
            background. Every image that shows its object is there once, in order.
    """

    def __init__(
        self, dataset: ImageNetS[Sample], pairs: Pairs, fill: BackgroundFill = "mean", seed: int = 0
    ) -> None:
        _check(dataset)
        filling((1, 1, 3), fill, np.random.default_rng(0))  # refuses what is no fill
        self.dataset, self.pairs, self.fill, self.seed = dataset, pairs, fill, seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        return f"Swap({self.dataset}, {len(self)} pairs)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Swap) and self.named_pairs() == other.named_pairs()

    __hash__ = None  # type: ignore[assignment]  # its pairs can be changed

    def __iter__(self) -> Iterator[Swapped]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Swapped:
        """The i-th picture. Its `present` is False where the view has cut the object off.

        The background is without its own object and without ignored pixels, which are filled.

        Raises:
            IndexError: There is no such pair.
            UsageError: The two views have different sizes.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index}: there are {len(self)} pairs")
        first, second = self.pairs[index].tolist()
        front, back = self.dataset[first], self.dataset[second]
        if front["image"].shape != back["image"].shape:
            raise UsageError(
                f"{front['name']} is {tuple(front['image'].shape)} and {back['name']} "
                f"{tuple(back['image'].shape)}: give the data set a transform with which all "
                "images have one size, such as transform=ResizeCrop(256, 224)."
            )
        shown = front["target"] == OBJECT
        behind = self._background(back, index % len(self))
        made: Swapped = {
            "image": torch.where(shown, front["image"].as_subclass(torch.Tensor), behind),
            "target": shown.to(torch.uint8) * OBJECT,
            "background": back["name"],
            "class_id": front["class_id"],
            "ilsvrc": front["ilsvrc"],
            "name": front["name"],
            "target_id": front["target_id"],
            "present": bool(shown.any()),
        }
        return made

    def _background(self, sample: Sample, index: int) -> torch.Tensor:
        image = sample["image"].permute(1, 2, 0).numpy()
        target = sample["target"].numpy()
        noise = np.random.Generator(np.random.Philox([self.seed, index]))
        if sample["present"]:
            made = background(image, target, self.fill, noise)
        else:
            beside = (target == LEFT_OUT)[..., None]
            made = np.where(beside, filling(image.shape, self.fill, noise), image)
        return torch.from_numpy(np.ascontiguousarray(made.transpose(2, 0, 1)))

    def named_pairs(self) -> list[str]:
        """Says the pairs by name: the same wherever the data set lies.

        Returns:
            M texts `<object> <background>`, in the order of `pairs`.
        """
        names = self.dataset.names
        return [f"{names[first]} {names[second]}" for first, second in self.pairs.tolist()]

    def save(self, path: str | Path) -> str:
        """Writes the pairs by name, one a line, to a file that `load` reads.

        Args:
            path: The text file; an old one is replaced.

        Returns:
            SHA-256 of the lines, each ended by a newline.
        """
        data = self.dataset
        return write_list(Path(path).expanduser(), self.named_pairs(), data.tier, data.split)

    @classmethod
    def load(
        cls,
        path: str | Path,
        dataset: ImageNetS[Sample],
        fill: BackgroundFill = "mean",
        seed: int = 0,
    ) -> Swap:
        """Reads the pairs of a file that `save` wrote.

        Args:
            path: The file.
            dataset: The split whose images are paired; see `swap`.
            fill: What stands where the background's own object was; the file does not say it.
            seed: Of noise; the file does not say it either.

        Returns:
            The pairs, in the order of the file.

        Raises:
            MissingError: There is no such file, or it names images that are not in the data set.
            CorruptError: It is no such file, or not as it was written.
            UsageError: It is of another tier or split, or the data set is not fit, see `swap`; or
                there is no such fill.
        """
        file = Path(path).expanduser()
        pairs = [line.split(" ") for line in read_names(file, dataset.tier, dataset.split)]
        if any(len(pair) != 2 for pair in pairs):
            raise CorruptError(f"{file}: not a list of pairs, which `Swap.save` writes.")
        rows = rows_of(file, [name for pair in pairs for name in pair], dataset.names)
        return cls(dataset, rows.reshape(-1, 2), fill, seed)


def swap(dataset: ImageNetS[Sample], seed: int = 0, fill: BackgroundFill = "mean") -> Swap:
    """Draws a background for every image that shows its object.

    The background is another image of the data set, drawn uniformly from those that do not have the
    object's class, neither as their label nor anywhere in their mask (of the whole image, whatever
    the view shows). The draw depends on the seed and the data set alone, and is the same on every
    machine. Reads every mask: some seconds for 12,419.

    Args:
        dataset: With target="label", and a transform that gives all images one size, such as a
            view.
        seed: Any whole number from 0.
        fill: What stands where the background's own object was, and where its mask is ignored.

    Returns:
        A pair for every image that shows its object, in their order.

    Raises:
        UsageError: The data set has no targets; or a class is in every image.
        CorruptError: A mask is missing or damaged; names the sample.
    """
    _check(dataset)
    labels = dataset.target_ids.astype(np.int64)
    holds = _holds(dataset)
    images = np.arange(len(dataset))
    shown = (labels > 0) & holds[labels, images]
    labelled = labels > 0
    holds[labels[labelled], images[labelled]] = True
    pairs = np.stack([images[shown]] * 2, 1)
    random = np.random.Philox(seed)  # NumPy promises that its raw numbers stay the same
    for label in np.unique(labels[shown]).tolist():
        others = np.flatnonzero(~holds[label])
        if not len(others):
            raise UsageError(
                f"class {label} ({dataset.class_names[label - 1]}) is in every image here: there "
                "is no background without it. Take more classes."
            )
        rows = np.flatnonzero(labels[pairs[:, 0]] == label)
        high = random.random_raw(len(rows)) >> np.uint64(32)
        pairs[rows, 1] = others[(high * np.uint64(len(others)) >> np.uint64(32)).astype(np.int64)]
    return Swap(dataset, pairs, fill, seed)


def _holds(dataset: ImageNetS[Sample]) -> npt.NDArray[np.bool_]:
    """Which classes (K + 1 rows, background first) are in which of the N masks."""
    holds = np.zeros((len(dataset.classes) + 1, len(dataset)), np.bool_)
    with bar("masks", len(dataset), unit="mask") as shown:
        for index in range(len(dataset)):
            ids = np.flatnonzero(np.bincount(dataset.mask(index).reshape(-1)))
            ids = ids[(ids != BACKGROUND) & (ids != IGNORED)]
            if len(ids) and ids[-1] > len(dataset.classes):
                raise CorruptError(
                    f"{dataset.where(index)}: its mask has id {ids[-1]}, the tier "
                    f"{len(dataset.classes)} classes. Take the masks of this tier."
                )
            holds[ids, index] = True
            shown.update()
    return holds


def _check(dataset: ImageNetS[Sample]) -> None:
    if dataset.target is None:
        raise UsageError('swap needs the masks of the labels: open ImageNetS with target="label".')
