"""A fine-tuned network on any photographs: a mask and an overlay of each."""

from __future__ import annotations

from pathlib import Path

from imagenets.data.dataset.pictures import Pictures
from imagenets.methods.pass_.pictures import Kind, write_names, write_picture
from imagenets.methods.pass_.score import class_names
from imagenets.methods.semi.run import SemiRun, load_network, number_of_classes
from imagenets.methods.semi.score import SCORES
from imagenets.methods.semi.segment import segment, shared_out


def predict_pictures(run: SemiRun, pictures: Pictures, out: Path, kind: Kind = "jpg") -> None:
    """Segments photographs at their own sizes; see `pass_.pictures.predict_pictures`.

    Args:
        run: A run that is trained; its device and workers are used.
        pictures: The photographs.
        out: Where the files go.
        kind: What overlays are stored as.

    Raises:
        MissingError: The run is not trained.
        FaultsError: A photograph cannot be read.
    """
    count = number_of_classes(run)
    network = load_network(run, count)
    scored = (run.out / SCORES["validation"]).is_file()
    labels = list(class_names(run.out)) if scored else []
    labels = labels or ["background", *(f"class {i}" for i in range(1, count + 1))]
    crop, batches = shared_out(run, network, pictures.sizes)
    for batch in run.batches(pictures, batches, crop, "predict: photographs"):
        for index, name, ids in segment(network, batch, pictures):
            write_picture(out, name, pictures.pixels(index), ids, labels, kind)
    write_names(out, labels)
