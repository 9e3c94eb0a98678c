"""Class folders are told from others by their names; the 1,000 classes have WordNet's words."""

from __future__ import annotations

import logging
import re
import tarfile
from collections import Counter
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from beside import SHARED, needs_shared

from imagenets import classes
from imagenets.errors import UsageError


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


def test_every_class_has_words_of_its_own() -> None:
    everything = classes.all_words()
    assert [one.index for one in everything] == list(range(1000))
    assert tuple(one.wnid for one in everything) == classes.ilsvrc_classes()
    for one in everything:
        for text in (*one.lemmas, one.name, one.definition):
            assert re.fullmatch("[!-~]+( [!-~]+)*", text), one  # printable ASCII, single spaces
        assert not any("," in lemma for lemma in one.lemmas), one
        assert classes.words(one.wnid) is one
    assert len({one.name.casefold() for one in everything}) == 1000
    assert len({one.definition for one in everything}) == 1000


def test_a_name_is_the_first_lemma_unless_two_share_it() -> None:
    everything = classes.all_words()
    shared = Counter(one.lemmas[0].casefold() for one in everything)
    for one in everything:
        if shared[one.lemmas[0].casefold()] == 1:
            assert one.name == one.lemmas[0]
        else:
            assert re.fullmatch(rf"{re.escape(one.lemmas[0])} \(\w+\)", one.name)
    told_apart = {word for word, count in shared.items() if count > 1}
    assert told_apart == {"cardigan", "crane", "maillot"}


@pytest.mark.parametrize(
    ("index", "wnid", "lemmas", "name"),
    [
        (0, "n01440764", ("tench", "Tinca tinca"), "tench"),
        (31, "n01644373", ("tree frog", "tree-frog"), "tree frog"),  # often told wrong
        (134, "n02012849", ("crane",), "crane (bird)"),
        (264, "n02113186", ("Cardigan", "Cardigan Welsh corgi"), "Cardigan (corgi)"),
        (474, "n02963159", ("cardigan",), "cardigan (sweater)"),
        (517, "n03126707", ("crane",), "crane (machine)"),
        (638, "n03710637", ("maillot",), "maillot (tights)"),
        (639, "n03710721", ("maillot", "tank suit"), "maillot (swimsuit)"),
        (999, "n15075141", ("toilet tissue", "toilet paper", "bathroom tissue"), "toilet tissue"),
    ],
)
def test_known_words(index: int, wnid: str, lemmas: tuple[str, ...], name: str) -> None:
    one = classes.words(wnid)
    assert (one.index, one.wnid, one.lemmas, one.name) == (index, wnid, lemmas, name)


def test_definitions_have_no_examples() -> None:
    assert classes.words("n02012849").definition == (
        "large long-necked wading bird of marshes and plains in many parts of the world"
    )
    assert not [one for one in classes.all_words() if '"' in one.definition]


def test_what_is_no_class_of_ilsvrc() -> None:
    with pytest.raises(UsageError, match=r"'n00000001' is none of the 1,000 .*classes\.find"):
        classes.words("n00000001")
    assert classes.names(["n00000001", "n01440764"]) == ("n00000001", "tench")
    assert classes.names([]) == ()
    with pytest.raises(UsageError, match="'n01440764' is one string: give a list"):
        classes.names("n01440764")


def test_find_looks_into_lemmas_and_names_in_any_case() -> None:
    assert [one.index for one in classes.find("MAILLOT")] == [638, 639]
    assert [one.name for one in classes.find("tinca t")] == ["tench"]
    assert [one.name for one in classes.find("(swimsuit)")] == ["maillot (swimsuit)"]
    assert classes.find("no such word") == ()


@needs_shared
def test_every_class_of_the_published_tiers_has_words() -> None:
    sizes = set()
    with tarfile.open(SHARED / "data/imagenet-s-index.tar.xz") as lists:
        for member in lists:
            if not member.name.startswith("categories/") or not member.isfile():
                continue
            content = lists.extractfile(member)
            assert content is not None
            ids = content.read().decode("ascii").split()
            names = classes.names(ids)
            assert len(set(names)) == len(ids)
            assert [classes.words(wnid).name for wnid in ids] == list(names)
            sizes.add(len(ids))
    assert sizes == {50, 300, 919}


def test_the_licence_of_wordnet_lies_beside_its_words(request: pytest.FixtureRequest) -> None:
    text = files("imagenets").joinpath("wordnet", "LICENSE").read_text("ascii")
    assert text.startswith("This software and database is being provided to you, the LICENSEE, by")
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in text
    if request.config.getoption("--installed"):
        wheel = distribution("imagenets")
        assert wheel.metadata.get_all("License-File") == ["LICENSE", "imagenets/wordnet/LICENSE"]
        assert wheel.read_text("licenses/imagenets/wordnet/LICENSE") == text
