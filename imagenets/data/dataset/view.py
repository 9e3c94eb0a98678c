"""A view in which images, masks, targets and heat maps are evaluated: one object for all four.

A view is resizing and then cutting or padding, as people write it with torchvision or Pillow, and
no pixel of it depends on chance. Images are resized antialiased, as Pillow's `Image.resize` (see
`imagenets/pixels/resample.py`), heat maps the same way in float32. Masks and targets take the pixel
of the original that the centre of a pixel of the view falls into, as Pillow's NEAREST does: no new
ids arise. (torchvision's "nearest" for tensors takes another pixel, "nearest-exact" the same one.)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from imagenets.data.dataset.sample import Sample
from imagenets.data.dataset.targets import LEFT_OUT, OBJECT
from imagenets.data.dataset.tv_tensors import wrapped
from imagenets.errors import UsageError
from imagenets.masks import IGNORED
from imagenets.pixels.resample import (
    Mode,
    Window,
    filter_code,
    nearest_window_into,
    resize_window_into,
)

Array = TypeVar("Array", npt.NDArray[Any], Tensor)

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean colour (0.485, 0.456, 0.406) in bytes: RGB."""

PADDED_HEAT = 0.0
"""Value of a heat map where a view shows no pixel of the image; its target is ignored there."""


