"""Killed at any moment, the same command ends with the same bytes as if nothing had happened.

By hand, with more kills: IMAGENETS_KILLS=300 pytest -s tests/test_kill.py
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import Tiny, tiny

from imagenets.data.raw.synthetic_server import serve

KILLS = int(os.environ.get("IMAGENETS_KILLS", "36"))

# Imports everything once and forks for every run, so that kills hit the work, not the start-up.
_NURSERY = """
import argparse, os, signal, sys, time
from dataclasses import replace
import h5py, requests, PIL.Image, tqdm
import imagenets.data.prepare.download, imagenets.data.prepare.run, imagenets.data.raw
from imagenets.cli import prepare_options as options
from imagenets.cli.command import add_common, execute
from imagenets.cli.prepare_run import prepare

parser = argparse.ArgumentParser()
options.add_prepare(parser)
add_common(parser)

def command(arguments):
    config = options.config(arguments)
    origin = replace(config.origin, archive="ImageNetS3-masks.zip")  # to be downloaded, too
    prepare(["3"], replace(config, origin=origin), False)

for line in sys.stdin:
    delay, _, rest = line.rstrip("\\n").partition("\\t")
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0); os.dup2(null, 1)
        arguments = parser.parse_args(rest.split("\\t"))
        arguments.run = command
        os._exit(execute(arguments))
    if delay:
        time.sleep(float(delay))
        os.kill(pid, signal.SIGKILL)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Nursery:
    """Runs the command in fresh children of one process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, arguments: list[str], kill_after: float | None = None) -> int:
        """Runs it to its end, or kills it after some seconds; returns the wait status."""
        assert self.process.stdin
        assert self.process.stdout
        delay = "" if kill_after is None else f"{kill_after:.4f}"
        self.process.stdin.write("\t".join([delay, *arguments]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def result(root: Path) -> dict[str, bytes]:
    """All that is there for good: names and bytes."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".prepare" not in path.parts
    }


def phase(root: Path) -> str:
    """How far a killed run had come."""
    steps = {
        "packed": root / "ImageNetS3.shards/manifest.json",
        "packing": root / "ImageNetS3.shards",
        "laying out": root / "ImageNetS3",
        "masks checked": root / ".prepare/ImageNetS3/archive.json",
        "masks there": root / "downloads/ImageNetS3-masks.zip",
        "indexing": root / ".prepare/sources",
        "lists there": root / "downloads/names/ImageNetS_im3_validation.txt",
        "downloading": root / "downloads",
        "starting": root / ".prepare",
    }
    return next((name for name, path in steps.items() if path.exists()), "before anything")


@pytest.mark.slow
def test_the_result_after_kills_is_that_of_an_undisturbed_run(
    tmp_path: Path, nursery: Nursery
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}, {KILLS} kills")
    rng = random.Random(seed)
    world = tiny(train=40, semi=4, val=12, test=8)
    raw, root = world.tars(tmp_path / "raw"), tmp_path / "root"
    world.index(tmp_path / "index")
    world.archive(tmp_path, "ImageNetS3-masks.zip")
    with serve(tmp_path) as url:
        common = ["--split", "3", "--imagenet", str(raw), "--layout", "both", "--workers", "1"]
        whole = [*common, "--mirror", url, "--root"]
        quiet = tmp_path / "quiet"
        assert nursery.run([*whole, str(quiet)]) == 0
        expected = result(quiet)
        shutil.rmtree(quiet)
        start = time.monotonic()
        assert nursery.run([*whole, str(quiet)]) == 0
        duration = time.monotonic() - start
        hit: Counter[str] = Counter()
        done = 0
        while done < KILLS:
            for _ in range(min(rng.randint(1, 3), KILLS - done)):
                nursery.run([*whole, str(root)], rng.uniform(0, 1.1 * duration))
                hit[phase(root)] += 1
                done += 1
            assert nursery.run([*whole, str(root)]) == 0
            assert result(root) == expected, f"seed {seed}, after {done} kills"
            shutil.rmtree(root)
    print(dict(hit))


@pytest.mark.slow
def test_the_result_after_kills_with_several_workers(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    world = tiny(train=30)
    raw, root, quiet = Tiny.folders(world, tmp_path / "raw"), tmp_path / "root", tmp_path / "quiet"
    given = ["--imagenet", str(raw), "--index", str(world.index(tmp_path / "index"))]
    more = ["--annotations", str(world.archive(tmp_path)), "--layout", "both", "--link", "copy"]
    whole = [sys.executable, "-m", "imagenets.cli.prepare", "--split", "3", *given, *more]
    start = time.monotonic()
    subprocess.run([*whole, "--workers", "2", "--root", quiet], check=True, capture_output=True)
    duration = time.monotonic() - start
    for _ in range(max(3, KILLS // 12)):
        process = subprocess.Popen(
            [*whole, "--workers", "2", "--root", root],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(rng.uniform(0.3, 1.0) * duration)
        process.kill()  # the workers live on for a moment: the next run must not meet them
        process.wait(timeout=30)
    subprocess.run([*whole, "--workers", "1", "--root", root], check=True, capture_output=True)
    assert result(root) == result(quiet), f"seed {seed}"
