"""The page of two runs: differences, what differs, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made_run import HOSTILE, change, make_run
from page_facts import check

from imagenets.cli.main import main
from imagenets.pages.comparison import SECTIONS, write_comparison


@pytest.fixture(scope="module")
def other(tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose masks are moved farther, and which was set up otherwise."""
    out = make_run(tiny_root, tmp_path_factory.mktemp("other") / "run", shift=3, text=HOSTILE)
    change(out / "config.json", batch=8)
    return out


def test_two_runs_side_by_side(
    made: Path, other: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["report", "--root", str(tiny_root), "--workers", "1"]
    path = tmp_path / "page.html"
    assert main([*place, "--compare", str(other), str(made), "--page", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    text = path.read_text("utf-8")
    page = check(text, list(SECTIONS), evil=HOSTILE)
    a, b = (json.loads((run / "scores.json").read_text()) for run in (other, made))
    assert b["mIoU"] > a["mIoU"]
    gain = f'<td class="number gain">{b["mIoU"] - a["mIoU"]:+.2f}</td>'
    values = "".join(f'<td class="number">{one["mIoU"]:.2f}</td>' for one in (a, b))
    assert f'<th scope="row">mIoU</th>{values}{gain}' in text
    assert '<th scope="row">batch</th><td>8</td><td>4</td>' in text
    charts = [found for found, _ in page.all("svg", role="img") if "data-values" in found]
    lines = [[one["name"] for one in json.loads(found["data-values"])] for found in charts]
    assert lines[0] == ["A i2i", "A ln M", "B i2i", "B ln M"]
    assert lines[-1] == ["A", "B"]
    rows = [words for found, words in page.all("tr") if "data-words" in found]
    assert len(rows) == 4
    cards = page.all("figure", **{"class": "card"})
    assert 1 <= len(cards) <= 16
    for i, one in zip((0, 1, 2, 3), b["IoUs"], strict=True):
        assert f'data-value="{one}"' in text, i


def test_a_run_beside_itself_neither_gains_nor_loses(
    made: Path, tiny_root: Path, tmp_path: Path
) -> None:
    text = write_comparison(tiny_root, "3", (made, made), tmp_path / "page.html", 1).read_text()
    assert '<td class="number ">+0.00</td>' in text
    assert 'class="number gain"' not in text
    assert 'class="number loss"' not in text


def test_settings_that_differ_by_little_are_told_in_full(
    made: Path, tiny_root: Path, tmp_path: Path
) -> None:
    runs = [shutil.copytree(made, tmp_path / name) for name in "ab"]
    for run, tau in zip(runs, (0.25, 0.25000001), strict=True):
        change(run / "config.json", tau=tau)
    text = write_comparison(tiny_root, "3", (runs[0], runs[1]), tmp_path / "page.html", 1)
    assert "<td>0.25</td><td>0.25000001</td>" in text.read_text()


def test_what_cannot_be_compared_is_told(
    made: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["report", "--root", str(tiny_root), "--workers", "1", "--compare", str(made)]
    assert main([*place, str(tmp_path)]) == 1
    assert f"{tmp_path / 'scores.json'}: not there" in capsys.readouterr().err
    run = shutil.copytree(made, tmp_path / "run")
    change(run / "config.json", tier="50")
    assert main([*place, str(run)]) == 2
    assert "of tier 50, not 3. Compare two runs of one tier." in capsys.readouterr().err
    assert main([*place, str(made), "--out", str(made)]) == 2
    assert "--out names one run, --compare two" in capsys.readouterr().err
