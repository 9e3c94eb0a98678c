"""A run of PASS that takes seconds: small networks, small crops, the tiny set."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from imagenets.data.augment import ViewGroup
from imagenets.methods.pass_ import STAGES
from imagenets.methods.pass_.presets import Config, Schedule
from imagenets.training.run import Run
from imagenets.training.stage import Stages

SMALL = Config(
    arch="resnet18w05",
    hidden=16,
    prototypes=8,
    views=(ViewGroup(2, 32, (0.3, 1.0)), ViewGroup(1, 16, (0.1, 0.3))),
    attention_views=(ViewGroup(2, 32, (0.3, 1.0)),),
    pretrain=Schedule(2, 0.6, queue=8, queue_from=1, freeze=3),
    attention=Schedule(1, 0.6),
    finetune=Schedule(1, 0.6),
    batch=4,
    side=32,
    crop=32,
    restarts=3,
)


def job(root: Path, out: Path, config: Config = SMALL) -> Run[Config]:
    return Run(root, "3", out, config, torch.device("cpu"))


def run_stages(run: Run[Config], *stages: str) -> None:
    Stages(STAGES, run).run(stages)


def take_over(finished: Path, out: Path, stages: list[str]) -> None:
    """Copies some stages of a finished run, as if no more had been done yet."""
    out.mkdir(exist_ok=True)
    for stage in stages:
        shutil.copytree(finished / stage, out / stage)
    shutil.copy(finished / "ledger.json", out)


class Ends:
    """Calls through to something so many times, then is interrupted."""

    def __init__(self, what: Any, calls: int) -> None:
        self.what, self.left, self.calls = what, calls, 0

    def __call__(self, *arguments: Any) -> Any:
        if self.calls == self.left:
            raise KeyboardInterrupt
        self.calls += 1
        return self.what(*arguments)
