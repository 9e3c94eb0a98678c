"""`torchrun -m imagenets train`, as a person types it: two real ranks on the CPU."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ranks import free_port

from imagenets.methods.pass_ import STAGES

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]


def start(root: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    port = ["--master-port", str(free_port())]
    place = ["--root", str(root), "--split", "3", "--out", str(out), "--preset", "sample"]
    rest = ["--device", "cpu", "--workers", "0", *words]
    return subprocess.Popen(
        [*TORCHRUN, *port, "-m", "imagenets", "train", *place, *rest],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_all_steps_run_and_the_first_rank_tells(tiny_root: Path, tmp_path: Path) -> None:
    with start(tiny_root, tmp_path, "--epochs", "0", "--batch-size", "6") as process:
        said, told = process.communicate(timeout=300)
    assert process.returncode == 0, told
    assert said.count("done: ") == 1
    assert told.count("cluster: NMI") == 1
    ledger = json.loads((tmp_path / "ledger.json").read_text())
    assert set(ledger) == set(STAGES)
    assert all(entry["result"] for entry in ledger.values())
    with start(tiny_root, tmp_path, "--epochs", "0", "--batch-size", "6") as process:
        said, told = process.communicate(timeout=300)
    assert [told.count(f"{stage}: done") for stage in STAGES] == [1] * len(STAGES)


@pytest.mark.slow
def test_what_is_wrong_is_said_once(tiny_root: Path, tmp_path: Path) -> None:
    with start(tiny_root, tmp_path, "--epochs", "1", "--batch-size", "7") as process:
        _, told = process.communicate(timeout=300)
    assert process.returncode != 0
    assert told.count("error: a batch of 7 images cannot be shared by 2 ranks") == 1
    assert told.count("cannot be shared by 2 ranks") == 1
    assert "lost the others" not in told


@pytest.mark.slow
def test_a_job_that_is_ended_saves_and_goes_on(tiny_root: Path, tmp_path: Path) -> None:
    words = ("--epochs", "500", "--batch-size", "6", "--save-every", "1steps")
    folder = tmp_path / "pretrain"
    with start(tiny_root, tmp_path, *words) as process:
        until = time.monotonic() + 200
        while not any(folder.glob("checkpoint-*.pt")):
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=100)
    assert process.returncode != 0
    assert "SIGTERM: all steps up to here are saved" in told
    assert "terminated: run the same command again to continue" in told
    assert "lost the others" not in told
    assert any(folder.glob("checkpoint-*.pt"))
