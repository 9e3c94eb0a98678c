"""Subsets that papers can cite: the same on every machine, whatever else is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenets import ImageNetS
from imagenets.data.dataset.subsets import of_sizes, per_class
from imagenets.errors import CorruptError, MissingError, UsageError
from imagenets.tiers import BUCKETS

NAMES = [f"n9000000{1 + number % 3}/ILSVRC2012_val_{number:08d}" for number in range(30)]
IDS = np.array([1 + number % 3 for number in range(30)], np.int16)


@pytest.fixture
def data(tiny_root: Path) -> ImageNetS:
    return ImageNetS(tiny_root, "validation", "3", target="label")


@given(st.permutations(range(30)), st.sampled_from([1, 2, 10]), st.integers(0, 3))
def test_a_subset_depends_on_seed_and_names_alone(order: list[int], count: int, seed: int) -> None:
    chosen = {NAMES[row] for row in per_class(NAMES, IDS, count, seed, False)}
    mixed = [NAMES[row] for row in order]
    found = per_class(mixed, IDS[order], count, seed, False)
    assert (np.diff(found) > 0).all()
    assert {mixed[row] for row in found} == chosen
    assert len(chosen) == 3 * count


def test_a_subset_stays_what_papers_say_it_is() -> None:
    one, other = (per_class(NAMES, IDS, 2, seed, False).tolist() for seed in (0, 1))
    assert one == [10, 14, 15, 16, 20, 21]
    assert other == [7, 8, 9, 12, 22, 23]


def test_what_is_of_no_class_is_not_chosen() -> None:
    ids = IDS.copy()
    ids[::2] = 0
    rows = per_class(NAMES, ids, 5, 0, False)
    assert (ids[rows] > 0).all()
    assert len(rows) == 15


def test_too_few_are_refused_unless_told() -> None:
    ids = IDS.copy()
    ids[6::3] = 0  # two are left of class 1
    with pytest.raises(UsageError, match=r"1 classes .* class id 1 with 2: give at most 2"):
        per_class(NAMES, ids, 3, 0, False)
    assert np.bincount(ids[per_class(NAMES, ids, 3, 0, True)]).tolist() == [0, 2, 3, 3]
    with pytest.raises(UsageError, match="at least 1"):
        per_class(NAMES, ids, 0, 0, True)


def test_a_class_is_that_of_the_label_where_targets_are_wanted(
    tiny_root: Path, data: ImageNetS
) -> None:
    plain = ImageNetS(tiny_root, "validation", "3").subset_per_class(2)
    assert plain.class_ids.tolist() == [1, 1, 2, 2, 3, 3]
    labelled = data.subset_per_class(2, allow_fewer=True)
    assert np.bincount(labelled.target_ids, minlength=4)[0] == 0
    assert np.bincount(labelled.target_ids).max() == 2
    assert [labelled[i]["target_id"] for i in range(len(labelled))] == labelled.target_ids.tolist()


def test_the_share_of_an_object(data: ImageNetS, tiny_root: Path) -> None:
    plain = ImageNetS(tiny_root, "validation", "3")
    for one, ids in ((data, data.target_ids), (plain, plain.class_ids)):
        expected = []
        for index, wanted in enumerate(ids.tolist()):
            mask = one.mask(index)
            kept = mask[mask != 1000]
            expected.append((kept == wanted).mean() if wanted else 0)
        assert one.object_shares().tolist() == pytest.approx(expected)
    with pytest.raises(UsageError, match="no masks"):
        ImageNetS(tiny_root, "train", "3").object_shares()


@pytest.mark.parametrize(
    ("pixels", "bucket"),
    [(1, "S"), (500, "S"), (501, "MS"), (2500, "MS"), (2501, "ML"), (5000, "ML"), (5001, "L")],
)
def test_sizes_are_those_of_the_benchmark(pixels: int, bucket: str) -> None:
    for whole in (10_000, 9_999_990_000):  # limits are met to the pixel
        shares = np.array([0, pixels * (whole // 10_000) / whole])
        assert [name for name in BUCKETS if len(of_sizes(shares, [name]))] == [bucket]
    assert not len(of_sizes(np.zeros(3), BUCKETS))


def test_a_view_by_size_and_by_presence(data: ImageNetS) -> None:
    there, lost = data.subset_present(), data.subset_present(False)
    assert len(there) + len(lost) == len(data)
    assert len(lost)
    assert all(sample["present"] for sample in there)
    assert not any(sample["present"] for sample in lost)
    every = [set(data.subset_by_size(name).names) for name in BUCKETS]
    assert sum(map(len, every)) == len(set().union(*every)) == len(there)
    assert set(data.subset_by_size("S", "MS").names) == every[0] | every[1]
    for names in (("tiny",), ()):
        with pytest.raises(UsageError, match="S, MS, ML, L"):
            data.subset_by_size(*names)


def test_a_list_comes_back(data: ImageNetS, tmp_path: Path) -> None:
    chosen = data.subset([7, 2, 5])
    path = tmp_path / "few.txt"
    digest = chosen.save_list(path)
    lines = path.read_text().splitlines()
    assert lines[0] == f"# ImageNet-S, tier 3, split validation, 3 samples, sha256 {digest}"
    assert lines[1:] == list(chosen.names)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # through a mail from Windows
    found = data.subset_from_list(path)
    assert list(found.names) == list(chosen.names)
    assert found.digest == chosen.digest
    assert found.save_list(tmp_path / "again.txt") == digest


def test_a_list_that_is_not_as_written_is_refused(
    data: ImageNetS, tiny_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "few.txt"
    with pytest.raises(MissingError, match=r"few\.txt: there is no such file"):
        data.subset_from_list(path)
    data[:3].save_list(path)
    text = path.read_text()
    path.write_text(text.rsplit("\n", 2)[0])
    with pytest.raises(CorruptError, match="names 2 samples"):
        data.subset_from_list(path)
    path.write_text(text.replace(data.names[1], data.names[9]))
    with pytest.raises(CorruptError, match="not as it was written"):
        data.subset_from_list(path)
    for other in ("", "\n".join(data.names)):
        path.write_text(other)
        with pytest.raises(CorruptError, match="first line"):
            data.subset_from_list(path)
    path.write_text(text)
    with pytest.raises(UsageError, match=r"split validation of tier 3.*train-semi"):
        ImageNetS(tiny_root, "train-semi", "3").subset_from_list(path)
    with pytest.raises(MissingError, match="2 of its 3 samples are not in"):
        data[2:].subset_from_list(path)
