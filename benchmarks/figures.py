"""Measures the figures of the documents and writes their tables: `make figures`.

    python benchmarks/figures.py measure --photos FOLDER --lists FOLDER [--work FOLDER] [NAME ...]
    python benchmarks/figures.py write

`measure` runs benchmarks one after the other, an hour for all of them on two quiet cores, and keeps
what each round gave in figures.json, with the machine, the versions and the day. `write` makes the
tables of docs/ between their marks from it; a test holds that they are the same. The runs of
docs/results.md take days: their commands stand there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tables

HERE = Path(__file__).resolve().parent
KEPT = HERE / "figures.json"
DOCS = HERE.parent / "docs"
PACKAGES = ("torch", "numpy", "scipy", "pillow", "h5py", "numba", "simplejpeg", "zlib-ng")
MARKED = re.compile(r"(<!-- figures: ([a-z0-9-]+) -->\n)(.*?)(<!-- end of figures -->)", re.S)


@dataclass(frozen=True)
class Benchmark:
    """What measures some figures.

    Attributes:
        words: The script and its options, with `{photos}`, `{lists}`, `{work}`; it prints JSON.
        table: Makes the lines of its table.
        before: Another script and options that lay something out first.
    """

    words: str
    table: Callable[[Any], Sequence[str]]
    before: str = ""


BENCHMARKS = {
    "full-size": Benchmark(
        "full_size.py measure {work}/world",
        tables.full_size,
        "full_size.py lay-out --photos {photos} --lists {lists} --to {work}/world",
    ),
    "loader": Benchmark(
        "loader.py --images {photos} --count 960 --rounds 5 --rivals --json", tables.loader
    ),
    "views": Benchmark("loader.py --images {photos} --count 640 --only views --json", tables.views),
    "scale": Benchmark("loader.py --scale --json", tables.scale),
    "augment": Benchmark(
        "augment.py --photos {photos} --images 160 --rounds 4 --rivals {work}/rivals --json",
        tables.augment,
    ),
    "train-pass50": Benchmark("train.py --preset pass50 --batch 16 --json", tables.train),
    "train-sample": Benchmark("train.py --json", tables.train),
    "semi-resnet18": Benchmark("semi.py --model resnet18 --batch 8 --json", tables.semi),
    "semi-vit": Benchmark("semi.py --model vit_small_patch16 --batch 8 --json", tables.semi),
    "evaluate": Benchmark("evaluate.py --full --json", tables.evaluate),
}


def measure(names: Sequence[str], folders: dict[str, Path]) -> None:
    """Runs benchmarks; what is measured is kept at once."""
    for name in names:
        print(f"{name}: measuring", file=sys.stderr)
        benchmark = BENCHMARKS[name]
        for words in filter(None, (benchmark.before, benchmark.words)):
            found = run(words.format(**folders))
        kept = json.loads(KEPT.read_text("utf-8")) if KEPT.exists() else {}
        day = datetime.now(UTC).date().isoformat()
        kept[name] = {"day": day, "machine": machine(), "found": json.loads(found)}
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf-8")


def run(words: str) -> str:
    """What a script prints."""
    script, *options = words.split()
    call = [sys.executable, str(HERE / script), *options]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    return subprocess.run(
        call, check=True, stdout=subprocess.PIPE, text=True, env=environment
    ).stdout


def machine() -> dict[str, str]:
    """What figures are measured on, and with which versions."""
    try:
        facts = Path("/proc/cpuinfo").read_text()
        (processor, *_) = re.findall(r"^model name\s*: (.*)$", facts, re.M)
    except (OSError, ValueError):
        processor = platform.processor() or platform.machine()
    found = {"processor": processor, "cores": str(os.cpu_count())}
    found["Python"] = platform.python_version()
    return found | {name: version(name).partition("+")[0] for name in PACKAGES}


def written(page: str, kept: dict[str, Any]) -> str:
    """A page with its tables made anew."""

    def table(found: re.Match[str]) -> str:
        name = found[2]
        if name == "machines":
            lines = tables.machines(kept)
        elif name in kept:
            lines = BENCHMARKS[name].table(kept[name]["found"])
        elif name in BENCHMARKS:
            lines = ["Not measured yet."]
        else:
            raise SystemExit(f"there is no benchmark {name!r}: see figures.py.")
        return found[1] + "\n".join(["", *lines, "", found[4]])

    return MARKED.sub(table, page)


def write() -> None:
    """Writes the tables of all pages."""
    kept = json.loads(KEPT.read_text("utf-8"))
    for path in sorted(DOCS.glob("*.md")):
        before = path.read_text("utf-8")
        if (after := written(before, kept)) != before:
            path.write_text(after, "utf-8")
            print(path)


def main() -> None:
    """Measures, or writes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("write", help="the tables, from figures.json")
    measuring = parts.add_parser("measure", help="keep figures in figures.json")
    measuring.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    measuring.add_argument("--photos", type=Path, required=True, help="folder of JPEGs")
    measuring.add_argument("--lists", type=Path, required=True, help="the published lists")
    measuring.add_argument("--work", type=Path, help="for what is laid out (default: temporary)")
    arguments = parser.parse_args()
    if arguments.part == "write":
        write()
        return
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"{unknown[0]}: choose among {', '.join(BENCHMARKS)}")
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        folders = {"photos": arguments.photos, "lists": arguments.lists, "work": work}
        folders = {name: path.resolve() for name, path in folders.items()}
        measure(arguments.names or list(BENCHMARKS), folders)


if __name__ == "__main__":
    main()
