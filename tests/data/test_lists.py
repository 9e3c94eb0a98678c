"""Lists are read and checked against each other."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import Tiny, tiny

from imagenets.data.lists import read_lists
from imagenets.errors import CorruptError
from imagenets.tiers import get_tier, list_paths


def lists_of(world: Tiny, path: Path) -> None:
    read_lists(get_tier(world.name, world.index(path)), path)


@pytest.mark.parametrize(
    ("what", "line", "message"),
    [
        ("mapping-test", "n90000001/x.JPEG", "line 7: two fields"),
        ("mapping-test", "90000001/x.JPEG n90000001/x.JPEG", "not of the form"),
        ("mapping-test", "n90000001/x.JPEG n90000001/y.JPEG", "two names differ"),
        ("mapping-test", "n90000007/x.JPEG n90000007/x.JPEG", "class n90000007 is not in"),
        ("names-train-semi", "n90000001/x.JPEG n90000001/y.png", "is not the mask of"),
        ("names-validation", "n90000001/x.JPEG n90000001/x.png", "its images are not those of"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, what: str, line: str, message: str) -> None:
    world = tiny()
    world.lists[what].append(line)
    with pytest.raises(CorruptError, match=message) as caught:
        lists_of(world, tmp_path)
    assert Path(list_paths("3")[what]).name in str(caught.value)


def test_an_image_listed_twice_is_refused(tmp_path: Path) -> None:
    world = tiny()
    world.lists["mapping-test"].append(world.lists["mapping-test"][0])
    with pytest.raises(CorruptError, match="listed twice"):
        lists_of(world, tmp_path)


def test_an_image_in_validation_and_test_is_refused(tmp_path: Path) -> None:
    world = tiny()
    world.lists["mapping-test"].append(world.lists["mapping-validation"][0])
    with pytest.raises(CorruptError, match="is in the validation list, too"):
        lists_of(world, tmp_path)


@pytest.mark.parametrize("text", ["", "n90000002\nn90000001", "n90000001 n90000001", "tench"])
def test_categories_that_are_no_sorted_ids_are_refused(tmp_path: Path, text: str) -> None:
    world = tiny()
    index = world.index(tmp_path)
    (index / list_paths("3")["categories"]).write_text(text)
    with pytest.raises(CorruptError, match="not a list of sorted, distinct WordNet ids"):
        read_lists(get_tier("3", index), index)
