"""Several seeds in one command: trained, gone on with, scored, tabulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imagenets.cli.main import main
from imagenets.errors import MissingError
from imagenets.evaluation.metrics import SCALARS
from imagenets.methods.pass_.seeds import seeds_text, tabulate


def row(protocol: str, miou: float, interval: tuple[float, float] | None) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(SCALARS, miou)
    found |= {"masks": "final", "protocol": protocol, "threshold_from": "A", "match_from": "B"}
    return found | ({"interval": {"mIoU": interval}} if interval else {})


def written(out: Path, seed: int, rows: list[dict[str, Any]]) -> None:
    folder = out / f"seed-{seed}"
    folder.mkdir(parents=True)
    (folder / "scores.json").write_text(json.dumps({"results": rows}))


def test_mean_and_spread_by_hand(tmp_path: Path) -> None:
    for seed, miou in ((0, 20.0), (4, 24.0), (9, 28.0)):
        rows = [row("optimistic", miou, None), row("cross-fit match", miou - 1, (miou - 2, miou))]
        written(tmp_path, seed, rows + ([row("otsu", 1.0, None)] if seed else []))
    found = tabulate(tmp_path, [0, 4, 9])
    assert found == json.loads((tmp_path / "seeds.json").read_text())
    first, second = found["results"]  # a row that only some runs have is no row
    assert first["mIoU"] == {"values": [20.0, 24.0, 28.0], "mean": 24.0, "spread_over_seeds": 4.0}
    assert first["intervals_over_images"] == []
    assert second["intervals_over_images"] == [[18.0, 20.0], [22.0, 24.0], [26.0, 28.0]]
    text = seeds_text(found)
    assert "24.00                4.00" in text
    assert "spread over seeds" in text
    assert "each over images (95 %): 18.00 to 20.00, 22.00 to 24.00, 26.00 to 28.00" in text


def test_one_seed_has_no_spread_and_a_run_without_scores_is_told(tmp_path: Path) -> None:
    written(tmp_path, 1, [row("optimistic", 20.0, None)])
    (one,) = tabulate(tmp_path, [1])["results"]
    assert one["mIoU"]["spread_over_seeds"] is None
    with pytest.raises(MissingError, match=r"seed-2.*imagenets score"):
        tabulate(tmp_path, [1, 2])
    (tmp_path / "seed-1" / "scores.json").write_text("{}")
    with pytest.raises(MissingError, match="earlier release"):
        tabulate(tmp_path, [1])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds", "0", "0"], "twice"),
        (["--seeds", "0", "1", "--seed", "3"], "give --seeds alone"),
        (["--seeds", "0", "--set", "seed=3"], "give --seeds alone"),
        (["--seeds", "0", "--stages", "pretrain"], "whole runs"),
        (["--seeds", "0", "--dry-run"], "whole runs"),
    ],
)
def test_what_does_not_go_together_is_refused(
    words: list[str],
    said: str,
    tiny_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = ["train", "--root", str(tiny_root), "--split", "3", "--out", str(tmp_path / "runs")]
    assert main([*call, *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_seeds_are_trained_scored_and_gone_on_with(
    tiny_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "--root", str(tiny_root), "--split", "3", "--out", str(tmp_path)]
    call += ["--device", "cpu", "--workers", "0", "--epochs", "0", "--batch-size", "4"]
    call += ["--set", "restarts=1"]
    assert main([*call, "--seeds", "0"]) == 0
    before = (tmp_path / "seed-0" / "ledger.json").read_bytes()
    capsys.readouterr()
    assert main([*call, "--seeds", "0", "1"]) == 0
    said = capsys.readouterr()
    assert "pretrain: done" in said.err  # of the first seed: nothing is trained twice
    assert (tmp_path / "seed-0" / "ledger.json").read_bytes() == before
    found = json.loads((tmp_path / "seeds.json").read_text())
    assert found["seeds"] == [0, 1]
    scores = [json.loads((tmp_path / f"seed-{i}" / "scores.json").read_text()) for i in (0, 1)]
    assert [one["provenance"]["seed"] for one in scores] == [0, 1]
    assert found["results"][0]["mIoU"]["values"] == [one["mIoU"] for one in scores]
    assert "spread over seeds" in said.out
