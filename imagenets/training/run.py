"""A run: where its data lies, where its files go, with which settings and on which device."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from imagenets.core.log import progress
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader import Batch, Loader, on_device
from imagenets.data.loader.crops import Crop
from imagenets.data.loader.readable import Readable
from imagenets.errors import UsageError
from imagenets.training.saving import TEN_MINUTES, SaveEvery

N = TypeVar("N", bound=nn.Module)


class Settings(Protocol):
    """What the settings of every method have."""

    @property
    def seed(self) -> int:
        """Of everything random."""

    @property
    def batch(self) -> int:
        """Images a step."""

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, strings, lists and dicts."""


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Run(Generic[S]):
    """One training run.

    Attributes:
        root: The prepared set.
        tier: Its tier.
        out: The folder of the run.
        config: The settings.
        device: Where the networks run.
        workers: Processes that decode images.
        save_every: How often what is done is saved.
    """

    root: Path
    tier: str
    out: Path
    config: S
    device: torch.device
    workers: int = 0
    save_every: SaveEvery = TEN_MINUTES

    def folder(self, stage: str) -> Path:
        """The folder of one stage, made if need be."""
        folder = self.out / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def dataset(self, split: str, masks: bool = False) -> ImageNetS:
        """One split of the prepared set."""
        return ImageNetS(self.root, split, self.tier, masks=masks)

    def training_loader(self, dataset: ImageNetS, crop: Crop | None = None) -> Loader:
        """Full batches in a new order each epoch.

        Raises:
            UsageError: There are fewer images than a batch has.
        """
        if len(dataset) < self.config.batch:
            raise UsageError(
                f"the split {dataset.split} has {len(dataset)} images, fewer than one batch of "
                f"{self.config.batch}: choose a smaller --batch-size."
            )
        return Loader(
            dataset,
            self.config.batch,
            crop=crop,
            seed=self.config.seed,
            shuffle=True,
            drop_last=True,
            workers=self.workers,
        )

    def batches(
        self,
        dataset: Readable,
        indices: Sequence[npt.NDArray[np.int64]],
        crop: Crop,
        what: str,
    ) -> Iterator[Batch]:
        """Reads given batches, or none, on the device, under a progress bar; for inference."""
        if not len(indices):  # a loader refuses that: nothing is left of an interrupted stage
            return iter(())
        loader = Loader(dataset, batches=indices, crop=crop, workers=self.workers)
        return progress(on_device(loader, self.device), what, len(loader))

    @property
    def image_dtype(self) -> torch.dtype:
        """What images are made in, for a network under `autocast`: it rounds them so anyway."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def autocast(self) -> AbstractContextManager[Any]:
        """Half precision on a GPU, where it is faster; nothing on the CPU."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def place(self, network: N) -> N:
        """Moves a network to the device, in the layout that its convolutions are fastest in."""
        network = network.to(self.device)
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return network


def pick_device(name: str) -> torch.device:
    """Turns `auto`, `cpu`, `cuda` or `cuda:1` into a device that is there.

    Raises:
        UsageError: There is no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name}: not usable here ({reason}). Try auto.") from error
    return device


def seeded(*keys: int | str) -> torch.Generator:
    """A generator of its own for each set of keys, so that nothing depends on what ran before."""
    return torch.Generator().manual_seed(zlib.crc32(repr(keys).encode()))
