"""Plans hold the right records in the right order, and name what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import CLASSES, OUTSIDE, Tiny, tiny
from world import SPLITS, World

from imagenets.classes import ilsvrc_classes
from imagenets.data.lists import Lists, Records
from imagenets.data.prepare.plan import Plan
from imagenets.data.prepare.planning import make_plan, servable
from imagenets.data.raw import RawImages, open_sources
from imagenets.errors import MissingError, UsageError
from imagenets.tiers import TIERS, get_tier


def plan_of(world: Tiny, path: Path, subsets: tuple[str, ...] = SPLITS) -> Plan:
    return World(path, world).plan_of(subsets)


def test_every_split_has_its_records_in_canonical_order(tmp_path: Path) -> None:
    plan = plan_of(tiny(), tmp_path)
    assert {name: len(split) for name, split in plan.splits.items()} == {
        "train": 18,
        "train-semi": 6,
        "validation": 9,
        "test": 6,
    }
    for split in plan.splits.values():
        names = list(zip(split.wnids.tolist(), split.stems.tolist(), strict=True))
        assert names == sorted(names)
        assert [CLASSES[i - 1].encode() for i in split.class_ids] == split.wnids.tolist()
    assert not any(plan.missing.values())


def test_both_classes_of_a_validation_image_are_kept(tmp_path: Path) -> None:
    plan = plan_of(tiny(), tmp_path)
    assert plan.source_classes == (*CLASSES, OUTSIDE)
    validation = plan.splits["validation"]
    assert (validation.ilsvrc == 3).sum() == 3  # one of each class is of the class outside
    assert (plan.splits["test"].ilsvrc == plan.splits["test"].class_ids - 1).all()


def test_masks_are_named_as_in_the_archive(tmp_path: Path) -> None:
    world = tiny()
    plan = plan_of(world, tmp_path)
    assert set(plan.members) == set(world.members)
    assert set(plan.splits["validation"].masks or ()) <= set(world.members)
    assert plan.splits["train"].masks is None


def test_missing_images_are_named_first_ten_and_all_in_a_file(tmp_path: Path) -> None:
    world = tiny(val=6)
    lost = [line.split()[1][:-5] for line in world.lists["mapping-validation"]][:12]
    for name in lost:
        del world.val[name.partition("/")[2]]
    plan = plan_of(world, tmp_path)
    assert plan.missing["validation"] == sorted(lost)
    assert plan.missing_count("validation") == 12
    report = tmp_path / "missing.txt"
    with pytest.raises(MissingError, match=r"validation has 6 of 18.*and 2 more") as caught:
        plan.require_all(report)
    assert str(caught.value).count("validation: n9") == 10
    assert report.read_text().splitlines() == [f"validation: {name}" for name in sorted(lost)]
    assert "--allow-missing" in str(caught.value)


def test_the_report_of_missing_images_goes_when_they_are_there(tmp_path: Path) -> None:
    report = tmp_path / "missing.txt"
    report.write_text("old")
    plan_of(tiny(), tmp_path).require_all(report)
    assert not report.exists()


def test_a_training_class_without_images_is_named(tmp_path: Path) -> None:
    world = tiny(semi=0)
    world.train = {stem: data for stem, data in world.train.items() if CLASSES[1] not in stem}
    plan = plan_of(world, tmp_path, ("train",))
    assert plan.missing == {"train": [f"{CLASSES[1]} (no images)"]}
    with pytest.raises(MissingError, match=f"train has 12 of an unpublished number.*{CLASSES[1]}"):
        plan.require_all(tmp_path / "missing.txt")


def test_a_split_that_the_tier_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="tier 3 has no split 'train-full'"):
        plan_of(tiny(), tmp_path, ("train-full",))


def test_default_splits_are_those_the_sources_can_serve(tmp_path: Path) -> None:
    world = tiny()
    world.folders(tmp_path / "raw")
    tier = get_tier("3", world.index(tmp_path / "index"))
    assert servable(tier, open_sources([tmp_path / "raw"])) == list(SPLITS)
    assert servable(tier, open_sources([tmp_path / "raw/val"])) == ["validation", "test"]
    assert servable(tier, open_sources([tmp_path / "raw/train"])) == ["train", "train-semi"]
    assert "train-full" not in servable(TIERS["919"], open_sources([tmp_path / "raw"]))


class Stems:
    """Raw images by name alone."""

    def __init__(self, stems: list[str]) -> None:
        self.stems = np.sort(np.array(stems, "S32"))

    training = RawImages.training
    find = RawImages.find
    _first_training = RawImages._first_training


def official(images: int = 2) -> tuple[Lists, Stems]:
    """The 919 classes are not to be had here: any 900 ILSVRC classes with the merges' targets."""
    merges = TIERS["919"].merges
    classes = [wnid for wnid in ilsvrc_classes() if wnid not in merges]
    classes = sorted({*classes[:900], *merges.values()})
    none = Records(np.zeros(0, "S32"), np.zeros(0, "S9"), np.zeros(0, "S9"))
    lists = Lists(tuple(classes), dict.fromkeys(("train-semi", "validation", "test"), none), {})
    return lists, Stems([f"{wnid}_{n}" for wnid in ilsvrc_classes() for n in range(images)])


def test_merged_classes_move_their_training_images_but_keep_their_own_class() -> None:
    lists, images = official()
    plan = make_plan(TIERS["919"], lists, images, ["train"])  # type: ignore[arg-type]
    train = plan.splits["train"]
    assert plan.source_classes == ilsvrc_classes()
    rows = np.flatnonzero(np.char.startswith(train.stems, b"n04493381"))
    assert train.wnids[rows].tolist() == [b"n02808440"] * 2
    assert {lists.classes[i - 1] for i in train.class_ids[rows]} == {"n02808440"}
    assert {ilsvrc_classes()[i] for i in train.ilsvrc[rows]} == {"n04493381"}
    names = list(zip(train.wnids.tolist(), train.stems.tolist(), strict=True))
    assert names == sorted(names)


def test_train_full_has_raw_folders_and_stores_only_the_rest_anew() -> None:
    lists, images = official()
    plan = make_plan(TIERS["919"], lists, images, ["train-full"])  # type: ignore[arg-type]
    full, groups = plan.splits["train-full"], plan.groups()
    assert len(full) == 2000
    assert (np.char.find(full.stems, full.wnids) == 0).all()  # no merges in the folder
    assert full.class_ids[full.wnids == b"n04493381"].min() > 0  # but in the class id
    assert len(groups["train"]) + len(groups["train-rest"]) == 2000
    assert set(groups["train-rest"].class_ids.tolist()) == {0}
    assert not np.isin(groups["train-rest"].stems, groups["train"].stems).any()


def test_short_training_classes_are_named_where_the_count_is_published() -> None:
    lists, images = official()
    plan = make_plan(TIERS["919"], lists, images, ["train"])  # type: ignore[arg-type]
    assert plan.missing["train"][0] == f"{ilsvrc_classes()[0]} (2 images, ILSVRC has 732 or more)"
    assert plan.missing_count("train") == 1_183_322 - len(plan.splits["train"])
