"""A `LightningDataModule`: loaders of training and validation as a `Trainer` of Lightning asks.

Lightning puts no sampler of its own into them: a `Loader` shares each epoch among the ranks, and
checkpoints that Lightning writes while it trains go on with the next batch, in the middle of an
epoch as well. Lightning brings batches to the device by `Batch.to`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader import Loader
from imagenets.data.loader.crops import Crop, RandomResizedCrop
from imagenets.errors import DependencyError, UsageError

try:
    import lightning
except ImportError as error:
    raise DependencyError(
        f"Lightning cannot be imported ({error}). pip install 'imagenets[lightning]'"
    ) from error


class ImageNetSDataModule(lightning.LightningDataModule):
    """Training and validation batches of a prepared set, as `Batch` of the package.

    Each rank has its part of every step. Training batches are full; order and crops depend on
    `seed` and the epoch alone. Validation has every image once: samples that only fill up the last
    step of a rank are marked in `Batch.repeated`, to be left out of scores.

    Example: `trainer.fit(model, ImageNetSDataModule("imagenet-s", 50, batch_size=32))`.

    Attributes:
        train: The training split, after `setup`.
        validation: The validation split, after `setup`.
    """

    train: ImageNetS
    validation: ImageNetS

    def __init__(
        self,
        root: str | Path,
        classes: int | str = 919,
        *,
        train_split: Literal["train", "train-semi", "train-full"] = "train-semi",
        batch_size: int = 32,
        crop: Crop | None = None,
        validation_crop: Crop | None = None,
        validation_batch_size: int | None = None,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        """Only remembers what is asked for; `setup` opens the set on every rank.

        Args:
            root: The prepared set.
            classes: The tier.
            train_split: "train-semi", whose images have masks, "train" or "train-full".
            batch_size: Images a step, on each rank.
            crop: Of training images; None: `RandomResizedCrop(224)`, bytes.
            validation_crop: Of validation images; None gives whole images, which the benchmark
                scores.
            validation_batch_size: Images a step, on each rank; None: `batch_size`.
            workers: Processes that decode, of each loader.
            seed: Of order and crops.

        Raises:
            UsageError: There is no such split to train on, or a batch has no images.
        """
        super().__init__()
        if train_split not in ("train", "train-semi", "train-full"):
            raise UsageError(
                f"train_split {train_split!r}: choose train, train-semi or train-full."
            )
        self._place = (root, classes)
        self._train_split = train_split
        own = batch_size if validation_batch_size is None else validation_batch_size
        for name, size in (("batch_size", batch_size), ("validation_batch_size", own)):
            if size < 1:
                raise UsageError(f"{name} {size}: at least 1 is needed.")
        self._sizes = (batch_size, own)
        self._crops = (crop or RandomResizedCrop(224), validation_crop)
        self._workers, self._seed = workers, seed

    @property
    def num_classes(self) -> int:
        """K, of the ids 0..K of masks; after `setup`."""
        return len(self.validation.classes)

    def setup(self, stage: str) -> None:
        """Opens the splits that a stage reads.

        Args:
            stage: "fit", "validate", "test" or "predict", as the trainer says.

        Raises:
            MissingError: The set is not prepared here.
        """
        root, classes = self._place
        if stage == "fit":
            self.train = ImageNetS(root, self._train_split, classes)
        self.validation = ImageNetS(root, "validation", classes)

    def train_dataloader(self) -> Loader:
        """Makes the loader of the training split.

        Returns:
            Full batches in a new order each epoch.

        Raises:
            UsageError: The split does not fill one batch on each rank; Lightning would go on, and
                train nothing.
        """
        loader = self._loader(self.train, 0, shuffle=True, drop_last=True)
        if not len(loader):
            raise UsageError(
                f"batch_size {self._sizes[0]}: {self._train_split} has {len(self.train):,} images, "
                "which do not fill one batch on each rank. Give a smaller one."
            )
        if self.trainer is not None:
            loader.set_epoch(self.trainer.current_epoch)
        return loader

    def val_dataloader(self) -> Loader:
        """Makes the loader of the validation split.

        Returns:
            Every image, in the order of the set.
        """
        return self._loader(self.validation, 1)

    def test_dataloader(self) -> Loader:
        """Makes the loader that `Trainer.test` reads.

        Returns:
            The validation images, as no masks of the test images were released.
        """
        return self.val_dataloader()

    def predict_dataloader(self) -> Loader:
        """Makes the loader that `Trainer.predict` reads.

        Returns:
            The validation images, to make masks of.
        """
        return self.val_dataloader()

    def _loader(self, data: ImageNetS, which: int, **more: Any) -> Loader:
        trainer = self.trainer
        return Loader(
            data,
            self._sizes[which],
            crop=self._crops[which],
            seed=self._seed,
            workers=self._workers,
            rank=None if trainer is None else trainer.global_rank,
            world=None if trainer is None else trainer.world_size,
            **more,
        )
