"""Heat maps that see nothing, and the one that sees all: what every table should show."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from imagenets.errors import UsageError

Map = npt.NDArray[np.float32]

BASELINES = {
    "constant": "constant",
    "random": "uniform random",
    "center_gaussian": "Gaussian at the centre",
    "ground_truth": "the target itself",
}
"""Names of the functions of this module -> what they are."""


def constant(shape: tuple[int, int]) -> Map:
    """A map of ones: energy then is the share of the object, as in other measures.

    Args:
        shape: Height and width in pixels.
    """
    return np.ones(shape, np.float32)


def random(shape: tuple[int, int], name: str = "", seed: int = 0) -> Map:
    """Uniform random values in 0..1, always the same for an image's name and a seed.

    Args:
        shape: Height and width in pixels.
        name: Of the image.
        seed: Another seed gives other maps.
    """
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))
    return rng.random(shape, np.float32)


def center_gaussian(shape: tuple[int, int], sigma: float = 0.25) -> Map:
    """A Gaussian around the centre of the image, 1 at its top.

    Args:
        shape: Height and width in pixels.
        sigma: Standard deviation as a share of the height, and of the width.

    Raises:
        UsageError: The deviation is not above 0.
    """
    if not sigma > 0:
        raise UsageError(f"a deviation of {sigma}: it must be above 0, as a share of the sides.")

    def along(side: int) -> npt.NDArray[np.float64]:
        middle = (np.arange(side) + 0.5 - side / 2) / (sigma * side)
        result: npt.NDArray[np.float64] = np.exp(-0.5 * middle**2)
        return result

    return (along(shape[0])[:, None] * along(shape[1])).astype(np.float32)


def ground_truth(target: Any) -> Map:
    """The object as a map: 1 where the target is 1, 0 elsewhere.

    Args:
        target: H x W, or any shape: 1 the object, 0 not, 255 ignored.
    """
    result: Map = (np.asarray(target) == 1).astype(np.float32)
    return result
