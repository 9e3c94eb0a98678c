"""A run: where its data lies, where its files go, with which settings and on which device."""

from __future__ import annotations

import os
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

from imagenets.core import distributed
from imagenets.core.files import as_folders
from imagenets.core.launch import launched
from imagenets.core.log import progress
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.data.loader import Batch, Loader, on_device
from imagenets.data.loader.crops import Crop
from imagenets.data.loader.readable import Readable
from imagenets.errors import UsageError
from imagenets.training.saving import TEN_MINUTES, SaveEvery
from imagenets.training.watch import ALONE, Watch

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
        """Plain numbers, strings, lists and dicts.

        Returns:
            The settings by name; `json.dumps` takes them as they are.
        """


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Run(Generic[S]):
    """One training run.

    Folders may be given as text.

    Attributes:
        root: The prepared set.
        tier: Its tier.
        out: The folder of the run.
        config: The settings.
        device: Where the networks run.
        workers: Processes that decode images.
        save_every: How often what is done is saved.
        watch: Who is told how training goes.
    """

    root: Path
    tier: str
    out: Path
    config: S
    device: torch.device
    workers: int = 0
    save_every: SaveEvery = TEN_MINUTES
    watch: Watch = ALONE

    def __post_init__(self) -> None:
        as_folders(self, "root", "out")

    def folder(self, stage: str) -> Path:
        """The folder of one stage, made if need be.

        Args:
            stage: Name of the stage, as in the registry of its method.

        Returns:
            `out/<stage>`, which exists.
        """
        folder = self.out / stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def dataset(self, split: str, masks: bool = False) -> ImageNetS:
        """Opens one split of the prepared set.

        Args:
            split: "train", "train-semi", "validation", "test" or "train-full".
            masks: Whether samples hold their masks, where the split has some.

        Returns:
            The split, without a transform.

        Raises:
            UsageError: There is no such tier or split.
            MissingError: The split is not prepared.
            CorruptError: A file of the set is damaged.
        """
        return ImageNetS(self.root, split, self.tier, masks=masks)

    def training_loader(self, dataset: ImageNetS, crop: Crop | None = None) -> Loader:
        """Makes a loader of full batches, in a new order each epoch; of each, this rank's part.

        Args:
            dataset: The split to train on, without a transform.
            crop: What to cut out of each image; None: whole images.

        Returns:
            A loader of `batch` / ranks samples a batch; a last batch that is not full is left out.

        Raises:
            UsageError: There are fewer images than a batch has, or the ranks cannot share it.
        """
        distributed.on_first(lambda: self._check_batch(dataset))
        return Loader(
            dataset,
            self.config.batch // distributed.world(),
            crop=crop,
            seed=self.config.seed,
            shuffle=True,
            drop_last=True,
            workers=self.workers,
        )

    def _check_batch(self, dataset: ImageNetS) -> None:
        ranks = distributed.world()
        if self.config.batch % ranks:
            raise UsageError(
                f"a batch of {self.config.batch} images cannot be shared by {ranks} ranks: start a "
                "number of ranks that divides it, or give another --batch-size."
            )
        if len(dataset) < self.config.batch:
            raise UsageError(
                f"the split {dataset.split} has {len(dataset)} images, fewer than one batch of "
                f"{self.config.batch}: choose a smaller --batch-size."
            )

    def batches(
        self,
        dataset: Readable,
        indices: Sequence[npt.NDArray[np.int64]],
        crop: Crop,
        what: str,
        shared: bool = True,
    ) -> Iterator[Batch]:
        """Reads given batches, or none, on the device, under a progress bar; for inference.

        Args:
            dataset: Whose samples they are.
            indices: For each batch N int64 indices into the data set.
            crop: What to cut out of each image.
            what: Text before the bar.
            shared: Whether ranks share the batches out, each every `world`-th; else they are this
                rank's own.

        Returns:
            This rank's batches in their order, on the device of the run.

        Raises:
            ImageNetSError: While iterating: a sample cannot be read, which the message names.
        """
        own = distributed.own_items(indices) if shared else indices
        if not len(own):  # a loader refuses that: nothing is left of an interrupted stage
            return iter(())
        loader = Loader(dataset, batches=own, crop=crop, workers=self.workers, rank=0, world=1)
        return progress(on_device(loader, self.device), what, len(loader))

    @property
    def image_dtype(self) -> torch.dtype:
        """What images are made in, for a network under `autocast`: it rounds them so anyway."""
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def autocast(self) -> AbstractContextManager[Any]:
        """Half precision (bfloat16) on a GPU, where it is faster; nothing on the CPU.

        Returns:
            A context manager; enter it for a step's forward pass.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def place(self, network: N) -> N:
        """Moves a network to the device, in the layout that its convolutions are fastest in.

        Args:
            network: Changed in place: its weights of four dimensions become channels-last.

        Returns:
            The same network.
        """
        network = network.to(self.device)
        for parameter in network.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        return network


def pick_device(name: str) -> torch.device:
    """Turns `auto`, `cpu`, `cuda` or `cuda:1` into a device that is there.

    A GPU becomes the current one, on which kernels are started. Of several ranks each gets a GPU of
    its own, by its number on the machine.

    Args:
        name: What to look for; "auto" is a GPU where PyTorch finds one, else the CPU.

    Returns:
        The device; a GPU with its number.

    Raises:
        UsageError: There is no such device on this machine, or not one for every rank.
    """
    launch = launched()
    local = launch.local_rank if launch and launch.world > 1 else None
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":
            device = _own_gpu(device, local)
            torch.cuda.set_device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name}: not usable here ({reason}). Try auto.") from error
    return device


def _own_gpu(device: torch.device, local: int | None) -> torch.device:
    """The GPU of a rank; where each rank is shown but one, that one."""
    if local is None:
        alone = torch.cuda.current_device() if device.index is None else device.index
        return torch.device("cuda", alone)
    count = torch.cuda.device_count()
    if device.index is not None:
        raise UsageError(f"--device {device}: ranks take a GPU each. Give cuda.")
    shown_one = count == 1 and "CUDA_VISIBLE_DEVICES" in os.environ
    if local >= count and not shown_one:
        raise UsageError(
            f"--device cuda: there are {count} GPUs for ranks 0 to {local} of this machine. Start "
            "as many ranks as there are GPUs (--nproc-per-node)."
        )
    return torch.device("cuda", 0 if shown_one else local)


def seeded(*keys: int | str) -> torch.Generator:
    """Makes a generator of its own for each set of keys, whatever ran before.

    Args:
        *keys: What is drawn for, such as the seed of the run, the name of the stage and the step.

    Returns:
        A generator on the CPU, the same on every machine, seeded with the CRC-32 of the keys.
    """
    return torch.Generator().manual_seed(zlib.crc32(repr(keys).encode()))
