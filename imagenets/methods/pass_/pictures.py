"""A trained run on any photographs: a mask and an overlay of each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagenets import masks
from imagenets.core.files import write_file, write_json
from imagenets.data.dataset.pictures import Pictures
from imagenets.evaluation import matching
from imagenets.methods.pass_.inference import largest
from imagenets.methods.pass_.mask_files import write_mask
from imagenets.methods.pass_.predict import regions_of, segment
from imagenets.methods.pass_.presets import Config
from imagenets.methods.pass_.sizes import whole
from imagenets.methods.pass_.trained import load_segmentation
from imagenets.palette import overlay, with_key
from imagenets.training.loop import trained_state
from imagenets.training.run import Run

Kind = Literal["jpg", "png"]

KEY = "ids.json"
"""What the ids of the masks stand for: id -> name."""

_QUALITY = 90
"""Of overlays as JPEG."""


def number_of_classes(run: Run[Config]) -> int:
    """K of the network that step 5 left; the prepared set is not looked at.

    Raises:
        MissingError: Step 5 is not finished.
    """
    state = trained_state(run, "finetune", run.config.finetune.epochs)
    return len(state["last_layer.bias"]) - 1


def predict_pictures(
    run: Run[Config],
    pictures: Pictures,
    out: Path,
    *,
    matched: matching.Match | None = None,
    names: Sequence[str] = (),
    kind: Kind = "jpg",
) -> None:
    """Segments photographs at their own sizes, with the numbers of the step `predict`.

    Leaves `masks/<name>.png` (RGB, id = R + 256 * G), `overlays/<name>.jpg` or `.png` (the mask
    over the photograph, with a key of its ids, the largest first) and `ids.json`.

    Args:
        run: A run whose step 5 is finished; its device and workers are used.
        pictures: The photographs.
        out: Where the files go.
        matched: Generated id -> class id, applied to every mask; None: ids stay as generated.
        names: Of the ids 0..K after matching; "category k" without.
        kind: What overlays are stored as.

    Raises:
        MissingError: Step 5 is not finished, or a photograph lacks its regions.
        FaultsError: A photograph cannot be read.
    """
    count = number_of_classes(run)
    network = load_segmentation(run, count)
    labels = list(names) or ["background", *(f"category {i}" for i in range(1, count + 1))]
    regions = regions_of(run.config)
    if regions is not None:
        regions.check(pictures.names)
    crop, batches = whole(network.backbone, run.config, pictures.sizes, largest(run.config))
    for batch in run.batches(pictures, batches, crop, "predict: photographs"):
        indices = dict(zip(batch.names, batch.indices.tolist(), strict=True))
        for name, found in segment(network, batch, pictures, run.config):
            ids = found if matched is None else matching.apply(matched, found)
            write_picture(out, name, pictures.pixels(indices[name]), ids, labels, kind)
    write_names(out, labels)


def write_picture(
    out: Path,
    name: str,
    photo: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.uint16],
    labels: Sequence[str],
    kind: Kind,
) -> None:
    """Writes the mask of a photograph and its overlay, see `predict_pictures`."""
    write_mask(out / "masks" / f"{name}.png", ids)
    path = out / "overlays" / f"{name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, _encoded(_overlay(photo, ids, labels), kind), durable=False)


def write_names(out: Path, labels: Sequence[str]) -> None:
    """Writes what the ids of the masks stand for."""
    write_json(out / KEY, {str(i): label for i, label in enumerate(labels)})


def _overlay(
    photo: npt.NDArray[np.uint8], ids: npt.NDArray[np.integer], labels: Sequence[str]
) -> npt.NDArray[np.uint8]:
    """A photograph with its mask over it, and below a line for each id, the largest area first."""
    found, areas = np.unique(ids[ids != masks.BACKGROUND], return_counts=True)
    order = found[np.argsort(-areas, kind="stable")].tolist()
    return with_key(overlay(photo, ids), {i: labels[i] for i in order})


def _encoded(pixels: npt.NDArray[np.uint8], kind: Kind) -> bytes:
    buffer = io.BytesIO()
    if kind == "png":
        Image.fromarray(pixels).save(buffer, "PNG")
    else:
        Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()
