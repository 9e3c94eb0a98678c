"""Batches of an `ImageNetS`: decoded in parallel, in an order fixed by (seed, epoch) alone."""

from imagenets.data.loader.batch import Batch
from imagenets.data.loader.device import on_device
from imagenets.data.loader.loader import Loader
from imagenets.data.loader.order import by_shape

__all__ = ["Batch", "Loader", "by_shape", "on_device"]
