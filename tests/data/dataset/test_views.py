"""Evaluation views: Pillow's pixels by torchvision's arithmetic, the same whoever makes them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from photographs import plain
from PIL import Image
from tiny import tiny

from imagenets import ImageNetS, Loader
from imagenets.cli import prepare
from imagenets.data.dataset.sample import Encoded
from imagenets.data.dataset.views import Pad, ResizeCrop, Squash, View, named
from imagenets.data.loader.crops import CenterCrop
from imagenets.errors import UsageError
from imagenets.pixels.image import decode, size
from imagenets.pixels.jpeg import transcode

AREA: Any = "area"  # no filter of ours
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
NAMES = [
    *("resize256-crop224", "resize224-crop224", "squash224", "pad224", "pad32-fill00ff0a"),
    *("resize20-crop16-bicubic", "squash7-bicubic", "pad16-bicubic", "pad9-fill000000-bicubic"),
]
SMALL: list[View] = [ResizeCrop(20, 16), ResizeCrop(16, 16), Squash(16), Pad(16)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tier "3", packed with restart markers: crops decode a part of each file."""
    folder = tmp_path_factory.mktemp("views")
    world = tiny(train=8, val=4)
    raw, index = world.folders(folder / "raw"), world.index(folder / "index")
    words = ["--split", "3", "--imagenet", raw, "--index", index, "--annotations"]
    words += [world.archive(folder), "--restart", "--layout", "both", "--workers", "1"]
    assert prepare.main([*map(str, words), "--root", str(folder / "root")]) == 0
    return folder / "root"


def resized(picture: Image.Image, size: tuple[int, int], kind: Image.Resampling) -> Image.Image:
    """Pillow's resize, rows first, whichever order this release of Pillow would choose."""
    if kind == Image.Resampling.NEAREST:
        return picture.resize(size, kind)
    return picture.resize((size[0], picture.height), kind).resize(size, kind)


def plainly(picture: Image.Image, name: str, padding: Any, kind: Image.Resampling) -> Image.Image:
    """A view as people write it: torchvision's sizes and offsets, Pillow's pixels."""
    width, height = picture.size
    base, *more = name.split("-")
    if base.startswith("squash"):
        size = int(base.removeprefix("squash"))
        return resized(picture, (size, size), kind)
    if base.startswith("pad"):
        size = int(base.removeprefix("pad"))
        long = max(width, height)
        inner = (max(1, int(size * width / long)), max(1, int(size * height / long)))
        made = Image.new(picture.mode, (size, size), padding)
        corner = (int((size - inner[0]) / 2), int((size - inner[1]) / 2))
        made.paste(resized(picture, inner, kind), corner)
        return made
    side, size = int(base.removeprefix("resize")), int(more[0].removeprefix("crop"))
    if width <= height:  # torchvision.transforms.functional.resize
        whole = (side, int(side * height / width))
    else:
        whole = (int(side * width / height), side)
    left = round((whole[0] - size) / 2.0)  # torchvision.transforms.functional.center_crop
    top = round((whole[1] - size) / 2.0)
    return resized(picture, whole, kind).crop((left, top, left + size, top + size))


def drawn(width: int, height: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """An image and a mask of every kind of id."""
    rng = np.random.default_rng(seed)
    ids = rng.choice([0, 1, 256, 919, 1000], (height, width)).astype(np.uint16)
    return rng.integers(0, 256, (height, width, 3), np.uint8), ids


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(NAMES), st.integers(0, 99))
def test_views_are_pillows_pixels_by_torchvisions_arithmetic(
    width: int, height: int, name: str, seed: int
) -> None:
    view = named(name)
    image, ids = drawn(width, height, seed)
    target = np.select([ids == 1000, ids == 919], [255, 1], 0).astype(np.uint8)
    fill = view.fill if isinstance(view, Pad) else (0, 0, 0)
    expected = plainly(Image.fromarray(image), name, fill, FILTERS[view.mode])
    assert np.array_equal(view.image(image), np.asarray(expected))
    nearest = Image.Resampling.NEAREST
    labels = plainly(Image.fromarray(ids.astype(np.int32)), name, 1000, nearest)
    seen = view.mask(ids)
    assert seen.dtype == np.uint16
    assert np.array_equal(seen, np.asarray(labels))
    objects = view.target(target)
    assert np.array_equal(objects, np.asarray(plainly(Image.fromarray(target), name, 255, nearest)))
    assert np.array_equal(objects == 255, seen == 1000)  # one pixel, one place in all of them
    assert np.array_equal(objects == 1, seen == 919)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (500, 333), (64, 64), (640, 479)])
