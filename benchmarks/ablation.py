"""What each option of PASS is worth: one row an option, over several seeds, by cross-fit scores.

    python benchmarks/ablation.py --root ROOT --split 8 --work FOLDER [--seeds 0 1 2] [--jobs 2]
        [--epochs pretrain=5,attention=5,finetune=2] [--rows FILE.toml] [--regions FOLDER]

The steps that an option does not touch are those of the plain run of its seed: pretraining and
attention are trained once a seed. A row differs from the plain one by what `--rows` (or ROWS)
lists; "the same, ..." from the row of the finer grid, with which it is compared. "Not told apart"
means: the mean of the differences, paired by seed, is not above their spread over seeds. The row
of regions needs --regions, segments as superpixels.py makes them; without it is left out. An
interrupted table continues; other epochs or rows need another --work.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev

PLAIN = "plain"
SALIENCY = ("foreground=saliency", "saliency_layer=1")
FINE = (*SALIENCY, "finetune_grid=8")
ROWS: Mapping[str, Sequence[str]] = {
    PLAIN: (),
    "sharpened attention": ("foreground=sharpened",),
    "label grid 16": ("label_grid=16",),
    "prediction grid 16": ("grid=16",),
    "saliency": ("foreground=saliency",),
    "saliency of layer 2": ("foreground=saliency", "saliency_layer=2"),
    "saliency of layer 1": SALIENCY,
    "layer 1, fine-tuning grid 16": (*SALIENCY, "finetune_grid=16"),
    "layer 1, fine-tuning grid 8": FINE,
    "the same, labels refined": (*FINE, "refine_labels=10"),
    "the same, keep 80 %": (*FINE, "keep=0.8"),
    "the same, clustered anew": (*FINE, "recluster=0.5"),
    "the same, k-means++": (*FINE, "kmeans_init=plusplus"),
    "the same, average of weights": (*FINE, "ema=0.98"),
    "the same, predictions refined": (*FINE, "refine=10"),
    "the same, labels on grid 16": (*FINE, "label_grid=16"),
    "the same, scales": (*FINE, "scales=[0.75,1.0,1.25]"),
    "the same, flip": (*FINE, "flip=true"),
    "the same, regions": (*FINE, "regions={regions}", "regions_from=superpixels"),
}
"""Row -> settings that differ from the plain run."""

COLUMNS = (("final", "cross-fit match"), ("labels", "cross-fit"), ("labels", "otsu"))


def imagenets(*words: object) -> str:
    """Runs a command in a process of its own, with one thread; its log goes nowhere."""
    call = [sys.executable, "-m", "imagenets", *map(str, words), "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(call)}\n{done.stderr}")
    return done.stdout


def run(arguments: argparse.Namespace, name: str, settings: Sequence[str], seed: int) -> None:
    """Trains and scores what is left of one row and seed."""
    base = arguments.work / f"{slug(compared_with(name))}-{seed}"
    out = arguments.work / f"{slug(name)}-{seed}"
    if (out / "scores.json").is_file():
        return
    if name != PLAIN and not out.exists():
        begun = out.with_suffix(".part")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir()
        shutil.copy(base / "ledger.json", begun)
        for stage in ("pretrain", "attention", "cluster", "pseudo", "finetune"):
            shutil.copytree(base / stage, begun / stage)
        begun.rename(out)
    place = ["--root", arguments.root, "--split", arguments.split, "--out", out]
    settings = [setting.format(regions=arguments.regions) for setting in settings]
    words = [word for setting in settings for word in ("--set", setting)]
    start = time.perf_counter()
    imagenets(
        *("train", *place, "--preset", arguments.preset, "--seed", seed),
        *("--epochs", arguments.epochs, "--workers", 1, *words),
    )
    imagenets("score", *place, "--workers", 1)
    (out / "seconds").write_text(f"{time.perf_counter() - start:.0f}\n")


def results(work: Path, name: str, seed: int) -> dict[tuple[str, str], dict[str, float]]:
    """The scores of one run, by kind of masks and protocol."""
    file = work / f"{slug(name)}-{seed}" / "scores.json"
    rows = json.loads(file.read_bytes())["results"]
    return {(row["masks"], row["protocol"]): row for row in rows}


def table(work: Path, rows: Sequence[str], seeds: Sequence[int]) -> str:
    """Mean and spread of each row, its difference from the plain one, and whether it is told."""
    heads = [f"{masks}, {protocol}" for masks, protocol in COLUMNS]
    lines = ["| row | " + " | ".join(heads) + " | mBIoU | difference | |", "|---" * 7 + "|"]
    found = {name: [results(work, name, seed) for seed in seeds] for name in rows}
    final = {name: [one[COLUMNS[0]]["mIoU"] for one in found[name]] for name in rows}
    for name in rows:
        columns = [[one[column]["mIoU"] for one in found[name]] for column in COLUMNS]
        columns.append([one[COLUMNS[0]]["mBIoU"] for one in found[name]])
        steps = [a - b for a, b in zip(final[name], final[compared_with(name)], strict=True)]
        difference = mean(steps)
        told = abs(difference) > spread(steps)
        word = "" if name == PLAIN or told else "not told apart"
        if len(seeds) == 1:
            word = "one seed"
        cells = " | ".join(f"{mean(c):.1f} ± {spread(c):.1f}" for c in columns)
        lines.append(f"| {name} | {cells} | {difference:+.1f} | {word} |")
    return "\n".join(lines)


def compared_with(name: str) -> str:
    """The row that another one changes in one thing."""
    return "layer 1, fine-tuning grid 8" if name.startswith("the same") else PLAIN


def slug(name: str) -> str:
    """A row as the name of a folder."""
    return re.sub(r"\W+", "-", name).strip("-")


def spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--preset", default="sample")
    parser.add_argument("--epochs", default="pretrain=5,attention=5,finetune=2")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="rows, beside the plain one")
    parser.add_argument("--rows", type=Path, help="a TOML file: row = [settings]")
    parser.add_argument("--regions", type=Path, help="segments of the validation images")
    arguments = parser.parse_args()
    rows = dict(ROWS) if arguments.rows is None else tomllib.loads(arguments.rows.read_text())
    rows = {PLAIN: (), **rows}
    if arguments.regions is None:
        rows = {name: row for name, row in rows.items() if "regions={regions}" not in row}
    if arguments.only:
        rows = {name: rows[name] for name in (PLAIN, *arguments.only)}
    arguments.work.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        same = [name for name in rows if name.startswith("the same")]
        others = [name for name in rows if name != PLAIN and name not in same]
        for names in ([PLAIN], others, same):
            tasks = [(name, seed) for name in names for seed in arguments.seeds]
            for _ in pool.map(lambda task: run(arguments, task[0], rows[task[0]], task[1]), tasks):
                pass
    print(table(arguments.work, list(rows), arguments.seeds))


if __name__ == "__main__":
    main()
