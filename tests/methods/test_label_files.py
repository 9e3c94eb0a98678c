"""Pseudo labels in files: the labels of before, whatever was interrupted, damaged or mixed up."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from small_run import SMALL, Ends, job, run_stages

from imagenets import ImageNetS, Loader, RandomResizedCrop, masks
from imagenets.cli.main import main
from imagenets.data.loader.crops import ShortSide
from imagenets.data.loader.order import by_shape
from imagenets.errors import CorruptError, MissingError
from imagenets.methods.pass_ import ALL_STAGES, pseudo
from imagenets.methods.pass_.label_files import PseudoLabels, best_threshold, key_of, open_labels
from imagenets.methods.pass_.label_format import Label, labels_in, write_labels
from imagenets.methods.pass_.pseudo import Labeller
from imagenets.training.stage import Stages


def as_before(root: Path, finished: Path, threshold: float) -> dict[str, masks.Ids]:
    """The labels as they were written as PNGs: resized on the device, then compared."""
    run = job(root, finished)
    data = run.dataset("train")
    crop = ShortSide(SMALL.side)
    labeller = Labeller.of(run)
    batches = run.batches(data, by_shape(crop.shapes(data.sizes), SMALL.batch), crop, "labels")
    return {
        name: torch.where(level >= threshold, ids, 0).numpy().astype(np.uint16)
        for batch in batches
        for name, ids, level in labeller(batch, data)
    }


@pytest.mark.parametrize("step", [0, 40, 47, 50, 53, 80])
def test_the_labels_are_those_that_were_pngs(finished: Path, tiny_root: Path, step: int) -> None:
    """At any threshold, from the same files."""
    expected = as_before(tiny_root, finished, step / 100)
    data = ImageNetS(tiny_root, "train", 3)
    labels = data.with_masks(open_labels(finished, data, step / 100))
    assert len(expected) == len(data)
    for index, name in enumerate(data.names):
        assert np.array_equal(labels.mask(index), expected[name])


def test_the_best_threshold_is_taken(finished: Path, tiny_root: Path) -> None:
    best = json.loads((finished / "pseudo" / "threshold.json").read_text())["best"]
    assert (
        open_labels(finished, ImageNetS(tiny_root, "train", 3)).threshold
        == best
        == best_threshold(finished)
    )
    found = [
        open_labels(finished, ImageNetS(tiny_root, "train", 3), at).read(0, first(tiny_root))
        for at in (0.0, 1.0)
    ]
    assert found[0].min() > 0
    assert found[1].max() == 0


def first(root: Path) -> str:
    return ImageNetS(root, "train", 3).names[0]


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, None), (1, "spawn")])
def test_a_loader_reads_them_in_its_workers(
    workers: int, start: str | None, finished: Path, tiny_root: Path
) -> None:
    data = ImageNetS(tiny_root, "train", 3, masks=False)
    labels = open_labels(finished, data)
    loader = Loader(
        data.with_masks(labels).subset([7, 3, 20]),
        3,
        crop=RandomResizedCrop(16),
        workers=workers,
        start_method=start,
    )
    batch = next(iter(loader))
    assert batch.boxes is not None
    assert batch.flips is not None
    for place, index in enumerate((7, 3, 20)):
        left, top, width, height = batch.boxes[place].tolist()
        box = labels.read(index, data.names[index])[top : top + height, left : left + width]
        centres = [((np.arange(16) + 0.5) * side / 16).astype(int) for side in (height, width)]
        seen = box[np.ix_(*centres)]
        seen = seen[:, ::-1] if batch.flips[place] else seen
        assert np.array_equal(batch.crop_masks[place].numpy(), seen)
    loader.close()


def test_what_is_pickled_holds_nothing_open(finished: Path, tiny_root: Path) -> None:
    labels = open_labels(finished, ImageNetS(tiny_root, "train", 3))
    before = labels.read(5, ImageNetS(tiny_root, "train", 3).names[5])
    again = pickle.loads(pickle.dumps(labels))
    assert again._readers[0]._map is None
    assert np.array_equal(again.read(5, ImageNetS(tiny_root, "train", 3).names[5]), before)


def files(out: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted((out / "pseudo").glob("*.h5"))}


@pytest.fixture
def half(
    finished: Path, tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, dict[Path, bytes]]:
    """A run with its labels in several files, and these."""
    out = tmp_path / "run"
    shutil.copytree(finished, out, ignore=shutil.ignore_patterns("pseudo", "finetune", "predict"))
    monkeypatch.setattr(pseudo, "FILE", 7)
    run_stages(job(tiny_root, out), "pseudo")
    return out, files(out)


def test_a_kill_loses_the_file_under_work(
    half: tuple[Path, dict[Path, bytes]], tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = half
    assert len(whole) >= 3
    for path in [*whole, out / "pseudo" / "done.json"]:
        path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(pseudo, "write_labels", Ends(write_labels, 2))
        with pytest.raises(KeyboardInterrupt):
            run_stages(job(tiny_root, out), "pseudo")
    assert files(out) == dict(list(whole.items())[:2])
    rest = Ends(write_labels, len(whole) - 2)
    with monkeypatch.context() as patch:
        patch.setattr(pseudo, "write_labels", rest)
        run_stages(job(tiny_root, out), "pseudo")
    assert rest.calls == len(whole) - 2
    assert files(out) == whole


def test_a_lost_file_is_noticed_and_made_again(
    half: tuple[Path, dict[Path, bytes]], tiny_root: Path
) -> None:
    out, whole = half
    lost = list(whole)[1]
    lost.unlink()
    with pytest.raises(MissingError, match="pseudo: its files are missing"):
        run_stages(job(tiny_root, out), "finetune")
    with pytest.raises(MissingError, match=r"of 24 images have no label.*--stages pseudo"):
        open_labels(out, ImageNetS(tiny_root, "train", 3))
    run_stages(job(tiny_root, out), "pseudo")
    assert files(out) == whole


def test_labels_of_another_making_are_refused(
    half: tuple[Path, dict[Path, bytes]], tiny_root: Path
) -> None:
    out, whole = half
    path = list(whole)[1]
    with h5py.File(path, "r+") as file:
        assert json.loads(file.attrs["key"]) == key_of(out)
        file.attrs["key"] = np.bytes_("{}")
    with pytest.raises(CorruptError, match=rf"{path.name}: these labels were made from other"):
        open_labels(out, ImageNetS(tiny_root, "train", 3))
    (out / "pseudo" / "done.json").unlink()
    run_stages(job(tiny_root, out), "pseudo")
    assert files(out) == whole


def made(path: Path, *, row: int = 0, name: str = "n01/a") -> Label:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 9, (3, 4)).astype(np.uint16)
    label = Label(row, name, (20, 15), ids, rng.random((3, 4)).astype(np.float32))
    write_labels(path, [label], {"code": 1})
    return label


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "train-00000.h5"
    made(path)
    data = bytearray(path.read_bytes())
    with h5py.File(path) as file:
        data[file["attention"].id.get_offset() + 5] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptError, match=r"train-00000\.h5: the label of n01/a is damaged"):
        PseudoLabels([path], np.arange(1), 0.5).read(0, "n01/a")


def test_the_label_of_another_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train-00000.h5"
    made(path)
    with pytest.raises(CorruptError, match="has the label of n01/a where that of n01/b must be"):
        PseudoLabels([path], np.arange(1), 0.5).read(0, "n01/b")
    made(path, row=7)
    with pytest.raises(MissingError, match="1 of 1 images have no label"):
        PseudoLabels([path], np.arange(1), 0.5)


@pytest.mark.parametrize("data", [b"", b"no HDF5", None])
def test_what_is_no_file_of_labels_is_named(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "train-00000.h5"
    made(path)
    path.write_bytes(path.read_bytes()[:-2000] if data is None else data)
    with pytest.raises(CorruptError, match=r"train-00000\.h5: not readable labels.*--stages"):
        PseudoLabels([path], np.arange(1), 0.5)


def test_equal_labels_give_equal_files(tmp_path: Path) -> None:
    made(tmp_path / "a.h5")
    made(tmp_path / "b.h5")
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_any_program_can_read_them(tmp_path: Path) -> None:
    label = made(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        record = file["samples"][0]
        assert record["name"] == b"n01/a"
        assert (record["width"], record["height"]) == (20, 15)
        shape, start = (record["lines"], record["columns"]), int(record["offset"])
        assert np.array_equal(file["ids"][start : start + 12].reshape(shape), label.ids)
        assert np.array_equal(file["attention"][start : start + 12].reshape(shape), label.attention)
    ((name, ids),) = labels_in(tmp_path / "a.h5", 0.5)
    assert name == "n01/a"
    assert ids.shape == (15, 20)


def run_png(root: Path, out: Path) -> None:
    Stages(ALL_STAGES, job(root, out)).run(["pseudo-png"])


def test_pngs_are_written_when_asked_for(finished: Path, tiny_root: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    run_png(tiny_root, out)
    folder = out / "pseudo-png" / "train"
    expected = as_before(tiny_root, finished, best_threshold(finished))
    found = {str(p.relative_to(folder).with_suffix("")): p for p in folder.rglob("*.png")}
    assert found.keys() == expected.keys()
    for name, path in found.items():
        assert np.array_equal(masks.load(path), expected[name])
    times = {path: path.stat().st_mtime_ns for path in found.values()}
    lost = next(iter(found.values()))
    lost.unlink()
    run_png(tiny_root, out)
    assert [path for path in times if path.stat().st_mtime_ns != times[path]] == [lost]


def test_the_option_asks_for_them(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []
    monkeypatch.setattr(Stages, "run", lambda self, names: asked.append(names))
    words = ["train", "--root", str(tiny_root), "--out", str(tmp_path), "--stages", "pseudo"]
    assert main([*words, "--png"]) == 0
    assert main(words) == 0
    assert asked == [["pseudo", "pseudo-png"], ["pseudo"]]


def test_masks_of_any_make_are_scored_like_others(finished: Path, tiny_root: Path) -> None:
    """What scoring reads of them is a PNG."""
    data = ImageNetS(tiny_root, "train", 3)
    view = data.with_masks(open_labels(finished, data))
    stored: Any = view.mask_files()[data.names[4]]
    assert np.array_equal(masks.decode(stored.read()), view.mask(4))
    assert view[4]["mask"].numpy().tolist() == view.mask(4).tolist()