@dataclass(frozen=True, slots=True)
class Frame:
    """How one image comes into a view.

    Attributes:
        window: What of the resized image is shown.
        place: Left and top of it in the view; not 0, 0 where the view is padded.
    """

    window: Window
    place: tuple[int, int]

    def inside(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The part of a view, H x W (x C), that shows the image."""
        (left, top), (width, height) = self.place, self.window.size
        return values[top : top + height, left : left + width]


class View(ABC):
    """A square view of size x size pixels; see `views.py` for those there are.

    Give it as `transform=` to `ImageNetS`, as `crop=` to `Loader` (the same bytes, but of the JPEG
    no more is decoded than the view shows), or call it on what you have. `str(view)` is its name.

    Attributes:
        size: Side of the view, pixels.
        mode: The filter for images; both are antialiased, bicubic with a = -0.5 as in Pillow.
    """

    __slots__ = ()

    size: int
    mode: Mode

    output: ClassVar[Literal["uint8"]] = "uint8"
    """What a loader gives for images; `CenterCrop` can give floats of the same pixels."""

    exact: ClassVar[bool] = True
    """A loader decodes as Pillow does."""

    antialias: ClassVar[bool] = True

    def _check(self) -> None:
        """Refuses what would only fail in a worker."""
        filter_code(self.mode)
        if self.size < 1:
            raise UsageError(f"{type(self).__name__}: size is {self.size}, at least 1 is needed.")

    def __str__(self) -> str:
        return self._base() + ("" if self.mode == "bilinear" else f"-{self.mode}")

    def __call__(self, sample: Sample) -> Sample:
        """The view of a sample's image, mask and target; `present` is that of the viewed target.

        Args:
            sample: Of an `ImageNetS`; what else it holds is kept.

        Raises:
            UsageError: It has no image, or mask or target are not of the image's size.
        """
        made = cast(dict[str, Any], sample.copy())
        shape = sample["image"].shape[-2:]
        made["image"] = self.image(sample["image"])
        for name, view in (("mask", self.mask), ("target", self.target)):
            if name in made:
                if made[name].shape != shape:
                    raise UsageError(
                        f"the {name} is {tuple(made[name].shape)}, the image {tuple(shape)} "
                        "(height, width): a view moves them together."
                    )
                made[name] = view(made[name])
        if "target" in made:
            made["present"] = bool((made["target"] == OBJECT).any())
        marked = type(sample["image"]) is not Tensor
        return wrapped(cast(Sample, made)) if marked else cast(Sample, made)

    def image(self, image: Array) -> Array:
        """The view of an image.

        Args:
            image: uint8, a NumPy array H x W x 3 or a tensor 3 x H x W on the CPU.

        Returns:
            The same kind, S x S x 3 or 3 x S x S. Padding has the colour of the view's fill.

        Raises:
            UsageError: It is of another shape or type.
        """
        if isinstance(image, Tensor):
            if image.ndim != 3 or image.shape[0] != 3:
                raise UsageError(f"an image tensor is 3 x H x W, not {tuple(image.shape)}.")
            made = self.image(on_cpu(image).transpose(1, 2, 0))
            return torch.from_numpy(np.ascontiguousarray(made.transpose(2, 0, 1)))
        if image.ndim != 3 or not image.size:
            raise UsageError(f"an image is H x W x 3, not {image.shape}.")
        out = np.empty((self.size, self.size, 3), np.uint8)
        self.image_into(image, (0, 0), self.frame(image.shape[1], image.shape[0]), out)
        return out

    def mask(self, ids: Array) -> Array:
        """The view of a mask, by nearest pixels; padding is ignored, 1000.

        Args:
            ids: H x W of uint16, int16 or int64, an array or a tensor on the CPU.

        Returns:
            S x S of the same kind and type.

        Raises:
            UsageError: It is of another shape or type.
        """
        return self._labels(ids, IGNORED)

    def target(self, target: Array) -> Array:
        """The view of a target, by nearest pixels; padding is ignored, 255.

        Args:
            target: H x W uint8, an array or a tensor on the CPU.

        Returns:
            S x S of the same kind.

        Raises:
            UsageError: It is of another shape or type.
        """
        return self._labels(target, LEFT_OUT)

    def heat(
        self, values: Array, size: tuple[int, int], at: Literal["image", "view"] | None = None
    ) -> Array:
        """The view of a heat map, which comes at the image's size or at the view's.

        Args:
            values: H x W numbers, an array or a tensor on the CPU.
            size: Width and height of the image.
            at: Whose size the map has; None: the view's where it is S x S, also where the image
                has that size.

        Returns:
            float32 S x S of the same kind, resized bilinearly with antialias whatever the view's
            filter is; padding is 0.

        Raises:
            UsageError: The map has another size or is not made of real numbers.
        """
        if isinstance(values, Tensor):
            return torch.from_numpy(self.heat(on_cpu(values), size, at))
        if values.ndim != 2 or values.dtype.kind not in "fiub":
            raise UsageError(
                f"a heat map is H x W real numbers, not {values.dtype} of {values.shape}."
            )
        values = values.astype(np.float32, copy=False)
        if values.shape == (self.size, self.size) and at != "image":
            return values
        if values.shape[::-1] != tuple(size) or at == "view":
            raise UsageError(
                f"a heat map of {values.shape[1]} x {values.shape[0]} pixels fits neither the "
                f"image ({size[0]} x {size[1]}) nor the view {self} ({self.size} x {self.size})."
            )
        frame = self.frame(*size)
        (left, top), (width, height) = frame.window.corner, frame.window.size
        resized = Image.fromarray(values).resize(frame.window.full, Image.Resampling.BILINEAR)
        out = np.full((self.size, self.size), PADDED_HEAT, np.float32)
        frame.inside(out)[:] = np.asarray(resized)[top : top + height, left : left + width]
        return out

    @abstractmethod
    def frame(self, width: int, height: int) -> Frame:
        """How an image of this size comes into the view."""

    @abstractmethod
    def _base(self) -> str:
        """The name, without the filter."""

    def _beside(self) -> tuple[int, int, int]:
        """The colour beside the image, where a view pads."""
        return MEAN_COLOR

    def image_into(
        self,
        part: npt.NDArray[np.uint8],
        place: tuple[int, int],
        frame: Frame,
        out: npt.NDArray[np.uint8],
        antialias: bool = True,
    ) -> None:
        """Writes the view of an image of which a part is at hand.

        Args:
            part: h x w x 3, with at least the pixels that `frame.window.needs` names.
            place: Left and top of the part in the image.
            frame: Of the image.
            out: S x S x 3, contiguous; written.
            antialias: Whether the filter widens where it shrinks.
        """
        if frame.window.size == (self.size, self.size):
            resize_window_into(part, place, frame.window, out, self.mode, antialias)
            return
        inner = np.empty((*frame.window.size[::-1], 3), np.uint8)
        resize_window_into(part, place, frame.window, inner, self.mode, antialias)
        out[:] = self._beside()
        frame.inside(out)[:] = inner

    def labels_into(self, ids: npt.NDArray[Any], padding: int, out: npt.NDArray[Any]) -> None:
        """Writes the view of a mask or target.

        Args:
            ids: H x W.
            padding: What stands beside the image.
            out: S x S of the same type, contiguous; written.
        """
        frame = self.frame(ids.shape[1], ids.shape[0])
        if frame.window.size == (self.size, self.size):
            nearest_window_into(ids, frame.window, out)
            return
        inner = np.empty(frame.window.size[::-1], ids.dtype)
        nearest_window_into(ids, frame.window, inner)
        out[:] = padding
        frame.inside(out)[:] = inner

    def _labels(self, ids: Array, padding: int) -> Array:
        if isinstance(ids, Tensor):
            return torch.from_numpy(self._labels(on_cpu(ids), padding))
        if ids.ndim != 2 or not ids.size or (ids.dtype == np.uint8) != (padding == LEFT_OUT):
            kinds = "a target is uint8" if padding == LEFT_OUT else "a mask is uint16 (or int64)"
            raise UsageError(f"{kinds}, H x W, not {ids.dtype} of {ids.shape}.")
        out = np.empty((self.size, self.size), ids.dtype)
        self.labels_into(ids, padding, out)
        return out

    def shape(self, sizes: npt.NDArray[np.integer]) -> tuple[int, int]:
        """Height and width of a loader's batch."""
        return self.size, self.size

    def draw(
        self, sizes: npt.NDArray[np.integer], generator: torch.Generator
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """What of each image a loader decodes: the view's pixels and the filter's reach.

        Args:
            sizes: N x 2, width and height.
            generator: Not used: nothing is random about a view.

        Returns:
            N x 4 boxes (left, top, width, height), and N times False, as nothing is mirrored.
        """
        needs = [self.frame(*size).window.needs(self.mode) for size in sizes.tolist()]
        return np.array(needs, np.int64).reshape(-1, 4), np.zeros(len(sizes), np.bool_)


def on_cpu(tensor: Tensor) -> npt.NDArray[Any]:
    """A tensor as an array that shares its memory.

    Raises:
        UsageError: It is on another device.
    """
    if tensor.device.type != "cpu":
        raise UsageError(f"this works on the CPU, the tensor is on {tensor.device}: use .cpu().")
    return tensor.detach().numpy()
