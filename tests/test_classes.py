"""Class folders are told from others by their names."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from imagenets import classes


@pytest.mark.parametrize("name", ["n01440764", b"n99999999"])
def test_names_that_are_wordnet_ids(name: str | bytes) -> None:
    assert classes.is_wnid(name)


@pytest.mark.parametrize(
    "name",
    [
        *("", "n0144076", "n014407640", "N01440764", "01440764", "n01440764\n", "n0144076x"),
        *(".ipynb_checkpoints", "n\u0661" + "0" * 7, b"\xff01440764", b"n01440764.tar"),
    ],
)
def test_names_that_are_none(name: str | bytes) -> None:
    assert not classes.is_wnid(name)


def test_only_folders_that_name_a_class_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("n00000002", "n00000001", ".ipynb_checkpoints", "n00000003"):
        (tmp_path / name).mkdir()
    (tmp_path / "n00000004").write_text("a file")
    (tmp_path / "n00000005").symlink_to(tmp_path / "n00000001")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            found = classes.class_folders(tmp_path)
            assert found == ["n00000001", "n00000002", "n00000003", "n00000005"]
    told = f"{tmp_path}: 1 folders name no class and are left out: .ipynb_checkpoints"
    assert caplog.messages == [told]
    caplog.clear()
    assert classes.class_folders(tmp_path, {"n00000001", "n00000009"}) == ["n00000001"]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "4 folders name no class" in caplog.text


def test_the_labels_of_ilsvrc() -> None:
    ids = classes.ilsvrc_classes()
    assert len(ids) == 1000
    assert list(ids) == sorted(set(ids))
    assert (ids[0], ids[999]) == ("n01440764", "n15075141")
    assert all(map(classes.is_wnid, ids))


def test_ranks() -> None:
    wnids = np.array([b"n3", b"n1", b"n2", b"n0", b"n9"])
    found = classes.ranks(("n1", "n3", "n5"), wnids)
    assert found.tolist() == [1, 0, -1, -1, -1]
    assert found.dtype == np.int16
    assert classes.ranks(("n1",), wnids[:0]).tolist() == []