@pytest.mark.parametrize("name", ["resize256-crop224", "resize224-crop224-bicubic", "pad224"])
def test_real_sizes_are_pillows_in_one_call(size: tuple[int, int], name: str) -> None:
    """Where proportions are kept, every release of Pillow takes the rows first."""
    view, (image, _) = named(name), drawn(*size, 1)
    kind = FILTERS[view.mode]
    if isinstance(view, Pad):
        inner = (224 * size[0] // max(size), 224 * size[1] // max(size))
        whole = np.asarray(Image.fromarray(image).resize(inner, kind))
        left, top = (224 - inner[0]) // 2, (224 - inner[1]) // 2
        made = view.image(image)
        assert np.array_equal(made[top : top + inner[1], left : left + inner[0]], whole)
        made[top : top + inner[1], left : left + inner[0]] = 124, 116, 104
        assert (made == [124, 116, 104]).all()
        return
    assert isinstance(view, ResizeCrop)
    full = tuple(view.side * length // min(size) for length in size)
    left, top = (round((length - 224) / 2) for length in full)
    resized_ = Image.fromarray(image).resize((full[0], full[1]), kind)
    expected = resized_.crop((left, top, left + 224, top + 224))
    assert np.array_equal(view.image(image), np.asarray(expected))


@pytest.mark.parametrize("view", SMALL, ids=str)
def test_the_transform_moves_what_a_sample_holds(root: Path, view: View) -> None:
    data = ImageNetS(root, "validation", 3)
    seen = ImageNetS(root, "validation", 3, transform=view)
    for index in range(len(data)):
        plain, made = data[index], seen[index]
        image = plain["image"].permute(1, 2, 0).numpy()
        assert made["image"].shape == (3, 16, 16)
        assert made["image"].is_contiguous()
        assert np.array_equal(made["image"].permute(1, 2, 0).numpy(), view.image(image))
        assert made["mask"].dtype == torch.int64
        assert np.array_equal(made["mask"].numpy(), view.mask(plain["mask"].numpy()))
        assert (made["name"], made["class_id"]) == (plain["name"], plain["class_id"])


def test_present_is_of_what_the_view_shows() -> None:
    view = ResizeCrop(8, 8)
    image = torch.zeros((3, 8, 32), dtype=torch.uint8)
    middle, edge = torch.zeros((2, 8, 32), dtype=torch.uint8)
    middle[:, 16], edge[:, 0], edge[:, 16] = 1, 1, 255
    for target, present in ((middle, True), (edge, False)):
        sample: Any = {"image": image, "target": target, "present": True}
        made: Any = view(sample)
        assert made["present"] is present
        assert made["target"].shape == (8, 8)
        assert "mask" not in made
        assert sample["target"].shape == (8, 32)  # the sample stays as it was
    wrong: Any = {"image": image, "target": target[:, 1:]}
    with pytest.raises(UsageError, match=r"the target is \(8, 31\), the image \(8, 32\)"):
        view(wrong)


@pytest.mark.parametrize("layout", ["shards", "tree"])
@pytest.mark.parametrize("split", ["validation", "train-semi"])
@pytest.mark.parametrize(
    "view",
    [*SMALL, ResizeCrop(20, 16, mode="bicubic"), Pad(40, (1, 2, 3), mode="bicubic")],
    ids=str,
)
def test_a_loaders_crop_has_the_bytes_of_the_transform(
    root: Path, view: View, split: str, layout: Any
) -> None:
    seen = ImageNetS(root, split, 3, transform=view, layout=layout, target="label")
    plain = ImageNetS(root, split, 3, layout=layout, target="label")
    batch = next(iter(Loader(plain, len(plain), crop=view)))
    for place in range(len(plain)):
        sample = seen[place]
        assert torch.equal(batch.crops[place], sample["image"])
        assert torch.equal(batch.crop_masks[place].long(), sample["mask"])
        assert torch.equal(batch.targets[place], sample["target"])
        assert (
            bool(batch.present[place]) == sample["present"] == bool((sample["target"] == 1).any())
        )
    assert batch.boxes is not None
    assert not any(batch.flips.tolist() if batch.flips is not None else [])


def test_the_loaders_center_crop_is_the_view(root: Path) -> None:
    data = ImageNetS(root, "validation", 3)
    crops = (CenterCrop(16, 20), ResizeCrop(20, 16))
    ours, theirs = (next(iter(Loader(data, len(data), crop=crop))) for crop in crops)
    assert torch.equal(ours.crops, theirs.crops)
    assert torch.equal(ours.crop_masks, theirs.crop_masks)
    fine, rough = (
        next(iter(Loader(data, len(data), crop=CenterCrop(6, 8, antialias=kind)))).crops
        for kind in (True, False)
    )
    assert not torch.equal(fine, rough)


class Photographs:
    """JPEGs of every kind, with restart markers where they get some."""

    has_masks = False

    def __init__(self) -> None:
        files = [(*one, None) for one in plain().items()]
        for name, file in plain().items():
            if made := transcode(file):
                files.append((name, made.data, made.lengths))
        self.files = [file for file in files if size(file[1])[0] >= 75]
        self.names = [file[0] for file in self.files]
        self.class_ids = self.ilsvrc = np.zeros(len(self.files), np.int16)

    def __len__(self) -> int:
        return len(self.files)

    def sizes_of(self, indices: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.array([size(self.files[i][1]) for i in indices.tolist()], np.int32)

    def encoded(self, index: int) -> Encoded:
        return Encoded(self.files[index][1], self.files[index][2], None)

    def where(self, index: int) -> str:
        return self.names[index]


@pytest.mark.parametrize("view", [ResizeCrop(40, 24), ResizeCrop(200, 16, mode="bicubic")], ids=str)
def test_a_loader_that_decodes_a_part_has_the_bytes_of_the_whole(view: View) -> None:
    data = Photographs()
    assert any(lengths is not None for _, _, lengths in data.files)
    (batch,) = Loader(data, len(data), crop=view)
    for place, (name, file, _) in enumerate(data.files):
        expected = view.image(decode(file))
        assert np.array_equal(batch.crops[place].permute(1, 2, 0).numpy(), expected), name


def test_heat_maps_are_resized_as_the_image_is() -> None:
    rng = np.random.default_rng(0)
    heat = rng.normal(size=(33, 50))
    for view in SMALL:
        floats = Image.fromarray(heat.astype(np.float32))
        expected = np.asarray(plainly(floats, str(view), 0.0, Image.Resampling.BILINEAR))
        seen = view.heat(heat, (50, 33))
        assert seen.dtype == np.float32
        np.testing.assert_allclose(seen, expected, atol=1e-6)
        tensor = view.heat(torch.from_numpy(heat), (50, 33))
        assert np.array_equal(tensor.numpy(), seen)
        assert np.array_equal(view.heat(seen, (50, 33)), seen)  # it has the view's size already
    where = np.zeros((33, 50), np.float32)
    where[10:20, 30:40] = 1
    for view in SMALL:
        target = view.target(where.astype(np.uint8))
        assert (
            abs(view.heat(where, (50, 33))[target != 255] - (target == 1)[target != 255]).max() < 1
        )


@pytest.mark.parametrize(
    ("heat", "message"),
    [
        (
            np.zeros((50, 33)),
            r"33 x 50 pixels fits neither the image \(50 x 33\) nor the view pad16",
        ),
        (np.zeros((3, 33, 50)), "a heat map is H x W real numbers"),
        (np.zeros((33, 50), complex), "real numbers, not complex128"),
    ],
)
def test_heat_maps_of_other_sizes_are_refused(heat: NDArray[Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Pad(16).heat(heat, (50, 33))


@pytest.mark.parametrize("name", NAMES)
def test_names_lead_to_views_and_back(name: str) -> None:
    view = named(name)
    assert str(view) == name
    assert named(str(view)) == view == pickle.loads(pickle.dumps(view))
    assert view.size == view.image(np.zeros((5, 9, 3), np.uint8)).shape[0]


@pytest.mark.parametrize(
    "name", ["", "resize256", "crop224", "squash", "pad224-cubic", "squash224-fill000000", "pad²"]
)
def test_unknown_names_are_told_with_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match="there is no view") as told:
        named(name)
    for part in ("resizeA-cropB", "squashB", "padB", "such as resize256-crop224", "-bicubic"):
        assert part in str(told.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizeCrop(224, 256), "crop of 256 does not fit into a short side of 224"),
        (lambda: named("squash0"), "size is 0"),
        (lambda: Squash(8, mode=AREA), "no filter mode='area'"),
        (lambda: Pad(8, (0, 0, 256)), "fill is .* three values from 0 to 255"),
        (lambda: Pad(8).image(np.zeros((4, 4), np.uint8)), "an image is H x W x 3"),
        (lambda: Pad(8).image(np.zeros((4, 4, 3))), "must be uint8"),
        (lambda: Pad(8).image(torch.zeros((4, 4, 3), dtype=torch.uint8)), "tensor is 3 x H x W"),
        (lambda: Pad(8).mask(np.zeros((4, 4), np.uint8)), "a mask is uint16"),
        (lambda: Pad(8).mask(np.zeros((4, 4), np.int32)), "must be uint8, uint16, int16 or int64"),
        (lambda: Pad(8).target(np.zeros((4, 4), np.uint16)), "a target is uint8"),
        (lambda: Pad(8).target(torch.zeros(4, 4, device="meta")), r"on meta: use \.cpu"),
    ],
)
def test_what_is_no_view_of_anything_is_told(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.extras
@pytest.mark.parametrize("size", [(500, 375), (375, 500), (301, 299), (224, 640), (97, 61)])
@pytest.mark.parametrize("side", [224, 256])
def test_the_classic_is_torchvisions_own(size: tuple[int, int], side: int) -> None:
    from torchvision.transforms import v2

    image, ids = drawn(*size, side)
    nearest = v2.InterpolationMode.NEAREST
    for mode, interpolation in (
        ("bilinear", v2.InterpolationMode.BILINEAR),
        ("bicubic", v2.InterpolationMode.BICUBIC),
    ):
        theirs = v2.Compose([v2.Resize(side, interpolation), v2.CenterCrop(224)])
        ours = named(f"resize{side}-crop224{'' if mode == 'bilinear' else '-bicubic'}")
        expected = np.asarray(theirs(Image.fromarray(image)))
        assert np.array_equal(ours.image(image), expected)
    labels = v2.Compose([v2.Resize(side, nearest), v2.CenterCrop(224)])
    expected = np.asarray(labels(Image.fromarray(ids.astype(np.int32))))
    assert np.array_equal(ours.mask(ids), expected)


@pytest.mark.extras
def test_transforms_of_torchvision_go_on_with_a_view(root: Path) -> None:
    from torchvision import tv_tensors
    from torchvision.transforms import v2

    view = ResizeCrop(20, 16)
    flipped = v2.Compose([view, v2.RandomHorizontalFlip(1.0)])
    seen = ImageNetS(root, "validation", 3, target="label", transform=view)
    mirrored = ImageNetS(root, "validation", 3, target="label", transform=flipped)
    assert isinstance(seen[0]["image"], tv_tensors.Image)
    for index in range(len(seen)):
        for name in ("image", "mask", "target"):
            one: Any = seen[index]
            other: Any = mirrored[index]
            assert torch.equal(one[name].flip(-1), other[name])
