"""The pieces of a browser: what they say, and that a stop or a full disk leaves nothing wrong."""

from __future__ import annotations

import base64
import errno
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import tiny

from imagenets import ImageNetS, masks
from imagenets.cli import prepare
from imagenets.cli.main import main
from imagenets.errors import UsageError
from imagenets.pages import browser
from imagenets.pages.browser import write_browser
from imagenets.pages.browsing import pieces


def read(folder: Path, kind: str) -> list[list[Any]]:
    """All rows of a kind of piece, in their order."""
    rows = []
    for number in range(len(list(folder.glob(f"{kind}-*.js")))):
        text = (folder / f"{kind}-{number}.js").read_text()
        head = f'piece("{kind}", "{folder.name}", {number}, '
        assert text.startswith(head)
        assert text.endswith(")\n")
        rows += json.loads(text[len(head) : -2])
    return rows


def opened(data: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data)))


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix != ".json"}


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, count in {"details": 2, "thumbs": 3, "index": 6}.items():
        monkeypatch.setitem(pieces.KINDS, kind, count)


@pytest.mark.usefixtures("small_pieces")
def test_pieces_say_what_the_data_set_says(tiny_root: Path, tmp_path: Path) -> None:
    made = write_browser(tiny_root, "3", ["validation"], tmp_path / "look", workers=1)
    (folder,) = (tmp_path / "look").glob("validation-*")
    data = ImageNetS(tiny_root, "validation", 3, target="label")
    index, thumbs, details = (read(folder, kind) for kind in ("index", "thumbs", "details"))
    assert (made.made, made.images) == (len(data), {"validation": len(data)})
    assert len(index) == len(thumbs) == len(details) == len(data)
    columns = list(zip(*index, strict=True))
    assert list(columns[0]) == list(data.names)
    assert list(columns[1]) == data.class_ids.tolist()
    assert list(columns[2]) == data.ilsvrc.tolist()
    assert list(columns[3]) == data.target_ids.tolist()
    shares = data.object_shares()
    np.testing.assert_allclose(columns[5], 100 * shares, atol=0.006)
    for size in ("S", "MS", "ML", "L"):
        wanted = data.subset_by_size(size).rows.tolist()
        assert [i for i, name in enumerate(columns[4]) if name == size] == wanted
    assert [name == "absent" for name in columns[4]] == (shares == 0).tolist()
    assert any(name == "absent" for name in columns[4])
    assert np.array(index, object)[:, 7:].tolist() == data.sizes.tolist()
    for i, (large, mask) in enumerate(details):
        ids = data.mask(i)
        np.testing.assert_array_equal(masks.decode(base64.b64decode(mask)), ids)
        assert index[i][6] == [one for one in np.unique(ids).tolist() if one not in (0, 1000)]
        assert opened(large).size == ids.shape[::-1]
        assert opened(thumbs[i][0]).format == "JPEG"


@pytest.mark.usefixtures("small_pieces")
def test_a_second_run_does_nothing_and_a_stopped_one_goes_on(
    tiny_root: Path, tmp_path: Path
) -> None:
    out = tmp_path / "look"
    write_browser(tiny_root, "3", ["validation"], out, workers=1)
    before = times(out)
    assert write_browser(tiny_root, "3", ["validation"], out, workers=1).made == 0
    assert {path for path, time in times(out).items() if before[path] != time} <= {out / ".work"}
    (folder,) = out.glob("validation-*")
    text = (folder / "index-1.js").read_text()
    (folder / "index-1.js").unlink()
    (folder / "thumbs-2.js.part").write_text("half")
    assert write_browser(tiny_root, "3", ["validation"], out, workers=1).made == 6
    assert (folder / "index-1.js").read_text() == text
    assert not list(out.rglob("*.part"))


