"""Heat maps and the targets they belong to, read by threads and brought into one view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from imagenets.core.pool import worker_count
from imagenets.errors import CorruptError, Fault

if TYPE_CHECKING:
    from imagenets.data.dataset.imagenets import ImageNetS
    from imagenets.data.dataset.views import View
    from imagenets.evaluation.localization.map_files import StoredMap

Map = npt.NDArray[Any]

_CHUNK = 64  # images read and measured at a time


@dataclass(frozen=True, slots=True)
class Seen:
    """One image's target and heat map, as the view shows them.

    Attributes:
        name: Of the image.
        target: uint8: 1 the object, 0 not, 255 ignored.
        target_id: Class id of the label.
        heat: Of the target's shape; zeros where there is no object to find. None with a fault.
        fault: What is wrong with the map.
        resized: Whether it came at the image's size, and the view is another.
        unclear: Whether image and view have one size, so that it may be either's.
    """

    name: str
    target: npt.NDArray[np.uint8]
    target_id: int
    heat: Map | None
    fault: Fault | None = None
    resized: bool = False
    unclear: bool = False


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads targets and maps.

    Attributes:
        data: The images, with target="label".
        view: What the method saw; None: whole images.
        maps: The heat maps by name.
        partners: Name of each image -> that of its map; None: it has none.
        at: Whose size the maps have; None: the view's where that fits.
    """

    data: ImageNetS
    view: View | None
    maps: Mapping[str, StoredMap]
    partners: Mapping[str, str | None]
    at: Literal["image", "view"] | None = None

    def chunks(self) -> Iterator[list[Seen]]:
        """All images, some at a time, in the order of the data set."""
        ids, names = self.data.target_ids.tolist(), list(self.data.names)

        def read(index: int) -> Seen:
            return self._read(index, names[index], ids[index])

        with ThreadPoolExecutor(worker_count(None)) as pool:
            for first in range(0, len(names), _CHUNK):
                yield list(pool.map(read, range(first, min(first + _CHUNK, len(names)))))

    def see(self, name: str) -> tuple[npt.NDArray[np.uint8], Seen]:
        """One image by its name: its photograph in the view, and what is measured of it."""
        index = list(self.data.names).index(name)
        photo = self.data[index]["image"].permute(1, 2, 0).numpy()
        shown = photo if self.view is None else self.view.image(photo)
        return shown, self._read(index, name, int(self.data.target_ids[index]))

    def _read(self, index: int, name: str, target_id: int) -> Seen:
        from imagenets.data.dataset.targets import OBJECT, target_of

        ids = self.data.mask(index)
        size = ids.shape[::-1]
        target = target_of(ids, target_id)
        target = target if self.view is None else self.view.target(target)
        if not (target == OBJECT).any():  # is counted, and in no average
            return Seen(name, target, target_id, np.zeros(target.shape, np.float32))
        heat = self._stored(name)
        if isinstance(heat, Fault):
            return Seen(name, target, target_id, None, heat)
        if self.view is not None and heat.shape[::-1] == size and self.at != "view":
            unclear = heat.shape == target.shape and self.at is None
            if not unclear:
                seen = self.view.heat(heat, size, "image")
                return Seen(name, target, target_id, seen, resized=True)
            return Seen(name, target, target_id, heat, unclear=not self._is_whole(size))
        if heat.shape == target.shape and (self.view is None or self.at != "image"):
            return Seen(name, target, target_id, heat)
        return Seen(name, target, target_id, None, self._misfit(name, heat, size))

    def _is_whole(self, size: tuple[int, int]) -> bool:
        """Whether the view shows an image of this size as it is."""
        assert self.view is not None
        frame = self.view.frame(*size)
        return frame.window.full == frame.window.size == size

    def _stored(self, name: str) -> Map | Fault:
        partner = self.partners[name]
        if partner is None:
            return Fault("missing", f"{name} has no heat map")
        stored = self.maps[partner]
        try:
            heat = stored.read()
        except (CorruptError, OSError) as error:
            return Fault("unreadable", str(error))
        if not np.isfinite(heat).all():
            return Fault("not finite", f"{stored.where} holds NaN or infinity")
        return heat

    def _misfit(self, name: str, heat: Map, size: tuple[int, int]) -> Fault:
        where = self.maps[self.partners[name] or name].where
        fits = f"the image is {size[0]} x {size[1]}"
        if self.view is not None:
            fits += f", the view {self.view.size} x {self.view.size}"
        return Fault("size", f"{where} is {heat.shape[1]} x {heat.shape[0]} pixels (W x H), {fits}")
