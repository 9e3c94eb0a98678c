"""Batches on a GPU: copied from pinned memory on a stream of their own, one ahead of their use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

import torch

from imagenets.data.loader.batch import Batch
from imagenets.pixels.ragged import RaggedBatch


def on_device(batches: Iterable[Batch], device: torch.device | str) -> Iterator[Batch]:
    """Gives the same batches on a device; on CUDA the next one is copied while this one is used.

    Args:
        batches: A `Loader`, or any batches.
        device: Where the tensors go.

    Yields:
        The batches, usable on the current stream.
    """
    place = torch.device(device)
    if place.type != "cuda":
        for batch in batches:
            yield batch.to(place)
        return
    side = torch.cuda.Stream(place)
    ahead: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(side):
            moved = batch.pin_memory().to(place, non_blocking=True)
            copied = side.record_event()
        if ahead is not None:
            yield _ready(*ahead, place)
        ahead = (moved, copied)
    if ahead is not None:
        yield _ready(*ahead, place)


def _ready(batch: Batch, copied: torch.cuda.Event, place: torch.device) -> Batch:
    """Makes the current stream wait for the copy, and holds the memory until it has used it."""
    current = torch.cuda.current_stream(place)
    current.wait_event(copied)
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, RaggedBatch):
            value.data.record_stream(current)
        elif isinstance(value, torch.Tensor):
            value.record_stream(current)
    return batch
