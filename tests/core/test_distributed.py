"""What ranks know of each other and tell each other, in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import environment, free_port, run_ranks

from imagenets.core import distributed
from imagenets.core.launch import Launch, launched
from imagenets.errors import MissingError, RankError, UsageError

TORCHRUN = environment(1, 2, 29500)


def test_what_torchrun_says_is_read() -> None:
    assert launched({}) is None
    assert launched({"RANK": "3"}) is None  # others set this, too
    assert launched(TORCHRUN) == Launch(1, 2, 1, 2)
    assert launched({"WORLD_SIZE": "1"}) == Launch(0, 1, 0, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MASTER_PORT": None, "RANK": None}, "RANK, MASTER_PORT not: start the ranks with torch"),
        ({"RANK": "two"}, "RANK=two.* must be whole numbers"),
        ({"RANK": "2"}, "RANK=2, LOCAL_RANK=1, WORLD_SIZE=2, .* no such rank"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1.* no such rank"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, str | None], message: str) -> None:
    said = {name: value for name, value in (TORCHRUN | change).items() if value is not None}
    with pytest.raises(UsageError, match=message):
        launched(said)


def test_alone_everything_is_what_it_was() -> None:
    rows = torch.arange(6).view(2, 3)
    assert (distributed.rank(), distributed.world(), distributed.is_first()) == (0, 1, True)
    assert distributed.own_part(rows) is rows
    assert distributed.interleaved(rows) is rows
    assert distributed.add_up(rows) is rows
    assert distributed.gather("a") == ["a"]
    assert distributed.broadcast("a") == "a"
    assert distributed.on_first(lambda: 5) == 5
    assert distributed.any_rank(True, False) == (True, False)
    distributed.barrier("nothing")


def talk() -> dict[str, Any]:
    me, count = distributed.rank(), distributed.world()
    whole = torch.arange(4 * count * 3).view(2, 2 * count, 3)
    part = distributed.own_part(whole, 1)
    assert distributed.interleaved(part, 1).equal(whole)
    calls: list[int] = []
    first = distributed.on_first(lambda: calls.append(me) or [me, "first"])
    try:
        distributed.on_first(fail)
    except (MissingError, RankError) as error:
        caught = [type(error).__name__, str(error), error.exit_code]
    return {
        "part": part,
        "sum": distributed.add_up(torch.tensor([me, 1.5], dtype=torch.float64)),
        "largest": distributed.largest(torch.tensor([me, -me])),
        "gathered": distributed.gather({"rank": me}),
        "heard": distributed.broadcast(("from", me)),
        "first": first,
        "calls": len(calls),
        "caught": caught,
        "any": distributed.any_rank(me == 1, False),
    }


def fail() -> None:
    raise MissingError("no such file. Make it.")


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_ranks_talk(count: int, tmp_path: Path) -> None:
    found = run_ranks(count, tmp_path, talk)
    for me, said in enumerate(found):
        assert said["part"][0, :, 0].tolist() == [3 * me, 3 * (me + count)]
        assert said["sum"].tolist() == [count * (count - 1) / 2, 1.5 * count]
        assert said["largest"].tolist() == [count - 1, 0]
        assert said["gathered"] == [{"rank": rank} for rank in range(count)]
        assert said["heard"] == ("from", 0)
        assert said["first"] == [0, "first"]
        assert said["calls"] == (1 if me == 0 else 0)
        assert said["any"] == (True, False)
        kind, text, code = said["caught"]
        assert kind == ("MissingError" if me == 0 else "RankError")
        assert text.endswith("no such file. Make it.")
        assert code == 1


LONELY = """
import sys, time, torch
from imagenets.core import distributed, launch
from imagenets.errors import RankError
distributed._PROBE = 1.0
with launch.joined(timeout=float(sys.argv[2])):
    distributed.barrier("everybody is there")
    if distributed.rank() == 1:
        print("ready", flush=True)
        time.sleep(float(sys.argv[1]))
    try:
        distributed.add_up(torch.ones(3))
    except RankError as error:
        sys.exit(str(error))
"""


def end(count: int, *words: str, kill: int | None = None) -> tuple[int, str, float]:
    """Runs LONELY; the exit code and message of the first rank, and its seconds once all meet."""
    port, ranks = free_port(), []
    with ExitStack() as stack:
        for rank in range(count):
            process = subprocess.Popen(
                [sys.executable, "-c", LONELY, *words],
                env=os.environ | environment(rank, count, port),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            ranks.append(stack.enter_context(process))
            stack.callback(process.kill)
        assert ranks[1].stdout is not None
        assert ranks[1].stdout.readline() == "ready\n"
        before = time.monotonic()
        if kill is not None:
            ranks[kill].kill()
        _, said = ranks[0].communicate(timeout=50)
        return ranks[0].returncode, said, time.monotonic() - before


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_others() -> None:
    code, said, seconds = end(2, "60", "60", kill=1)
    assert code == 1
    assert "rank 0 has lost the others while adding up: one of them has ended. Look" in said
    assert seconds < 20


@pytest.mark.slow
def test_a_rank_that_does_not_answer_is_named() -> None:
    code, said, _ = end(3, "30", "2")
    assert code == 1
    assert "rank 0 has lost the others while adding up: no answer of rank 1. Look" in said
