"""The work of a worker: reads, decodes and cuts a part of a batch into a buffer."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imagenets import masks
from imagenets.data.dataset.store import REPLACE, UNLIKE
from imagenets.data.loader.buffers import AttachedBuffers, Place
from imagenets.data.loader.crops import Crop, view_of
from imagenets.data.loader.layout import Layout
from imagenets.errors import CorruptError, ImageNetSError
from imagenets.pixels.image import decode_into
from imagenets.pixels.jpeg import Scratch, decode_crop
from imagenets.pixels.resample import nearest_crop_into, normalised_into, resize_crop_into

if TYPE_CHECKING:
    from imagenets.data.dataset.sample import Encoded
    from imagenets.data.loader.readable import Readable


@dataclass(frozen=True, slots=True)
class Task:
    """A part of a batch: which batch, where to write, and what."""

    batch: int
    place: Place
    layout: Layout


@dataclass(frozen=True, slots=True)
class Done:
    """A part is written, or this is why not."""

    batch: int
    error: Exception | None = None


class Decoder:
    """Fills buffers with samples of a data set. Each thread and process has its own."""

    def __init__(self, dataset: Readable, crop: Crop | None) -> None:
        self.dataset = dataset
        self.crop = crop
        self._buffers = AttachedBuffers()
        self._scratch = Scratch()
        self._view = view_of(crop)
        if crop is not None and crop.output == "float32":
            std = np.array(crop.std, np.float32)
            self._scale = (1 / (255 * std)).astype(np.float32)
            self._bias = -np.array(crop.mean, np.float32) / std

    def __reduce__(self) -> tuple[Any, ...]:
        return Decoder, (self.dataset, self.crop)  # what is mapped here is not mapped there

    def __call__(self, task: Task) -> Done:
        """Writes a part of a batch; errors come back as values, our own as they are."""
        try:
            memory = self._buffers(task.place)
            for i in range(len(task.layout.rows)):
                self._fill(task.layout, i, memory)
        except ImageNetSError as error:
            return Done(task.batch, error)
        except Exception:  # noqa: BLE001 - the consumer raises it
            return Done(
                task.batch, RuntimeError(f"in a loader's worker:\n{traceback.format_exc()}")
            )
        return Done(task.batch)

    def _fill(self, layout: Layout, i: int, memory: npt.NDArray[np.uint8]) -> None:
        row = int(layout.rows[i])
        encoded = self.dataset.encoded(row)
        width, height = int(layout.sizes[i, 0]), int(layout.sizes[i, 1])
        try:
            at = int(layout.images[i])
            if layout.shape is None:
                out = memory[at : at + height * width * 3].reshape(height, width, 3)
                decode_into(encoded.image, out)
            else:
                self._crop(encoded, layout, i, memory[at : at + self._bytes(layout.shape)])
        except ValueError as error:
            raise CorruptError(
                f"{self.dataset.where(row)}: not a readable image ({error}). {REPLACE}"
            ) from error
        if layout.masks is not None:
            self._mask(encoded.mask, row, (width, height), layout, i, memory)

    def _bytes(self, shape: tuple[int, int]) -> int:
        """Bytes of a crop."""
        return shape[0] * shape[1] * (12 if self.crop and self.crop.output == "float32" else 3)

    def _crop(self, encoded: Encoded, layout: Layout, i: int, out: npt.NDArray[np.uint8]) -> None:
        """Decodes what a crop needs of an image and writes it, as bytes or normalised."""
        crop, boxes, scratch = self.crop, layout.boxes, self._scratch
        assert crop is not None
        assert boxes is not None
        box, shape = boxes[i].tolist(), (*(layout.shape or ()), 3)
        pixels = decode_crop(
            encoded.image, encoded.segments, box, exact=crop.exact, scratch=scratch
        )
        if crop.output == "uint8":
            self._resize(pixels, layout, i, out.reshape(shape))
        else:
            bytes_ = np.empty(shape, np.uint8)
            self._resize(pixels, layout, i, bytes_)
            normalised_into(bytes_, out.view(np.float32).reshape(shape), self._scale, self._bias)

    def _resize(
        self, pixels: npt.NDArray[np.uint8], layout: Layout, i: int, out: npt.NDArray[np.uint8]
    ) -> None:
        crop, view, boxes, flips = self.crop, self._view, layout.boxes, layout.flips
        assert crop is not None
        assert boxes is not None
        assert flips is not None
        left, top, width, height = boxes[i].tolist()
        if view is None:
            whole = (0, 0, width, height)
            resize_crop_into(pixels, whole, bool(flips[i]), out, antialias=crop.antialias)
        else:
            frame = view.frame(*layout.sizes[i].tolist())
            view.image_into(pixels, (left, top), frame, out, crop.antialias)

    def _mask(
        self,
        data: bytes | memoryview | masks.Ids | None,
        row: int,
        size: tuple[int, int],
        layout: Layout,
        i: int,
        memory: npt.NDArray[np.uint8],
    ) -> None:
        where = self.dataset.where(row)
        if data is None:
            raise CorruptError(f"{where}: has no mask. Prepare it again.")
        if not isinstance(data, np.ndarray):
            data = masks.decode(data, f"{where}: mask")
        ids = data.view(np.int16)
        if ids.shape != size[::-1]:
            raise CorruptError(
                f"{where}: the mask is {ids.shape[1]} x {ids.shape[0]}, the image "
                f"{size[0]} x {size[1]}. {UNLIKE}"
            )
        assert layout.masks is not None
        at = int(layout.masks[i])
        if layout.boxes is None or layout.flips is None or layout.shape is None:
            memory[at : at + 2 * ids.size].view(np.int16).reshape(ids.shape)[:] = ids
        else:
            high, wide = layout.shape
            out = memory[at : at + 2 * high * wide].view(np.int16).reshape(high, wide)
            if self._view is not None:
                self._view.labels_into(ids, masks.IGNORED, out)
                return
            left, top, width, height = layout.boxes[i].tolist()
            nearest_crop_into(ids, (left, top, width, height), bool(layout.flips[i]), out)