@pytest.mark.usefixtures("small_pieces")
def test_a_full_disk_leaves_no_page_and_the_next_run_goes_on(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, written = tmp_path / "look", []
    real = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 12:
            real(path, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left") as error:
            write_browser(tiny_root, "3", ["validation"], out, workers=1)
    assert Path(error.value.filename).suffix == ".js"
    assert not (out / "index.html").exists()
    assert not list(out.rglob("*.part"))
    assert 0 < write_browser(tiny_root, "3", ["validation"], out, workers=1).made < 12


def test_another_set_takes_the_place_of_the_old_one(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "look"
    write_browser(tiny_root, "3", ["validation", "test"], out, workers=1)
    (out / "validation-of-mine").mkdir()
    old = set(out.glob("*-????????????????"))
    assert len(old) == 2
    monkeypatch.setattr(browser, "_FORM", 0)
    write_browser(tiny_root, "3", ["validation"], out, workers=1)
    (new,) = out.glob("validation-????????????????")
    assert new not in old
    assert len(set(out.glob("*-????????????????")) & old) == 1  # the other split's stay
    assert new.name in (out / "index.html").read_text()
    assert (out / "validation-of-mine").exists()


def test_pieces_of_splits_that_are_left_out_stay_and_are_told(
    tiny_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look = tmp_path / "look"
    write_browser(str(tiny_root), "3", ["validation", "train-semi"], str(look), workers=1)
    write_browser(tiny_root, "3", ["validation"], look, workers=1)
    assert "stays, but is not on the page" in caplog.text
    assert "train-semi" not in (look / "index.html").read_text("utf-8")
    again = write_browser(tiny_root, "3", ["validation", "train-semi"], look, workers=1)
    assert again.made == 0


def test_a_folder_of_others_is_refused(tiny_root: Path, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("<title>mine</title>")
    with pytest.raises(UsageError, match="was not written by"):
        write_browser(tiny_root, "3", ["validation"], tmp_path, workers=1)
    assert page.read_text() == "<title>mine</title>"
    assert list(tmp_path.iterdir()) == [page]
    with pytest.raises(UsageError, match="is a file"):
        write_browser(tiny_root, "3", ["validation"], page, workers=1)
    page.rename(tmp_path / "thesis.html")
    with pytest.raises(UsageError, match=r"thesis\.html: is not of `imagenets browse`"):
        write_browser(tiny_root, "3", ["validation"], tmp_path, workers=1)


def test_the_page_of_another_tier_is_refused(tiny_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "look"
    page = write_browser(tiny_root, "3", ["validation"], out, workers=1).page
    page.write_text(page.read_text("utf-8").replace("ImageNet-S 3", "ImageNet-S 50"), "utf-8")
    before = times(out)
    with pytest.raises(UsageError, match="is over another tier than 3"):
        write_browser(tiny_root, "3", ["validation"], out, workers=1)
    assert times(out) == before


def test_the_prepared_root_is_no_place_for_the_page(
    tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["browse", "--root", str(tiny_root), "--out", str(tiny_root)]) == 2
    assert "belongs to the prepared root. Name another folder" in capsys.readouterr().err
    assert not (tiny_root / "index.html").exists()
    for name in ("runs/look", "ImageNetSlook"):
        with pytest.raises(UsageError, match="belongs to the prepared root"):
            write_browser(tiny_root, "3", ["validation"], tiny_root / name, workers=1)
    export = ["export", "--root", str(tiny_root), "--to", "gray16", "--out"]
    assert main([*export, str(tiny_root / "ImageNetSlook")]) == 2
    assert "belongs to the prepared root, which would take it" in capsys.readouterr().err


def test_without_lists_the_labels_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = tiny(train=1, semi=1, val=2, test=1)
    raw, index = world.folders(tmp_path / "raw"), world.index(tmp_path / "index")
    words = ["--split", "3", "--imagenet", raw, "--index", index, "--layout", "tree"]
    words += ["--annotations", world.archive(tmp_path), "--root", tmp_path / "root"]
    assert prepare.main([*map(str, words), "--workers", "1"]) == 0
    for path in (tmp_path / "root" / "downloads").rglob("*.txt"):
        path.unlink()
    out = tmp_path / "look"
    call = ["browse", "--root", str(tmp_path / "root"), "--out", str(out), "--workers", "1"]
    capsys.readouterr()
    assert main([*call, "--json"]) == 0
    shown = capsys.readouterr()
    assert "labels are left out" in shown.err
    assert json.loads(shown.out)["images"] == {"validation": 6}
    (folder,) = out.glob("validation-*")
    rows = read(folder, "index")
    assert {row[2] for row in rows} == {-1}
    assert [row[3] for row in rows] == [row[1] for row in rows]
