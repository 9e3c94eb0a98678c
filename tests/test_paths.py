"""Where everything of a root lies: names written are names read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imagenets import masks, paths
from imagenets.data.dataset.imagenets import ImageNetS
from imagenets.evaluation import matching
from imagenets.evaluation.mask_folders import list_masks


def test_the_folders_of_a_set_are_found_again_by_their_names(tmp_path: Path) -> None:
    for tier in ("50", "919", "my.tier"):
        paths.tree(tmp_path, tier).mkdir()
        paths.shards(tmp_path, tier).mkdir()
        assert paths.parse_set(paths.tree(tmp_path, tier).name) == (tier, False)
        assert paths.parse_set(paths.shards(tmp_path, tier).name) == (tier, True)
    paths.missing_list(tmp_path, "50").write_text("no folder")
    paths.downloads(tmp_path).mkdir()
    (tmp_path / "ImageNetS").mkdir()
    assert set(paths.prepared(tmp_path)) == {"50", "919", "my.tier"}
    assert [path.name for path in paths.prepared(tmp_path)["50"]] == [
        "ImageNetS50",
        "ImageNetS50.shards",
    ]
    assert paths.packed(tmp_path) == [
        paths.shards(tmp_path, tier) for tier in ("50", "919", "my.tier")
    ]


def test_the_default_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGENETS_ROOT", raising=False)
    assert paths.default_root() == Path("imagenet-s")
    monkeypatch.setenv("IMAGENETS_ROOT", "/data/prepared")
    assert paths.default_root() == Path("/data/prepared")


def test_masks_lie_in_the_archive_as_they_are_published() -> None:
    member = paths.mask_member("50", "train-semi", "n01440764/n01440764_18")
    assert member == "ImageNetS50/train-semi-segmentation/n01440764/n01440764_18.png"


def test_a_tilde_is_the_home_folder(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every path that Python users give; a shell has put the folder there already."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IMAGENETS_ROOT", "~/sets")
    assert paths.default_root() == tmp_path / "sets"
    matching.save({0: 0, 1: 2, 2: 1}, Path("~/match.json"))
    assert (tmp_path / "match.json").is_file()
    assert matching.load(Path("~/match.json"), 2) == {0: 0, 1: 2, 2: 1}
    data = ImageNetS(tiny_root, "validation", 3)
    file = tmp_path / "masks" / f"{data.names[0]}.png"
    file.parent.mkdir(parents=True)
    masks.save(f"~/masks/{data.names[0]}.png", data.mask(0))
    assert list(list_masks(Path("~/masks"))) == [data.names[0]]
    assert np.array_equal(data.with_masks("~/masks").mask(0), data.mask(0))
    data.plot(0, "~/picture.png")
    assert (tmp_path / "picture.png").is_file()
