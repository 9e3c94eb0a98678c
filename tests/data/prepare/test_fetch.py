"""Lists and archives are taken from where the user says, and checked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny import CLASSES, tiny

from imagenets.data.lists import read_lists
from imagenets.data.prepare.fetch import Origin, check_name, fetch_archive, fetch_lists
from imagenets.errors import CorruptError, DownloadError, MissingError, UsageError
from imagenets.tiers import TIERS, get_tier, list_paths


def test_an_index_folder_is_copied_to_the_downloads(tmp_path: Path) -> None:
    index = tiny().index(tmp_path / "index")
    tier = fetch_lists("3", Origin(index=index), tmp_path / "downloads")
    for path in list_paths("3").values():
        assert (tmp_path / "downloads" / path).read_bytes() == (index / path).read_bytes()
    assert read_lists(tier, tmp_path / "downloads").classes == CLASSES
    assert fetch_lists("3", Origin(), tmp_path / "downloads") == tier  # from now on without it


def test_a_checkout_of_the_publishers_repository_will_do(tmp_path: Path) -> None:
    tiny().index(tmp_path / "checkout" / "data")
    assert fetch_lists("3", Origin(index=tmp_path / "checkout"), tmp_path / "d").name == "3"


def test_an_official_list_with_another_digest_is_refused(tmp_path: Path) -> None:
    tiny(name="50").index(tmp_path / "index")
    with pytest.raises(CorruptError, match=TIERS["50"].lists[0].sha256 or "") as caught:
        fetch_lists("50", Origin(index=tmp_path / "index"), tmp_path / "downloads")
    assert len(re.findall(r"\b[0-9a-f]{64}\b", str(caught.value))) == 2
    assert not (tmp_path / "downloads").exists()


def test_an_official_list_with_a_byte_order_mark_says_so(tmp_path: Path) -> None:
    for path in tiny(name="50").index(tmp_path / "index").rglob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    with pytest.raises(CorruptError, match=r"categories_im50\.txt: .* byte order mark"):
        fetch_lists("50", Origin(index=tmp_path / "index"), tmp_path / "downloads")


def test_offline_names_what_is_lacking(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"ImageNetS_categories_im50\.txt"):
        fetch_lists("50", Origin(offline=True), tmp_path)


def test_an_unknown_tier_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no tier '51'"):
        check_name("51", None, tmp_path)
    check_name("50", None, tmp_path)
    check_name("3", None, tiny().index(tmp_path))


def test_the_archive_is_found_by_its_content(tmp_path: Path) -> None:
    index = tiny().index(tmp_path / "index")
    other = tiny(name="4").archive(tmp_path, "ImageNetS3-misnamed.zip")
    right = tiny().archive(tmp_path, "renamed.zip")
    tier = get_tier("3", index)
    assert fetch_archive(tier, Origin(annotations=(other, right)), tmp_path) == right
    with pytest.raises(UsageError, match=rf"--annotations .*\({other} is of another tier\)"):
        fetch_archive(tier, Origin(annotations=(other,)), tmp_path / "empty")


def test_an_archive_that_was_given_and_is_of_no_tier_is_an_error(tmp_path: Path) -> None:
    """It is not passed over for one that is fetched, or asked for once more."""
    world = tiny()
    world.members = {name.partition("/")[2]: data for name, data in world.members.items()}
    path = world.archive(tmp_path)
    for name in ("3", "50"):
        tier = get_tier(name, world.index(tmp_path))
        with pytest.raises(CorruptError, match=rf"^{path}: no mask archive: .* such as t.*expect"):
            fetch_archive(tier, Origin(annotations=(path,)), tmp_path / "downloads")


def test_a_custom_tier_without_archive_says_what_to_do(tmp_path: Path) -> None:
    tier = get_tier("3", tiny().index(tmp_path))
    with pytest.raises(UsageError, match=r"--annotations ImageNetS3-<md5>\.zip"):
        fetch_archive(tier, Origin(), tmp_path)
    with pytest.raises(MissingError, match=r"none\.zip: no such mask archive"):
        fetch_archive(tier, Origin(annotations=(tmp_path / "none.zip",)), tmp_path)
