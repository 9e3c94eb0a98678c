"""Where everything of a root lies: names written are names read."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagenets import paths


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
