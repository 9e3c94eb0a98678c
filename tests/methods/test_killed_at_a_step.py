"""Killed at any step, a trained stage ends with the same bits as if nothing had happened."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SMALL

from imagenets.methods.pass_ import STAGES
from imagenets.training.watch import MEASURED

TRAINED = ("pretrain", "attention", "finetune")
STEPS = 12
KILLS = 5  # in each of two runs of each stage

# Imports everything once and forks for every run. A run dies before a given step, or half-way
# through writing a checkpoint of a given step.
_NURSERY = f"""
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch, torch._dynamo, numba, scipy.optimize, h5py
from small_run import SMALL, job, run_stages
from imagenets.methods.pass_ import {", ".join(TRAINED)}, trained
from imagenets.training import checkpoints
from imagenets.training.saving import SaveEvery

torch.set_num_threads(1)
rate, write = trained.cosine_rate, checkpoints.torch.save

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def run(root, out, stage, every, before, within):
    def doomed(iteration, iterations, base, final):
        if iteration == before:
            die()
        return rate(iteration, iterations, base, final)

    def torn(value, file):
        if within is not None and file.name.endswith(f"checkpoint-{{within}}.pt.part"):
            file.write(b"PK" * 1000)
            file.flush()
            die()
        write(value, file)

    trained.cosine_rate, checkpoints.torch.save = doomed, torn
    config = replace(SMALL, **{{stage: replace(getattr(SMALL, stage), epochs=2)}})
    begun = job(Path(root), Path(out), config)
    run_stages(replace(begun, save_every=SaveEvery.parse(every)), stage)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            run(**json.loads(line))
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Runs a stage in a new process each time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, out: Path, stage: str, every: str = "1h", **kill: int) -> int:
        """Runs it to its end, or to its death; returns the exit code."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"root": str(self._root), "out": str(out), "stage": stage, "every": every}
        asked |= {"before": kill.get("before"), "within": kill.get("within")}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def nursery(tiny_root: Path) -> Iterator[Nursery]:
    made = Nursery(tiny_root)
    yield made
    made.close()


def begin(finished: Path, out: Path, stage: str) -> Path:
    """A run in which all stages before this one are done."""
    out.mkdir()
    for before in list(STAGES)[: list(STAGES).index(stage)]:
        shutil.copytree(finished / before, out / before)
    shutil.copy(finished / "ledger.json", out)
    return out


def measured(key: str, value: Any) -> bool:
    """Whether it differs from run to run; the `memory` of a checkpoint is its queues."""
    return key in MEASURED and not isinstance(value, dict)


def plain(value: Any) -> Any:
    """Tensors as bytes, and nothing that a clock says: what can be compared by ==."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if not measured(key, inner)}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def left(out: Path, stage: str) -> tuple[Any, str]:
    """What a finished stage left: its state, and its log without what was measured."""
    names = {path.name for path in (out / stage).iterdir()}
    assert names == {"checkpoint.pt", "log.jsonl"}
    log = re.sub(
        rf'"({"|".join(MEASURED)})": [\d.e-]+', "", (out / stage / "log.jsonl").read_text()
    )
    return plain(torch.load(out / stage / "checkpoint.pt")), log


@pytest.mark.slow
@pytest.mark.parametrize("stage", TRAINED)
def test_the_end_is_the_same_after_kills(
    stage: str, finished: Path, tmp_path: Path, nursery: Nursery
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    rng = random.Random(seed)
    whole = begin(finished, tmp_path / "whole", stage)
    assert nursery.run(whole, stage) == 0
    expected = left(whole, stage)
    for every in ("1steps", "4steps"):
        out = begin(finished, tmp_path / every, stage)
        kills = sorted(rng.sample(range(1, STEPS), KILLS))
        said = f"seed {seed}: {stage}, saved every {every}, killed before {kills}"
        print(said)
        for step in kills:
            assert nursery.run(out, stage, every, before=step) == -9, said
            kept = sorted(path.name for path in (out / stage).glob("*.pt"))
            assert len(kept) <= 2, said
        assert nursery.run(out, stage, every) == 0
        assert left(out, stage) == expected, said


@pytest.mark.slow
def test_a_kill_while_a_checkpoint_is_written_leaves_the_ones_before(
    finished: Path, tmp_path: Path, nursery: Nursery
) -> None:
    whole = begin(finished, tmp_path / "whole", "finetune")
    assert nursery.run(whole, "finetune") == 0
    out = begin(finished, tmp_path / "torn", "finetune")
    for step in (1, 2, 5):
        assert nursery.run(out, "finetune", "1steps", within=step) == -9
        kept = sorted(path.name for path in (out / "finetune").glob("checkpoint*"))
        before = [f"checkpoint-{n}.pt" for n in (step - 2, step - 1) if n > 0]
        assert kept == [*before, f"checkpoint-{step}.pt.part"]
    assert nursery.run(out, "finetune", "1steps") == 0
    assert left(out, "finetune") == left(whole, "finetune")


@pytest.mark.slow
def test_a_checkpoint_of_an_epoch_of_older_versions_is_gone_on_from(
    finished: Path, tmp_path: Path, nursery: Nursery
) -> None:
    whole, old = (begin(finished, tmp_path / name, "attention") for name in ("whole", "old"))
    assert nursery.run(whole, "attention") == 0
    assert nursery.run(old, "attention", before=9) == -9
    path = old / "attention" / "checkpoint-6.pt"
    state = torch.load(path)
    parts = ("state_dict", "optimizer", "memory", "history", "epoch")
    torch.save({name: state[name] for name in parts}, path.with_name("checkpoint.pt"))
    path.unlink()
    assert nursery.run(old, "attention") == 0
    assert left(old, "attention") == left(whole, "attention")


def test_the_steps_are_those_of_two_epochs() -> None:
    """What the kills above take for the end of training."""
    config = replace(SMALL, pretrain=replace(SMALL.pretrain, epochs=2))
    assert config.pretrain.epochs * (24 // config.batch) == STEPS
