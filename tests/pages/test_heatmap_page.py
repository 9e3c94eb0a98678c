"""The page of heat maps: measures beside baselines, classes, images with their maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from page_facts import check

from imagenets import ImageNetS
from imagenets.cli.main import main
from imagenets.pages import pictures
from imagenets.pages.heatmaps import SECTIONS


def test_measured_maps_as_a_page(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for sample in ImageNetS(tiny_root, "validation", "3", target="label"):
        path = tmp_path / "maps" / f"{sample['name']}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rng.random(sample["target"].shape) + (sample["target"].numpy() == 1))
    words = ["heatmaps", "--root", str(tiny_root), "--maps", str(tmp_path / "maps"), "--json"]
    more = ["--view", "squash24", "--maps-at", "image", "--bootstrap", "10"]
    path = tmp_path / "page.html"
    assert main([*words, *more, "--report", str(path)]) == 0
    found = json.loads(capsys.readouterr().out)
    text = path.read_text("utf-8")
    page = check(text, list(SECTIONS))
    for name, said in (("energy", "energy inside the object"), ("roc_auc", "area under the ROC")):
        own, constant = found["maps"]["mean"][name], found["baselines"]["constant"]["mean"][name]
        cells = "".join(f'<td class="number">{value:.2f}</td>' for value in (own, constant))
        assert said in text
        assert cells in text
        ends = found["intervals"][name]
        assert f"{ends['low']:.2f} to {ends['high']:.2f}" in text
    rows = [of["data-words"].split()[0] for of, _ in page.all("tr") if "data-words" in of]
    assert rows == ["n90000001", "n90000002", "n90000003"]
    cards = page.all("figure", **{"class": "card"})
    counted = found["maps"]["counted"]["average_precision"]
    assert len(cards) == counted == 9  # three images do not show the object of their label
    assert len(page.all("img")) == 27
    assert "squash24" in text


def test_a_folder_that_is_not_there_is_told_first(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["heatmaps", "--root", str(tiny_root), "--maps", str(tmp_path)]
    assert main([*words, "--report", str(tmp_path / "no" / "page.html")]) == 1
    assert "Make it first" in capsys.readouterr().err


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf])
def test_maps_without_a_range_are_drawn(value: float) -> None:
    photo = np.zeros((4, 6, 3), np.uint8)
    assert pictures.heat(np.full((4, 6), value), photo).startswith("data:image/webp;base64,")
