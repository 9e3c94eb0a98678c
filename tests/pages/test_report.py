"""The page of a run: every section is there, numbers are the run's, nothing harms or leaves it."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from made_run import HOSTILE, change, make_run
from page_facts import Parsed, check

from imagenets import masks
from imagenets.cli.main import main
from imagenets.errors import CorruptError
from imagenets.pages.charts import Chart, Series, ticks
from imagenets.pages.comparison import write_comparison
from imagenets.pages.pictures import Card, Key, Picture
from imagenets.pages.report import SECTIONS, write_report
from imagenets.pages.templating import fill, short
from imagenets.protocols import PROTOCOLS, VALID


@pytest.fixture(scope="module")
def text(made: Path, tiny_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert write_report(tiny_root, "3", made, path, workers=1) == path
    return path.read_text("utf-8")


def test_every_section_is_there_and_nothing_is_asked_for(text: str) -> None:
    page = check(text, list(SECTIONS))
    links = [found["href"] for found, _ in page.all("a")]
    assert links == ["#main", *(f"#{name}" for name in SECTIONS)]
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0][0]["content"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_scores_of_all_ways_with_intervals_and_protocols(text: str, made: Path) -> None:
    scores = json.loads((made / "scores.json").read_text())
    assert len(scores["results"]) == 5
    for row in scores["results"]:
        low, high = row["interval"]["mIoU"]
        assert re.search(
            rf'<td>{row["masks"]}</td><th scope="row">{row["protocol"]}</th>'
            rf'<td class="number">{row["mIoU"]:.2f}</td>'
            rf'<td class="number">{low:.2f} to {high:.2f}</td>',
            text,
        )
        assert html.escape(row["threshold_from"]).replace("&#x27;", "&#39;") in text
    assert "mind this" in text
    for name, found in scores["valid_for"].items():
        title, valid = PROTOCOLS[name].title, VALID[found["valid"]]
        verdict = f'<span class="verdict {valid}">{valid}</span>'
        told = f'{verdict} <span class="quiet">{html.escape(found["why"])}</span>'
        assert f'<th scope="row">{title}</th><td>{told}</td>' in text


def test_curves_have_axes_and_ln_m_beside_the_swav_loss(text: str) -> None:
    page = check(text, list(SECTIONS))
    charts = {
        found["aria-label"].partition(":")[0]: found
        for found, _ in page.all("svg", role="img")
        if "data-values" in found
    }
    losses = json.loads(charts["Losses, and ln M beside i2i"]["data-values"])
    assert [one["name"] for one in losses] == ["i2i", "p2p", "ln M"]
    assert losses[0]["points"] == [[1, 2.5], [2, 1.25], [3, 0.8333], [4, 0.625], [5, 0.5]]
    sweep = json.loads(charts["Labels on validation by threshold"]["data-values"])
    assert sweep[0]["points"] == [[0.0, 10.0], [0.3, 30.0], [0.6, 20.0]]
    assert "chosen: 0.30" in text


def test_classes_confusions_images_and_categories(text: str, made: Path) -> None:
    page = check(text, list(SECTIONS))
    rows = [found["data-words"] for found, _ in page.all("tr") if "data-words" in found]
    assert {row.split()[0] for row in rows} == {"other", "n90000001", "n90000002", "n90000003"}
    scores = json.loads((made / "scores.json").read_text())
    for i in (1, 2, 3):
        assert f'data-value="{scores["IoUs"][i]}"' in text
    assert "One class for another" in [words for _, words in page.all("caption")]
    cards = page.all("figure", **{"class": "card"})
    assert len(cards) == 12
    assert all(json.loads(found["data-legend"])[0] == "other" for found, _ in cards)
    kinds = [found["alt"].split()[0] for found, _ in page.all("img")]
    assert [kinds.count(kind) for kind in ("photograph", "ground", "prediction", "attention")] == [
        12
    ] * 4
    assert kinds.count("the") == 2
    assert "8 of 8 are filed under n90000003" in text  # category 1: ids are turned by one
    assert "4 of 8 are filed under n90000001" in text


def test_maps_are_called_what_they_are(tiny_root: Path, tmp_path: Path) -> None:
    out = make_run(tiny_root, tmp_path / "run")
    change(out / "config.json", foreground="saliency")
    text = write_report(tiny_root, "3", out, workers=1).read_text("utf-8")
    kinds = [found["alt"].split()[0] for found, _ in check(text, list(SECTIONS)).all("img")]
    assert (kinds.count("saliency"), kinds.count("attention")) == (12, 0)
    assert "Saliency is that of the labelling step" in text


def test_text_of_a_run_is_never_html(tiny_root: Path, tmp_path: Path) -> None:
    out = make_run(tiny_root, tmp_path / "a<b>&'c\"", text=HOSTILE)
    text = write_report(tiny_root, "3", out, workers=1).read_text("utf-8")
    page = check(text, list(SECTIONS), evil=HOSTILE)
    assert f"resnet18{HOSTILE}" in [words for _, words in page.all("dd")]
    assert any(HOSTILE in words for _, words in page.all("p", **{"class": "warning"}))


def test_a_hostile_name_of_a_class_or_an_image_is_text() -> None:
    card = Card(HOSTILE, HOSTILE, [Picture(HOSTILE, "data:,", HOSTILE)], [Key(HOSTILE, (1, 2, 3))])
    gallery = fill("sections/gallery.html", groups=[(HOSTILE, [card])], foreground=None)
    assert 'alt="&#34;&#39;&gt;&lt;script' in gallery
    words = dict.fromkeys(("name", "wnid", "lemmas", "definition"), HOSTILE)
    row = words | {"id": 1, "iou": 1.0, "biou": 1.0, "images": 1, "pixels": 1, "category": 1}
    classes = fill("sections/classes.html", rows=[row], generated=True)
    pair = {"true": HOSTILE, "predicted": HOSTILE, "pixels": 1, "share": 1.0}
    confusions = fill("sections/confusions.html", tables=[(HOSTILE, "most", [pair])])
    sheet = {**words, "category": 1, "iou": 1.0, "own": 1, "count": 1, "strip": "data:,"}
    sheets = fill("sections/clusters.html", sheets=[sheet | {"width": 64}], lacks="")
    for text in (gallery, classes, confusions, sheets):
        assert "&lt;script&gt;alert(1)" in text
        assert "<script" not in text
        assert "<img src=http" not in text
        Parsed(f"<div>{text}</div>")


def test_what_a_run_lacks_is_said(made: Path, tiny_root: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    for name in ("pretrain", "finetune", "cluster", "pseudo"):
        shutil.rmtree(run / name)
    scores = json.loads((run / "scores.json").read_text())
    for name in ("results", "used", "valid_for", "provenance"):
        scores.pop(name)
    (run / "scores.json").write_text(json.dumps(scores))
    text = write_report(tiny_root, "3", run, workers=1).read_text("utf-8")
    check(text, list(SECTIONS))
    for said in (
        "No stage of this run has a log",
        "chose no threshold",
        "did not keep the images nearest",
        "do not tell what the run was made from",
        "do not tell for which protocols",
    ):
        assert said in text


def test_a_run_that_is_not_scored_is_told(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["report", "--root", str(tiny_root), "--out", str(tmp_path)]
    assert main(place) == 1
    assert "Run `imagenets-baseline score` on this run first" in capsys.readouterr().err
    assert main([*place, "--page", str(tmp_path / "no" / "page.html")]) == 1
    assert "Make it first" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_damaged_log_is_told(
    made: Path, tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    with (run / "pretrain" / "log.jsonl").open("a") as file:
        file.write("{half")
    assert main(["report", "--root", str(tiny_root), "--out", str(run), "--workers", "1"]) == 1
    assert "pretrain/log.jsonl: not readable" in capsys.readouterr().err
    change(run / "scores.json", mIoU=1)
    assert not (run / "report.html").exists()


def test_a_line_that_is_no_epoch_is_told(made: Path, tiny_root: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    for line in ("3", '{"i2i": 1.0}', '{"epoch": null, "i2i": 1.0}'):
        (run / "pretrain" / "log.jsonl").write_text(f"{line}\n")
        with pytest.raises(CorruptError, match="a line is no epoch"):
            write_report(tiny_root, "3", run, workers=1)


def test_a_sweep_that_lacks_thresholds_is_told(made: Path, tiny_root: Path, tmp_path: Path) -> None:
    run = shutil.copytree(made, tmp_path / "run")
    (run / "pseudo" / "threshold.json").write_text('{"best": 0.3}')
    with pytest.raises(CorruptError, match=r"threshold\.json: lacks thresholds"):
        write_report(tiny_root, "3", run, workers=1)


def test_scores_of_other_masks_than_those_of_now_are_told(tiny_root: Path, tmp_path: Path) -> None:
    run = make_run(tiny_root, tmp_path / "run")
    said = "is not of the masks and the ground truth that are here now: it says"
    assert said not in write_report(tiny_root, "3", run, workers=1).read_text("utf-8")
    for path in (run / "predict").rglob("*.png"):
        masks.save(path, np.zeros_like(masks.load(path)))
    page = check(write_report(tiny_root, "3", run, workers=1).read_text("utf-8"), list(SECTIONS))
    assert said in page.all("p", **{"class": "warning"})[0][1]
    text = write_comparison(tiny_root, "3", (run, run), tmp_path / "both.html", 1).read_text()
    warned = [words for _, words in Parsed(text).all("p", **{"class": "warning"})]
    assert [words[:3] for words in warned if said in words] == ["A: ", "B: "]


@pytest.mark.parametrize(
    ("low", "high", "around", "want"),
    [
        (1, 20, False, [5, 10, 15, 20]),
        (0, 1, True, [0, 0.25, 0.5, 0.75, 1]),
        (3.05, 3.4, True, [3, 3.1, 3.2, 3.3, 3.4]),
        (2, 2, True, [1, 1.5, 2, 2.5, 3]),
        (-0.8, 3.6, True, [-2, 0, 2, 4]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, around: bool, want: list[float]) -> None:
    assert ticks(low, high, 5, around) == want


def test_a_chart_places_its_points_and_leaves_out_what_is_not_finite() -> None:
    line = Series("a", [1, 2, 3], [0.0, float("nan"), 10.0])
    chart = Chart("t", "epoch", "y", [line])
    assert line.points == [(1, 0), (3, 10)]
    assert chart.line(line) == "56.0,226.0 466.0,12.0"
    long = Series("long", range(5000), [0.0] * 5000).points
    assert (len(long), long[0][0], long[-1][0]) == (500, 0, 4999)
    assert Chart("t", "epoch", "y", [Series("a", [1, 2], [1, 2])]).x_ticks == [1, 2]


def test_settings_are_said_in_words() -> None:
    assert short([0.1, 1.0, True, None, "x"]) == "0.1, 1, yes, none, x"
    assert short([]) == "none"
