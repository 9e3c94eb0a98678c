"""A finished run loses what it no longer needs, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_run import job, run_stages

from imagenets import ImageNetS
from imagenets.cli.main import main
from imagenets.errors import MissingError
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.cleaning import LEFTOVERS
from imagenets.methods.pass_.label_files import open_labels
from imagenets.training.cleaning import clean


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run with what interruptions and other settings leave."""
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "replaced" / "pseudo-1").mkdir(parents=True)
    (out / "replaced" / "pseudo-1" / "old.h5").write_bytes(bytes(3000))
    (out / "pretrain" / "checkpoint-7.pt").write_bytes(bytes(2000))
    (out / "cluster" / "centroids.npy.part").write_bytes(bytes(1000))
    return out


def size(out: Path) -> int:
    files = (path for path in out.rglob("*") if path.is_file() and ".lock" not in path.parts)
    return sum(path.stat().st_size for path in files)


def test_a_dry_run_removes_nothing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    assert main(["clean", "--run", str(run), "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert before.keys() <= {*run.rglob("*")}
    assert all(path.stat().st_mtime_ns == at for path, at in before.items() if path.is_file())
    kinds = {one["what"]: (one["files"], one["bytes"]) for one in found["kinds"]}
    labels = [path.stat().st_size for path in (run / "pseudo").glob("*.h5")]
    assert kinds["pseudo labels"] == (len(labels), sum(labels))
    assert kinds["what was made anew, as it was before"] == (1, 3000)
    assert kinds["checkpoints on the way"] == (1, 2000)
    assert kinds["unfinished files"] == (1, 1000)
    assert found["bytes"] == sum(number for _, number in kinds.values())


def test_what_is_removed_is_what_was_said(
    run: Path, tiny_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = size(run)
    main(["clean", "--run", str(run), "--dry-run", "--json"])
    said = json.loads(capsys.readouterr().out)["bytes"]
    assert main(["clean", "--run", str(run)]) == 0
    assert f"{said / 1e6:,.1f} MB  removed from {run}" in capsys.readouterr().out
    assert before - size(run) == pytest.approx(said, rel=0.1)  # headers of checkpoints
    assert not list(run.glob("pseudo/*.h5"))
    assert not (run / "replaced" / "pseudo-1").exists()
    assert main(["clean", "--run", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == 0


def test_a_cleaned_run_is_done_and_predicts(
    run: Path, finished: Path, tiny_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clean(run, LEFTOVERS)
    for stage in ("pretrain", "attention", "finetune"):
        now, then = (
            torch.load(out / stage / "checkpoint.pt")["state_dict"] for out in (run, finished)
        )
        assert now.keys() == then.keys()
        assert all(torch.equal(now[name], then[name]) for name in now)
    with caplog.at_level("INFO"):
        run_stages(job(tiny_root, run), *STAGES)
    assert [record.getMessage() for record in caplog.records] == [f"{s}: done" for s in STAGES]
    words = ["predict", "--root", str(tiny_root), "--run", str(run), "--device", "cpu"]
    assert main(words) == 0
    assert len(list((run / "predict-test").rglob("*.png"))) == 6


def test_labels_that_were_cleaned_away_can_be_made_again(
    run: Path, finished: Path, tiny_root: Path
) -> None:
    clean(run, LEFTOVERS)
    with pytest.raises(MissingError, match=r"removed by `imagenets clean`\. Delete this folder"):
        open_labels(run, ImageNetS(tiny_root, "train", 3))
    shutil.rmtree(run / "pseudo")
    run_stages(job(tiny_root, run), "pseudo")
    for path in (finished / "pseudo").glob("*.h5"):
        assert (run / "pseudo" / path.name).read_bytes() == path.read_bytes()
    assert open_labels(run, ImageNetS(tiny_root, "train", 3)).threshold


def test_an_unfinished_run_keeps_everything(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = json.loads((run / "ledger.json").read_text())
    ledger["finetune"]["result"] = None
    (run / "ledger.json").write_text(json.dumps(ledger))
    before = size(run)
    assert main(["clean", "--run", str(run)]) == 2
    assert "not finished (finetune)" in capsys.readouterr().err
    assert size(run) == before
    assert main(["clean", "--run", str(tmp_path / "no")]) == 2
    assert "no such folder" in capsys.readouterr().err
