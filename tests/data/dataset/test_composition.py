"""Foregrounds, backgrounds and swaps: which pixels stay, and which pairs may be drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagenets import (
    ImageNetS,
    ResizeCrop,
    Squash,
    Swap,
    background,
    background_without_box,
    foreground,
    swap,
)
from imagenets.errors import CorruptError, MissingError, UsageError

IMAGE = np.random.default_rng(0).integers(1, 256, (6, 7, 3), np.uint8)
TARGET = np.array(
    [
        [255, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0, 0],
        [0, 0, 1, 255, 0, 0, 0],
        [0, 0, 0, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 255],
        [0, 0, 0, 0, 0, 0, 0],
    ],
    np.uint8,
)
BOX = np.zeros((6, 7), bool)
BOX[1:4, 2:4] = True
WAYS: list[tuple[Any, NDArray[np.bool_]]] = [
    (foreground, TARGET == 1),
    (background, TARGET == 0),
    (background_without_box, ~BOX & (TARGET != 255)),
]


@pytest.mark.parametrize(("way", "kept"), WAYS)
def test_which_pixels_stay(way: Any, kept: NDArray[np.bool_]) -> None:
    other = IMAGE[::-1].copy()
    noise = np.random.default_rng(3).integers(0, 256, IMAGE.shape, np.uint8)
    fills: dict[Any, Any] = {"mean": (124, 116, 104), "black": 0, "noise": noise}
    for fill, values in [*fills.items(), (None, other)]:
        given = {"fill": other if fill is None else fill, "generator": np.random.default_rng(3)}
        before = IMAGE.copy()
        made = way(IMAGE, TARGET, **given)
        expected = np.empty_like(IMAGE)
        expected[:] = values
        expected[kept] = IMAGE[kept]
        assert np.array_equal(made, expected), fill
        assert np.array_equal(before, IMAGE)
        tensor = torch.from_numpy(IMAGE).permute(2, 0, 1)
        if fill is None:
            given["fill"] = torch.from_numpy(other).permute(2, 0, 1)
        given["generator"] = np.random.default_rng(3)
        planes = way(tensor, torch.from_numpy(TARGET), **given)
        assert np.array_equal(planes.permute(1, 2, 0).numpy(), expected)
    assert np.array_equal(way(IMAGE, TARGET), way(IMAGE, TARGET, "mean"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((IMAGE, TARGET * 0), "leave images whose `present` is False out"),
        ((IMAGE, TARGET[1:]), r"the target is \(5, 7\), the image \(6, 7\)"),
        ((IMAGE, TARGET.astype(np.int64)), "a target is uint8"),
        ((IMAGE, TARGET + 5), "holds 0, 1 and 255, not 4"),
        ((IMAGE.astype(float), TARGET), "an image is uint8, H x W x 3"),
        ((torch.from_numpy(IMAGE), TARGET), "an image tensor is 3 x H x W"),
        ((IMAGE, TARGET, "noise"), 'fill="noise" needs a generator'),
        ((IMAGE, TARGET, "white"), "there is no fill 'white': give \"mean\""),
        ((IMAGE, TARGET, IMAGE[1:]), r"must be uint8, \(6, 7, 3\)"),
        ((IMAGE, TARGET, torch.from_numpy(IMAGE)), "give both of one kind"),
    ],
)
@pytest.mark.parametrize("way", [foreground, background, background_without_box])
def test_what_cannot_be_composed_is_told(way: Any, given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        way(*given)


@pytest.fixture(scope="module")
def data(tiny_root: Path) -> ImageNetS:
    """Validation images of three classes, some of which hold another class as well."""
    return ImageNetS(tiny_root, "validation", 3, target="label", transform=Squash(16))


def holders(data: ImageNetS) -> dict[int, set[int]]:
    """Images of each class, by label or anywhere in the mask, found plainly."""
    found: dict[int, set[int]] = {one: set() for one in range(1, len(data.classes) + 1)}
    for index, label in enumerate(data.target_ids.tolist()):
        for one in {label, *np.unique(data.mask(index)).tolist()} & set(found):
            found[one].add(index)
    return found


@given(st.integers(0, 2**40))
def test_no_background_holds_the_class_of_its_object(data: ImageNetS, seed: int) -> None:
    held = holders(data)
    made = swap(data, seed)
    shown = [
        index
        for index, label in enumerate(data.target_ids.tolist())
        if label and (data.mask(index) == label).any()
    ]
    assert made.pairs[:, 0].tolist() == shown
    for first, second in made.pairs.tolist():
        assert second not in held[int(data.target_ids[first])]


def test_every_allowed_background_is_drawn_about_as_often(data: ImageNetS) -> None:
    held, counts = holders(data), np.zeros((len(data), len(data)))
    for seed in range(400):
        pairs = swap(data, seed).pairs
        counts[pairs[:, 0], pairs[:, 1]] += 1
    for first in swap(data).pairs[:, 0].tolist():
        allowed = [i for i in range(len(data)) if i not in held[int(data.target_ids[first])]]
        mean = 400 / len(allowed)
        assert counts[first].sum() == 400
        assert (abs(counts[first, allowed] - mean) < 6 * mean**0.5).all()


def test_a_pairing_is_drawn_again_saved_and_read(data: ImageNetS, tmp_path: Path) -> None:
    made = swap(data, 3)
    assert made == swap(data, 3)
    assert made.named_pairs() != swap(data, 4).named_pairs()
    recorded = [[1, 4], [2, 5], [3, 5], [4, 11], [6, 11], [7, 9], [8, 7], [9, 3], [10, 7]]
    assert made.pairs.tolist() == recorded
    digest = made.save(tmp_path / "pairs.txt")
    read = Swap.load(tmp_path / "pairs.txt", data, seed=3)
    assert read == made
    assert read.save(tmp_path / "again.txt") == digest
    assert torch.equal(read[1]["image"], made[1]["image"])
    assert len(read) == len(made) == len(list(made))
    text = (tmp_path / "pairs.txt").read_text()
    (tmp_path / "pairs.txt").write_text(text.replace(" n9", " n8"))
    with pytest.raises(CorruptError, match="not as it was written"):
        Swap.load(tmp_path / "pairs.txt", data)
    data.save_list(tmp_path / "list.txt")
    with pytest.raises(CorruptError, match=r"not a list of pairs, which `Swap\.save` writes"):
        Swap.load(tmp_path / "list.txt", data)
    made.save(tmp_path / "pairs.txt")
    with pytest.raises(MissingError, match="are not in this data set"):
        Swap.load(tmp_path / "pairs.txt", data[:2])


@pytest.mark.parametrize("fill", ["mean", "black", "noise"])
def test_a_swap_is_the_object_on_the_background_of_another(data: ImageNetS, fill: Any) -> None:
    made = swap(data, 1, fill)
    kept = 0
    for index, (first, second) in enumerate(made.pairs.tolist()):
        front, back, sample = data[first], data[second], made[index]
        object_, image = front["target"] == 1, sample["image"]
        assert torch.equal(image[:, object_], front["image"][:, object_])
        stays = ~object_ & (back["target"] == 0)
        assert torch.equal(image[:, stays], back["image"][:, stays])
        filled = image[:, ~object_ & (back["target"] != 0)]
        if fill != "noise":
            colour = torch.tensor({"mean": [124, 116, 104], "black": [0, 0, 0]}[fill])
            assert (filled == colour[:, None]).all()
        kept += filled.numel()
        assert torch.equal(sample["target"], object_.to(torch.uint8))
        assert sample["present"] == bool(object_.any())
        assert (sample["name"], sample["background"]) == (front["name"], back["name"])
        assert sample["target_id"] == front["target_id"]
        assert torch.equal(sample["image"], made[index - len(made)]["image"])  # noise as well
    assert kept


def test_data_that_cannot_be_swapped_is_told(tiny_root: Path, data: ImageNetS) -> None:
    with pytest.raises(UsageError, match='open ImageNetS with target="label"'):
        swap(ImageNetS(tiny_root, "validation", 3))
    whole = swap(ImageNetS(tiny_root, "validation", 3, target="label"))
    with pytest.raises(UsageError, match=r"one size, such as transform=ResizeCrop\(256, 224\)"):
        list(whole)
    alone = data.subset(data.target_ids == data.target_ids[whole.pairs[0, 0]])
    with pytest.raises(UsageError, match="is in every image here"):
        swap(alone)
    with pytest.raises(UsageError, match="there is no fill 'white'"):
        swap(data, fill="white")  # type: ignore[arg-type]  # which it refuses, too
    with pytest.raises(IndexError, match=f"there are {len(whole)} pairs"):
        whole[len(whole)]


def test_an_object_that_the_view_cuts_off_is_not_present(tiny_root: Path) -> None:
    view = ResizeCrop(20, 10)
    made = swap(ImageNetS(tiny_root, "validation", 3, target="label", transform=view))
    assert {sample["present"] for sample in made} == {True, False}
