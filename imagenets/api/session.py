"""What every job has around it: messages and progress on stderr, workers that end with it."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from imagenets import paths
from imagenets.core.distributed import is_first

if TYPE_CHECKING:
    import torch


@contextmanager
def session() -> Iterator[None]:
    """Shows what is done as the command line does, and ends worker processes with the block.

    Who has set up logging already, for `imagenets` or for all, keeps it as it is.
    """
    from imagenets.core import log
    from imagenets.core.pool import dismiss

    if not logging.getLogger(log.ROOT).hasHandlers():
        log.setup()
    try:
        yield
    finally:
        dismiss()


@contextmanager
def ranks(device: torch.device | None = None) -> Iterator[None]:
    """Lets a block run as one of the ranks of torchrun, if it is; the first one alone tells.

    Args:
        device: Where this rank computes.
    """
    from imagenets.core import launch, log

    with launch.joined(device):
        if not is_first():
            log.show_warnings_alone()
        yield


def root_folder(root: str | Path | None) -> Path:
    """The folder of the prepared set; None: $IMAGENETS_ROOT, else ./imagenet-s."""
    return paths.default_root() if root is None else Path(root).expanduser()


def absolute(path: str | Path) -> Path:
    """A path that stays right in other processes; links are kept as they are."""
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() follows links
