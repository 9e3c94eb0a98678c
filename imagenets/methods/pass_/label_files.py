"""The pseudo labels of a run: where their files lie, and their labels at the size of each image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagenets.data.dataset.split import Split
from imagenets.errors import CorruptError, MissingError
from imagenets.methods.pass_.label_format import AGAIN, Label, LabelReader, key_text
from imagenets.training.ledger import Key, Ledger

STAGE = "pseudo"
"""The stage that writes them, and its folder."""

THRESHOLD = "threshold.json"
"""Beside them: the threshold that is best on validation, as `best`."""


def label_path(folder: Path, split: str, number: int) -> Path:
    """Says where the labels of a split lie, file by file.

    Args:
        folder: Of the labels.
        split: Name of the split.
        number: Of the file, from 0.

    Returns:
        `folder/<split>-<number>.h5`, the number in five digits.
    """
    return folder / f"{split}-{number:05d}.h5"


def key_of(out: Path) -> Key:
    """Says what the labels of a run are made from.

    Args:
        out: The folder of the run.

    Returns:
        The ledger's key of the step; empty where the ledger has none.

    Raises:
        CorruptError: The ledger cannot be read.
    """
    entry = Ledger(out)[STAGE]
    return entry.key if entry else {}


def open_labels(out: Path, images: Split, threshold: float | None = None) -> PseudoLabels:
    """The labels of the training split of a run.

    Args:
        out: The folder of the run.
        images: That split, or a view of it.
        threshold: Attention below which a pixel is background; the best one by default.

    Returns:
        The labels; a label is read when it is asked for.

    Raises:
        MissingError: There are none.
        CorruptError: They are damaged, or made from something else than the ledger says.
    """
    folder, entry = out / STAGE, Ledger(out)[STAGE]
    if entry is not None and entry.cleaned and not any(folder.glob("*.h5")):
        raise MissingError(
            f"{folder}: the labels were removed by `imagenets clean`. Delete this folder and run "
            "the step 'pseudo' again (--stages pseudo)."
        )
    if threshold is None:
        threshold = best_threshold(out)
    paths = sorted(folder.glob("train-*.h5"))
    return PseudoLabels(paths, images.rows, threshold, key_of(out))


def validation_labels(out: Path, images: Split) -> PseudoLabels | None:
    """Opens the labels of the validation split.

    Args:
        out: The folder of the run.
        images: That split, or a view of it.

    Returns:
        The labels, with a threshold of 0, at which no pixel is background. None where the run did
        not keep them.

    Raises:
        MissingError: An image has no label.
        CorruptError: They are damaged, or made from something else than the ledger says.
    """
    paths = sorted((out / STAGE / "validation").glob("*.h5"))
    return PseudoLabels(paths, images.rows, 0.0, key_of(out)) if paths else None


def best_threshold(out: Path) -> float:
    """Reads the threshold that is best on validation.

    Args:
        out: The folder of the run.

    Returns:
        Attention, 0 to 1, below which a pixel is background.

    Raises:
        MissingError: It was not looked for yet.
    """
    path = out / STAGE / THRESHOLD
    if not path.is_file():
        raise MissingError(f"{path}: not there. Run the step 'pseudo' first (--stages pseudo).")
    return float(json.loads(path.read_text("utf-8"))["best"])


class PseudoLabels:
    """The labels of a split, at the size of each image; give it to `ImageNetS.with_masks`.

    Files are mapped in the process that reads; nothing open is pickled.

    Args:
        paths: The files that hold them.
        rows: N int64, which images of their split must have a label.
        threshold: Attention below which a pixel is background; another one needs no new labels.
        key: What they must be made from; None: whatever it was.

    Attributes:
        paths: As given.
        threshold: As given; may be set anew.

    Raises:
        MissingError: A file is not there, or an image has no label.
        CorruptError: A file is damaged, or made from something else.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        rows: npt.NDArray[np.int64],
        threshold: float,
        key: Key | None = None,
    ) -> None:
        self.paths, self.threshold = paths, threshold
        self._readers = [LabelReader.open(path) for path in paths]
        for reader in self._readers:
            if key is not None and reader.key != key_text(key):
                raise CorruptError(
                    f"{reader.path}: these labels were made from other data, settings or weights. "
                    f"{AGAIN}"
                )
        tables = [reader.table["row"] for reader in self._readers]
        length = 1 + max(int(table.max(initial=-1)) for table in (*tables, rows))
        self._files = np.full(length, -1, np.int32)
        self._places = np.zeros(length, np.int32)
        for number, table in enumerate(tables):
            self._files[table], self._places[table] = number, np.arange(len(table))
        lost = int((self._files[rows] < 0).sum())
        if lost:
            where = paths[0].parent if paths else "the run"
            raise MissingError(
                f"{where}: {lost:,} of {len(rows):,} images have no label. Run the step 'pseudo' "
                "first (--stages pseudo)."
            )

    def read(self, row: int, name: str) -> npt.NDArray[np.uint16]:
        """The label of an image at its size, H x W ids 0..K.

        Args:
            row: Of the image in its split.
            name: Its name, to be sure.

        Returns:
            H x W uint16 ids, 0 background, 1..K generated categories.

        Raises:
            CorruptError: It is damaged, or of another image.
        """
        reader, place = self._place(row, name)
        return reader.label(place, self.threshold)

    def identity(self, names: Iterable[str]) -> str:
        """Tells the labels from others; see `Split.with_masks`.

        Args:
            names: Of the samples; the labels of all are made from the same.

        Returns:
            A digest of what they were made from, and the threshold.
        """
        keys = sorted({reader.key for reader in self._readers})
        return f"{hashlib.sha256(''.join(keys).encode()).hexdigest()[:16]} at {self.threshold}"

    def grid(self, row: int, name: str) -> Label:
        """What is kept of an image, on the grid, whatever the threshold.

        Args:
            row: Of the image in its split.
            name: Its name, to be sure.

        Returns:
            The image's own size, and its ids and attention, both h x w.

        Raises:
            CorruptError: It is damaged, or of another image.
        """
        reader, place = self._place(row, name)
        record = reader.table[place]
        size = int(record["width"]), int(record["height"])
        return Label(row, name, size, *reader.grids(place))

    def _place(self, row: int, name: str) -> tuple[LabelReader, int]:
        reader, place = self._readers[int(self._files[row])], int(self._places[row])
        if reader.name(place) != name:
            raise CorruptError(
                f"{reader.path}: has the label of {reader.name(place)} where that of {name} must "
                f"be. {AGAIN}"
            )
        return reader, place
