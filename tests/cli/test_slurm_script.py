"""The Slurm script of docs/scaling.md, with stand-ins for Slurm that note their calls."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"

SRUN = """#!/bin/bash
echo "srun $*" >> calls
trap 'echo "srun got TERM" >> calls; exit 143' TERM
touch running
for _ in $(seq "$TENTHS"); do sleep 0.1; done
exit "$CODE"
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> calls
echo node1
echo node2
"""


def start(folder: Path, tenths: int, code: int = 0) -> subprocess.Popen[bytes]:
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    for name, text in {"job": script, "srun": SRUN, "scontrol": SCONTROL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.Popen(
        ["bash", folder / "job"],
        cwd=folder,
        env=os.environ | slurm | {"PATH": path, "TENTHS": str(tenths), "CODE": str(code)},
    )


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


@pytest.mark.slow
def test_a_warned_job_ends_its_step_and_goes_back_into_the_queue(tmp_path: Path) -> None:
    with start(tmp_path, 300) as job:
        until = time.monotonic() + 30
        while not (tmp_path / "running").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        job.wait(timeout=30)
    names, step, ended, again = calls(tmp_path)
    assert names == "scontrol show hostnames node[1-2]"
    assert "torchrun --nnodes 2 --nproc-per-node 8" in step
    assert "--rdzv-endpoint node1:29500 --rdzv-id 7 -m imagenets train" in step
    assert ended == "srun got TERM"
    assert again == "scontrol requeue 7"


@pytest.mark.parametrize("code", [0, 1])
def test_a_job_that_ends_by_itself_is_not_put_back(code: int, tmp_path: Path) -> None:
    with start(tmp_path, 1, code) as job:
        assert job.wait(timeout=30) == code
    assert [call.split()[0] for call in calls(tmp_path)] == ["scontrol", "srun"]
