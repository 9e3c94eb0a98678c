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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("what", list(list_paths("3")))
def test_a_byte_order_mark_is_no_part_of_a_list(tmp_path: Path, what: str, encoding: str) -> None:
    """That of UTF-8 is read over; other encodings are named."""
    index = tiny().index(tmp_path)
    tier = get_tier("3", index)
    expected = read_lists(tier, index)
    path = index / list_paths("3")[what]
    path.write_text(path.read_text("utf-8").replace("\n", "\r\n"), encoding)
    if encoding == "utf-16":
        with pytest.raises(CorruptError, match=rf"{path.name}: not UTF-8 text"):
            read_lists(tier, index)
        return
    found = read_lists(tier, index)
    assert found.classes == expected.classes
    for split, records in expected.splits.items():
        assert found.splits[split].stems.tolist() == records.stems.tolist()
        assert found.splits[split].wnids.tolist() == records.wnids.tolist()
        assert found.splits[split].sources.tolist() == records.sources.tolist()


@pytest.mark.parametrize("text", ["", "n90000002\nn90000001", "n90000001 n90000001", "tench"])
def test_categories_that_are_no_sorted_ids_are_refused(tmp_path: Path, text: str) -> None:
    world = tiny()
    index = world.index(tmp_path)
    (index / list_paths("3")["categories"]).write_text(text)
    with pytest.raises(CorruptError, match="not a list of sorted, distinct WordNet ids"):
        read_lists(get_tier("3", index), index)
