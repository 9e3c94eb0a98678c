"""Folders of masks in which others have left their traces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unprivileged import needs_unprivileged, run

from imagenets import masks
from imagenets.evaluation.mask_folders import list_masks

NAME = "n90000001/ILSVRC2012_val_00000001"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "masks" / f"{NAME}.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(masks.encode(np.ones((4, 5), np.uint16)))
    return tmp_path / "masks"


def test_what_operating_systems_leave_is_no_mask(folder: Path) -> None:
    for litter in ("__MACOSX/n90000001/x.png", "._x.png", f"{NAME[:10]}._y.png", "Thumbs.db"):
        path = folder / litter
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0\5\x16\7Mac OS X")
    assert list(list_masks(folder)) == [NAME]


@needs_unprivileged
@pytest.mark.parametrize(("closed", "code"), [("lost+found", 0), ("n90000002", 1)])
def test_a_closed_folder_is_passed_over_unless_it_is_a_class(
    folder: Path, closed: str, code: int
) -> None:
    (folder / closed).mkdir()
    (folder / closed).chmod(0)
    words = ["--pred", str(folder), "--gt", str(folder), "--split", "3"]
    done = run("evaluate", *words, "--workers", "1")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{folder / closed}: " in done.stderr
    warned = f"warning: {folder / closed}: cannot be listed (Permission denied)" in done.stderr
    assert warned == (code == 0)
